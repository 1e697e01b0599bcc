"""How each rerank service is asked for scores, and how its answers are read: one table.

The table holds what a service must be sent to score every text, and nothing else: some services refuse keys
that they do not know. Where a service has a key for raw logits, it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..types import Scale

Row = tuple[object, object]
"""The index of a text and its score, as a service sent them: neither is checked yet."""

Write = Callable[[str, Sequence[str], str | None], dict[str, Any]]
"""Returns the body of a request from the query, the texts, and the name of a model or None."""

Read = Callable[[object, Sequence[str]], list[Row] | None]
"""Returns the rows of an answer to a request with these texts; None for an answer in another format."""


class Service(NamedTuple):
    """How services of one kind are asked.

    ``path``: where, unless the address names another path. ``scale``: the scale of the scores; None where
    it depends on the model or on the release, so that an example has to show it. ``needs_model``: whether
    each request has to name a model. ``names_model``: whether the body has a key for it. ``most``: most texts
    in one request, where the service has such a limit. ``authorization``: the scheme of an API key.
    """

    name: str
    path: str
    write: Write
    read: Read
    scale: Scale | None = None
    needs_model: bool = False
    names_model: bool = True
    most: int | None = None
    authorization: str = "Bearer"


# --- requests -----------------------------------------------------------------------------------------------


def _tei(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:  # noqa: ARG001 it serves one
    return {"query": query, "texts": texts, "truncate": True, "raw_scores": True}


def _documents(**more: object) -> Write:
    """Return what writes the request of Cohere and its kin, with the keys ``more``."""

    def write(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:
        return {**({"model": model} if model else {}), "query": query, "documents": texts, **more}

    return write


_RAW_OF_VLLM: dict[str, object] = {"use_activation": False, "truncate_prompt_tokens": -1}
"""vllm/entrypoints/pooling: no activation gives logits; -1 cuts a pair at the model's longest input, without
which a longer one is refused."""


def _pairs(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:
    return {**({"model": model} if model else {}), "text_1": query, "text_2": texts, **_RAW_OF_VLLM}


def _weaviate(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:  # noqa: ARG001 it serves one
    return {"query": query, "documents": texts}


def _nvidia(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:
    passages = [{"text": text} for text in texts]
    asked = {"query": {"text": query}, "passages": passages, "truncate": "END"}
    return {**({"model": model} if model else {}), **asked}


def _inference(query: str, texts: Sequence[str], model: str | None) -> dict[str, Any]:  # noqa: ARG001 in the path
    return {"query": query, "input": texts}


# --- answers ------------------------------------------------------------------------------------------------

_RELEVANCE, _SCORE = ("relevance_score", "score"), ("score", "relevance_score")
"""Names of a score, the service's own first. Some servers that follow its format have the other one."""


def _listed(answer: object, texts: Sequence[str], *names: str) -> list[Row] | None:
    """Return the rows of a list of objects with an index and a score under one of ``names``; None for
    anything else. Of too many rows, only so many are returned that the check of indices finds it.
    """
    if not isinstance(answer, list):
        return None
    answer = answer[: len(texts) + 1]
    # One row tells the format. Rows that differ from it are found by the check of indices and scores.
    rows = [row if isinstance(row, Mapping) else {} for row in answer]
    told = next((name for name in names if any({"index", name} <= set(row) for row in rows)), None)
    if answer and told is None:
        return None
    return [(row.get("index"), row.get(told)) for row in rows]


def _bare(answer: object, texts: Sequence[str]) -> list[Row] | None:
    return _listed(answer, texts, *_SCORE)


def _under(key: str, *names: str) -> Read:
    """Return what reads an object whose rows are under ``key``, with a score under one of ``names``."""

    def read(answer: object, texts: Sequence[str]) -> list[Row] | None:
        return _listed(answer.get(key), texts, *names) if isinstance(answer, Mapping) else None

    return read


