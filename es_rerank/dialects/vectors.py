"""The formats in which tools ask for vectors: OpenAI's (Voyage's, Jina's, NVIDIA's), TEI's and Cohere's.

The path tells the format. Sources: https://platform.openai.com/docs/api-reference/embeddings,
https://docs.voyageai.com/reference/embeddings-api, https://api.jina.ai/redoc,
https://docs.nvidia.com/nim/nemo-retriever/text-embedding, huggingface/text-embeddings-inference
``router/src/http``, https://docs.cohere.com/reference/embed.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from ..errors import RequestError
from .documents import not_read_in
from .failures import Failure
from .options import NO_EFFECT, OPTIONS, Option, count, flag, options_in
from .reading import check_one_of
from .request import usage
from .tei import error as tei_error

Purpose = Literal["query", "passage"]

Encoding = Literal["float", "base64"]
"""How a vector is written: a list of numbers, or the base64 of its float32 in little-endian order."""

_PARAMETER = re.compile(r"\[(\w+)")
"""A message about a key of a request begins with its name in brackets."""


@dataclass(frozen=True, slots=True)
class AskedVectors:
    """A request for vectors.

    ``purpose``: whether the texts are queries or passages, None if the caller does not say. ``model``: the
    name that the caller wants. ``dims``: the number of dimensions that it wants. ``encodings``: how it wants
    each vector. ``whole``: whether a text longer than the model's window is an error. ``ignored``: the keys
    of the request that have no effect.
    """

    texts: tuple[str, ...]
    purpose: Purpose | None = None
    model: str | None = None
    dims: int | None = None
    encodings: tuple[Encoding, ...] = ("float",)
    by_type: bool = False
    whole: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a request, float32, (n_texts, dims); the name of the model that made them; the tokens
    that it read.
    """

    vectors: npt.NDArray[np.float32]
    model: str
    tokens: int = 0

    def written(self, encoding: Encoding) -> list[Any]:
        """Return each vector as JSON has it, made one by one: each call holds the interpreter's lock."""
        if encoding == "float":
            return [row.tolist() for row in self.vectors]
        return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in self.vectors]


# --- keys of requests ---------------------------------------------------------------------------------------

_QUERY = frozenset({"query", "queries", "question"})
_PASSAGE = frozenset(
    {"passage", "document", "doc", "text", "ingest", "classification", "clustering", "cluster", "matching"}
    | {"separation", "similarity", "sts", "code"}
)


def _purpose(key: str, value: Any) -> Any:  # noqa: ANN401 any JSON value
    """Return what a text is for. Every service has words of its own: ``search_query`` (Cohere), ``query``
    (Voyage, NVIDIA), ``retrieval.query`` (Jina), ``RETRIEVAL_QUERY`` (Google), ``search`` (Elasticsearch).
    """
    if not isinstance(value, str):
        raise RequestError(f"[{key}] must be a text")
    words = set(re.findall(r"[a-z]+", value.lower()))
    if words & _QUERY or words in ({"search"}, {"internal", "search"}):
        return "query"
    return "passage" if words & _PASSAGE else NO_EFFECT


def _encodings(key: str, value: Any) -> tuple[Encoding, ...] | None:  # noqa: ANN401 any JSON value
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"[{key}] must be {' or '.join(get_args(Encoding))}")
    found: list[Encoding] = []
    for name in names:
        known = next((each for each in get_args(Encoding) if each == name.lower()), None)
        if known is None:
            raise RequestError(
                f"[{key}] asks for {name[:40]}; vectors are float32 here: ask for "
                f"{' or '.join(get_args(Encoding))}"
            )
        if known not in found:
            found.append(known)
    return tuple(found) or None


def _type(key: str, value: Any) -> tuple[Encoding, ...] | None:  # noqa: ANN401 any JSON value
    """Return how one vector is written. ``float`` leaves that open: NVIDIA's clients send it for the type of
    the numbers beside ``encoding_format``.
    """
    found = _encodings(key, value) or ()
    if len(found) > 1:
        raise RequestError(f"[{key}] asks for two forms of each vector; ask for one")
    return None if found in ((), ("float",)) else found


def _unit(key: str, value: Any) -> Any:  # noqa: ANN401 any JSON value
    """Vectors have length 1 here, whatever the caller asks for."""
    return None if flag(key, value) else NO_EFFECT


_SHARED: dict[str, Option] = {
    **{
        key: OPTIONS[key]
        for key in ("model", "truncate", "truncation", "truncation_direction", "truncation_side")
    },
    **dict.fromkeys(("input_type", "task", "task_type", "prompt_name"), Option("purpose", _purpose)),
    **dict.fromkeys(("dimensions", "output_dimension"), Option("dims", count)),
    **dict.fromkeys(("normalize", "normalized"), Option("unit", _unit)),
}
_FORMS: dict[str, Option] = {
    "encoding_format": Option("encodings", _encodings),
    **dict.fromkeys(("embedding_type", "encoding_type", "output_dtype"), Option("encodings", _type)),
}
_OPTIONS: Mapping[str, dict[str, Option]] = {
    "openai": _SHARED | _FORMS,
    "tei": _SHARED,
    "cohere": _SHARED | {"embedding_types": Option("encodings", _encodings)},
}
_TEXTS = ("input", "inputs", "texts")
"""The keys that hold the texts in one of these formats."""

_HONOURED = ("model", "purpose", "dims", "encodings", "unit", "whole")


def _read(body: Mapping[str, Any], keys: tuple[str, ...], format_: str) -> AskedVectors:
    """Return a request whose texts are under one of ``keys``.

    Raises RequestError, AmbiguousRequestError when the request holds texts of two formats.
    """
    options = options_in(body, keys, _HONOURED, _OPTIONS[format_])
    check_one_of(body, _TEXTS)
    options.pop("unit", None)
    key = next((key for key in keys if body.get(key) is not None), keys[0])
    options["by_type"] = "encodings" in options
    entries = body[key] if isinstance(body.get(key), list) else []
    options["ignored"] = tuple(sorted({*options["ignored"], *not_read_in(entries, key)}))
    return AskedVectors(tuple(_texts(body.get(key), key)), **options)


def _texts(value: Any, key: str) -> list[str]:  # noqa: ANN401 any JSON value
    if value is None:
        raise RequestError(f"[{key}] field required")
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise RequestError(f"[{key}] must be a text or a list of texts with at least one entry")
    return [_text(entry, key, place) for place, entry in enumerate(entries)]


def _text(entry: Any, key: str, place: int) -> str:  # noqa: ANN401 any JSON value
    """Return a text, or the text of an object of Jina's or Cohere's API."""
    if isinstance(entry, str):
        return entry
    given = [entry.get(each) for each in ("text", "content")] if isinstance(entry, Mapping) else []
    part = next((each for each in given if each is not None), None)
    if isinstance(part, list):
        parts: list[Any] = [each.get("text") if isinstance(each, Mapping) else each for each in part]
        part = "\n".join(parts) if parts and all(isinstance(each, str) for each in parts) else None
    if isinstance(part, str):
        return part
    first = entry[0] if isinstance(entry, list) and entry else entry
    if isinstance(first, int) and not isinstance(first, bool):
        raise RequestError(
            f"[{key}] holds ids of tokens; send texts: the ids of another tokenizer are other words here "
            "(OpenAIEmbeddings of LangChain sends texts with check_embedding_ctx_length=False)"
        )
    raise RequestError(f"[{key}.{place}] must be a text")


# --- the formats --------------------------------------------------------------------------------------------


def _read_openai(body: Mapping[str, Any]) -> AskedVectors:
    asked = _read(body, ("input",), "openai")
    if len(asked.encodings) > 1:
        raise RequestError("[encoding_format] asks for two forms of each vector; ask for one")
    return asked


def _write_openai(asked: AskedVectors, made: Embedded, version: str) -> dict[str, Any]:  # noqa: ARG001 one form
    rows = made.written(asked.encodings[0])
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)],
        "model": made.model,
        "usage": usage(made.tokens),
    }


_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def openai_error(message: str, failure: Failure, status: int) -> dict[str, Any]:
    """Return the body of an error. ``message`` and ``detail`` are where Cohere's, Voyage's and Jina's clients
    look for it.
    """
    named = _PARAMETER.match(message)
    code = "model_not_found" if failure.type == "NotFoundError" else _CODES.get(status)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": "requests" if status == 429 else kind,
            "param": named[1] if named and status == 400 else None,
            "code": code,
        },
        "message": message,
        "detail": message,
    }


def _read_tei(body: Mapping[str, Any]) -> AskedVectors:
    return _read(body, ("inputs",), "tei")


def _write_tei(asked: AskedVectors, made: Embedded, version: str) -> list[Any]:  # noqa: ARG001 one form
    return made.written("float")


def _read_cohere(body: Mapping[str, Any]) -> AskedVectors:
    return _read(body, ("texts", "inputs"), "cohere")


def _write_cohere(asked: AskedVectors, made: Embedded, version: str) -> dict[str, Any]:
    """Return the answer: version 2 always has the vectors by type, version 1 where types are asked for."""
    by_type = version == "2" or asked.by_type
    return {
        "id": str(uuid.uuid4()),
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        "embeddings": (
            {encoding: made.written(encoding) for encoding in asked.encodings}
            if by_type
            else made.written("float")
        ),
        "texts": list(asked.texts),
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"input_tokens": made.tokens},
        },
    }


class VectorDialect(NamedTuple):
    """A format of requests for vectors, of answers and of errors; see ``table.Dialect``."""

    name: str
    paths: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], AskedVectors]
    write: Callable[[AskedVectors, Embedded, str], Any]
    error: Callable[[str, Failure, int], dict[str, Any]]
    tei_status: bool = False


_OPENAI = ("/v1/embeddings", "/embeddings", "/infinity/embeddings")

VECTOR_DIALECTS = (
    VectorDialect("openai", _OPENAI, _read_openai, _write_openai, openai_error),
    VectorDialect("tei", ("/embed", "/"), _read_tei, _write_tei, tei_error, tei_status=True),
    VectorDialect("cohere", ("/v1/embed", "/v2/embed"), _read_cohere, _write_cohere, openai_error),
)
"""Every format. ``/`` is TEI's as well: the client of the Hugging Face Hub posts there. infinity's client
asks for vectors below the address where it asks for scores."""

BY_PATH = {path: dialect for dialect in VECTOR_DIALECTS for path in dialect.paths}
"""The same, by path."""