def _by_text(answer: object, texts: Sequence[str]) -> list[Row] | None:
    """Read Weaviate's rows, which hold the text instead of its index. Equal texts have equal scores."""
    rows = answer.get("scores") if isinstance(answer, Mapping) else None
    rows = rows[: len(texts) + 1] if isinstance(rows, list) else None
    if rows is None or not all(
        isinstance(row, Mapping) and {"document", "score"} <= set(row) for row in rows
    ):
        return None
    places: dict[object, list[int]] = {}
    for index in reversed(range(len(texts))):
        places.setdefault(texts[index], []).append(index)
    found: list[Row] = []
    for row in rows:
        document = row["document"]
        left = places.get(document) if isinstance(document, str) else None
        found.append((left.pop() if left else None, row["score"]))
    return found


_RESULTS = _under("results", *_RELEVANCE)

SERVICES = (
    # huggingface/text-embeddings-inference, router/src/http; a sidecar of ours; llama.cpp, tools/server
    Service("tei", "/rerank", _tei, _bare, "logit", names_model=False),
    # Cohere's v1, Xinference, LocalAI, LiteLLM's proxy and others: the keys that all of them know
    Service("results", "/v1/rerank", _documents(), _RESULTS),
    # https://docs.cohere.com/reference/rerank
    Service("cohere", "/v2/rerank", _documents(), _RESULTS, "probability", needs_model=True, most=1_000),
    # https://api.jina.ai/redoc
    Service(
        "jina",
        "/v1/rerank",
        _documents(return_documents=False),
        _RESULTS,
        "probability",
        needs_model=True,
    ),
    # https://docs.voyageai.com/reference/reranker-api
    Service(
        "voyage",
        "/v1/rerank",
        _documents(truncation=True),
        _under("data", *_RELEVANCE),
        "probability",
        needs_model=True,
        most=1_000,
    ),
    # vllm-project/vllm, vllm/entrypoints/pooling; a release that does not know the keys gives probabilities
    Service("vllm", "/rerank", _documents(**_RAW_OF_VLLM), _RESULTS),
    Service("score", "/score", _pairs, _under("data", *_SCORE)),
    # michaelfeil/infinity, infinity_emb/fastapi_schemas/pymodels.py
    Service("infinity", "/rerank", _documents(raw_scores=True), _RESULTS, most=2_048),
    # ggml-org/llama.cpp, tools/server: raw outputs, which are probabilities for some models
    Service("llamacpp", "/v1/rerank", _documents(), _RESULTS),
    # sgl-project/sglang, entrypoints/openai/protocol.py: raw outputs, or the probability of "yes"
    Service("sglang", "/v1/rerank", _documents(), _bare),
    # weaviate/weaviate, modules/reranker-transformers/clients/ranker.go, which sends 32 texts at a time
    Service("weaviate", "/rerank", _weaviate, _by_text, names_model=False, most=32),
    # https://docs.nvidia.com/nim/nemo-retriever/text-reranking
    Service(
        "nvidia", "/v1/ranking", _nvidia, _under("rankings", "logit"), "logit", needs_model=True, most=512
    ),
    # Elasticsearch's own inference API; the path names the endpoint
    Service(
        "elasticsearch",
        "/_inference/rerank",
        _inference,
        _under("rerank", *_RELEVANCE),
        names_model=False,
        authorization="ApiKey",
    ),
)
"""Every kind of service that can be asked."""

BY_NAME = {service.name: service for service in SERVICES}
"""The same, by name."""


# --- the trial ----------------------------------------------------------------------------------------------

EXAMPLE_QUERY = "what is the capital of france"
EXAMPLE_TEXTS = (
    "The capital of France is Paris.",
    "Bread rises for an hour before it is baked in a hot oven.",
)
"""A query, a passage that answers it, and one of another matter. A model that gives logits gives at least one
of them a score below 0 or above 1."""


class Trial(NamedTuple):
    """A request that may be understood: its path, how it is written, and which services answer it."""

    path: str
    write: Write
    answered_by: tuple[Service, ...]

    def heard(self, answer: object, texts: Sequence[str]) -> tuple[Service, list[Row]] | None:
        """Return which service answers so, and the rows; None if none does."""
        for service in self.answered_by:
            rows = service.read(answer, texts)
            if rows is not None:
                return service, rows
        return None


def _trial(path: str, *names: str) -> Trial:
    services = tuple(BY_NAME[name] for name in names)
    return Trial(path, services[0].write, services)


_OF_DOCUMENTS = ("results", "voyage", "sglang", "weaviate")
"""Which services answer a request of ``query`` and ``documents`` alone. ``vllm``, ``infinity``, ``cohere``,
``jina`` and ``llamacpp`` answer it as ``results``."""


def trials(path: str) -> list[Trial]:
    """Return the requests by which the service at an address is found, in their order.

    ``path`` is the path of the address, without a slash at its end. A path that names what is asked there is
    kept. Otherwise the paths of the services are put behind it.
    """
    last = path.rpartition("/")[2]
    if "/_inference/rerank/" in path:
        return [_trial(path, "elasticsearch")]
    if last == "ranking":
        return [_trial(path, "nvidia")]
    if last == "score":
        return [_trial(path, "score")]
    lists, documents = _trial(path, "tei"), _trial(path, *_OF_DOCUMENTS)
    if is_whole(path):
        found = [documents, lists] if _version(path.rpartition("/")[0]) else [lists, documents]
        return [*found, _trial(path, "nvidia")] if last == "reranking" else found
    found = [
        _trial(below(path, "/rerank"), "tei"),
        *(_trial(below(path, where), *_OF_DOCUMENTS) for where in ("/rerank", "/v1/rerank", "/v2/rerank")),
        *(_trial(below(path, where), "score") for where in ("/score", "/v1/score")),
        _trial(below(path, "/v1/ranking"), "nvidia"),
    ]
    return [each for place, each in enumerate(found) if each not in found[:place]]


def raw_of(answer: object) -> list[Service]:
    """Return the services that may answer ``results`` so, and have a key for raw logits: they are asked once
    more.
    """
    own = str(answer.get("id")) if isinstance(answer, Mapping) else ""
    order = ("infinity", "vllm") if own.startswith("infinity-") else ("vllm", "infinity")
    return [BY_NAME[name] for name in order]


def scale_of(scores: Sequence[float]) -> Scale:
    """Return the scale of the scores of ``EXAMPLE_TEXTS``: probabilities if all are from 0 to 1, else
    logits.
    """
    return "probability" if all(0 <= score <= 1 for score in scores) else "logit"


def is_whole(path: str) -> bool:
    """Whether the path of an address says itself where the service is asked."""
    return path.rpartition("/")[2] in ("rerank", "reranking", "score", "ranking") or (
        "/_inference/rerank/" in path
    )


def below(prefix: str, path: str) -> str:
    """Return ``path`` behind ``prefix``; a version that ``prefix`` ends in stands for the one of ``path``."""
    first, _, rest = path.removeprefix("/").partition("/")
    return f"{prefix}/{rest}" if first in _VERSIONS and _version(prefix) else prefix + path


def about(path: str) -> tuple[str, str] | None:
    """Return where TEI and a sidecar tell about themselves, and where they are asked for scores, beside a
    ``path`` that ends in ``/rerank``; None for another path.
    """
    prefix, _, last = path.rpartition("/")
    if last != "rerank":
        return None
    version = _version(prefix)
    root = prefix.removesuffix(f"/{version}") if version else prefix
    return f"{root}/info", f"{root}/rerank"


_VERSIONS = ("v1", "v2", "v3")


def _version(prefix: str) -> str | None:
    """Return the version that ends the first part of a path; None if there is none."""
    last = prefix.rpartition("/")[2]
    return last if last in _VERSIONS else None
