"""From a ``retriever`` object to the tree, with Elasticsearch's own sentences for what does not fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from ...errors import RetrieverParsingError
from ...types import Aggregation
from .suggestions import did_you_mean
from .tree import (
    ALL_KINDS,
    KINDS,
    NATIVE_ONLY,
    OURS,
    VECTOR_BUILDER,
    ChunkRescorer,
    Compound,
    Grammar,
    Knn,
    Linear,
    Native,
    Normalizer,
    Pinned,
    Rescorer,
    Retriever,
    Rrf,
    Standard,
    TextEmbedding,
    TextSimilarityReranker,
    Weighted,
)

MAX_PINNED = 100
"""PinnedQueryBuilder.MAX_NUM_PINNED_HITS."""

_MAX_CANDIDATES = 10_000
"""KnnSearchBuilder.NUM_CANDS_LIMIT."""

Model = TypeVar("Model", bound=BaseModel)

_ILLEGAL, _CONTENT = "illegal_argument_exception", "x_content_parse_exception"
_NOT_A_NUMBER, _PARSING = "number_format_exception", "parsing_exception"
_NORMALIZERS: tuple[Normalizer, ...] = ("none", "minmax", "l2_norm")

_MAY_BE_NULL = frozenset({"chunking_settings"})

_INTEGER_RANGE = range(-(2**31), 2**31)
_JAVA_NUMBER = re.compile(r"[+-]?(?:NaN|Infinity|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?[dDfF]?)")
"""What Java's ``Double.parseDouble`` reads, its hexadecimal form apart. Nothing is tried twice: the time is linear."""

_MOST_FIELDS = 1024
"""Most ``fields`` of a multi-field query: Elasticsearch's own limit for the clauses of one query, where nobody has set it."""


class _Item(Grammar):
    """A document to pin."""

    kind: ClassVar[str] = "item"

    index: str | None = Field(default=None, alias="_index")
    id: str = Field(alias="_id")


def parse(body: Any, path: str = "retriever", elasticsearch_runs: Collection[str] = ()) -> Retriever:  # noqa: ANN401 any JSON value may arrive
    """Return the tree of a ``retriever`` object.

    ``elasticsearch_runs`` names kinds that Elasticsearch runs where their whole subtree can go to it. Raises
    RetrieverParsingError, with the position in the tree, for a wrong shape, an unknown key or a value out of range, and
    for a retriever that only Elasticsearch can run over one that is run here.
    """
    kind, content = _single(body, path)
    path = f"{path}.{kind}"
    if kind in NATIVE_ONLY or (kind in OURS and kind in elasticsearch_runs):
        native = _native(kind, content, path, elasticsearch_runs)
        if native is not None:
            return native
    node: Retriever = _PARSERS.get(kind, _leaf)(kind, content, path, elasticsearch_runs)
    return node


def _single(body: Any, path: str) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
    """Return the one (kind, content) of a retriever object."""
    if not isinstance(body, dict):
        raise _parsing(f"Unknown key for a {_token(body)} in [retriever].", path)
    if not body:
        raise _parsing("retriever malformed, empty clause found", path)
    kind, content = next(iter(body.items()))
    if not isinstance(content, dict):
        raise _parsing(f"[{kind}] retriever malformed, no [START_OBJECT] after retriever name", f"{path}.{kind}")
    if kind not in ALL_KINDS:
        raise RetrieverParsingError(
            f"[{path}] unknown retriever [{kind}]{did_you_mean(kind, ALL_KINDS)}",
            path=path,
            cause=("named_object_not_found_exception", f"unknown field [{kind}]"),
        )
    if len(body) > 1:
        raise _parsing(f"[{kind}] malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]", path)
    return kind, content


def _native(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Native | None:
    """Return a subtree for Elasticsearch to run whole; None where it holds one of ours and the root can be run here."""
    child = content.get("retriever")
    children: list[Retriever] = [] if child is None else [parse(child, f"{path}.retriever", runs)]
    children += [
        parse(entry.get("retriever", entry) if isinstance(entry, dict) else entry, f"{path}.retrievers[{i}]", runs)
        for i, entry in enumerate(_each(content.get("retrievers")))
    ]
    ours = next((node for node in children if not _goes_whole(node)), None)
    if ours is None:
        return Native(kind=kind, body=content, children=tuple(children))
    if kind not in NATIVE_ONLY:
        return None
    raise RetrieverParsingError(
        f"[{path}] [{kind}] is run by Elasticsearch alone, with everything under it, and [{ours.kind}] is run here; "
        f"take [{kind}] out, or put it below [{ours.kind}]",
        path=path,
        kind=_ILLEGAL,
    )


def _goes_whole(node: Retriever) -> bool:
    """Whether Elasticsearch can run a subtree without us."""
    if isinstance(node, Knn):
        return node.builder is None
    if isinstance(node, Rescorer):
        return _goes_whole(node.retriever)
    return isinstance(node, (Standard, Native))


def _leaf(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Retriever:
    node = _model(KINDS[kind], kind, content, path)
    if isinstance(node, Knn):
        _check_knn(node, path, runs)
    elif isinstance(node, Standard) and "sort" in content and not isinstance(node.sort, (list, tuple, dict)):
        raise _wrong_type(kind, "sort", node.sort, path)
    return node


def _check_knn(node: Knn, path: str, runs: Collection[str]) -> None:
    if node.query_vector is None and node.query_vector_builder is None:
        raise _failed_build("knn", "either [query_vector] or [query_vector_builder] must be provided", path)
    if node.query_vector is not None and node.query_vector_builder is not None:
        raise _failed_build("knn", "only one of [query_vector] and [query_vector_builder] must be provided", path)
    if VECTOR_BUILDER not in runs and node.query_vector_builder and "text_embedding" in node.query_vector_builder:
        _model(TextEmbedding, "text_embedding", node.query_vector_builder["text_embedding"], f"{path}.{VECTOR_BUILDER}.text_embedding")
    if node.k < 1:
        raise _illegal("[k] must be greater than 0", path)
    if (_MAX_CANDIDATES if node.num_candidates is None else node.num_candidates) < node.k:
        raise _illegal("[num_candidates] cannot be less than [k]", path)
    if node.num_candidates is not None and node.num_candidates > _MAX_CANDIDATES:
        raise _illegal(f"[num_candidates] cannot exceed [{_MAX_CANDIDATES}]", path)
    if node.visit_percentage is not None and not 0 <= node.visit_percentage <= 100:
        raise _illegal("[visit_percentage] must be between 0 and 100", path)


def _with_child(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Any:  # noqa: ANN401 the table maps a kind to its own model
    fields = dict(content)
    if "retriever" in fields:
        fields["retriever"] = _child(kind, fields["retriever"], path, runs)
    return _model(KINDS[kind], kind, fields, path)


def _child(kind: str, body: Any, path: str, runs: Collection[str]) -> Retriever:  # noqa: ANN401 any JSON value may arrive
    if not isinstance(body, dict):
        raise _wrong_type(kind, "retriever", body, path)
    return parse(body, f"{path}.retriever", runs)


def _reranker(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> TextSimilarityReranker:
    fields = dict(content)
    if isinstance(fields.get("chunk_rescorer"), dict):
        chunks = _model(ChunkRescorer, "chunk_rescorer", fields["chunk_rescorer"], f"{path}.chunk_rescorer")
        if chunks.size < 1:
            raise _illegal(f"size must be greater than 0, was: {chunks.size}", f"{path}.chunk_rescorer")
        fields["chunk_rescorer"] = chunks
    node: TextSimilarityReranker = _with_child(kind, fields, path, runs)
    if not node.field:
        raise _illegal("[field] names no field; name the one whose text is read", path)
    if node.aggregation.kind == "first" and node.chunk_rescorer is not None:
        raise _illegal("[aggregation] first reads a document's first passage, [chunk_rescorer] those nearest to the query; name one of the two", path)
    if not node.inference_text:
        raise _illegal("[inference_text] is empty; give the text that the documents are compared with", path)
    return node


def _pinned(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Pinned:
    fields = dict(content)
    if isinstance(fields.get("docs"), (list, dict)):
        fields["docs"] = _each(fields["docs"])
        if len(fields["docs"]) > MAX_PINNED:
            raise _illegal(f"[pinned] Max of {MAX_PINNED} docs exceeded: {len(fields['docs'])} provided.", path)
        for i, doc in enumerate(fields["docs"]):
            item = _model(_Item, _Item.kind, doc, f"{path}.docs[{i}]")
            if "*" in (item.index or ""):
                raise _failed_build(_Item.kind, "Item index cannot contain wildcard expressions", f"{path}.docs[{i}]")
    node: Pinned = _with_child(kind, fields, path, runs)
    if node.ids is not None and node.docs is not None:
        raise _failed_build(kind, "Both 'ids' and 'docs' cannot be specified at the same time", path)
    if not node.ids and not node.docs:
        raise _failed_build(kind, "Either 'ids' or 'docs' must be provided and non-empty for pinned retriever", path)
    word = "ids" if node.ids else "docs"
    if len(node.pins) > MAX_PINNED:
        raise _illegal(f"[pinned] Max of {MAX_PINNED} {word} exceeded: {len(node.pins)} provided.", path)
    twice = next((pin for i, pin in enumerate(node.pins) if pin in node.pins[:i]), None)
    if twice is not None:
        raise _illegal(f"[pinned] duplicate {word.removesuffix('s')} found in list: {twice[1]}", path)
    if isinstance(node.retriever, Standard) and not all(each in _BY_SCORE for each in _each(node.retriever.sort)):
        raise _illegal("[pinned] retriever only supports sorting by score; leave [sort] out of its retriever", path)
    return node


_BY_SCORE: tuple[Any, ...] = ("_score", {"_score": "desc"}, {"_score": {}}, {"_score": {"order": "desc"}})


def _rescorer(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rescorer:
    fields = dict(content)
    if isinstance(fields.get("rescore"), (list, dict)):
        fields["rescore"] = [_with_window(each, path) if isinstance(each, dict) and "window_size" in each else each for each in _each(fields["rescore"])]
    node: Rescorer = _with_child(kind, fields, path, runs)
    if not node.rescore:
        raise _failed_build(kind, "Missing rescore definition", path)
    return node


def _with_window(rescore: dict[str, Any], path: str) -> dict[str, Any]:
    """Return one rescorer with its window as a number."""
    window = rescore["window_size"]
    try:
        return {**rescore, "window_size": _integer(window)}
    except _NotTakenError as error:
        token = f"VALUE_{window}".upper() if isinstance(window, bool) else _token(window)
        odd = (_PARSING, f"unexpected token [{token}] after [window_size]")
        if isinstance(window, bool):
            odd = ("json_parse_exception", f"Current token ({token}) not numeric, can not use numeric value accessors")
        raise _content("[rescorer] failed to parse field [rescore]", path, error.cause or odd) from error


def _fusion(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rrf | Linear:
    fields = dict(content)
    if "retrievers" in fields:
        if not isinstance(fields["retrievers"], (list, dict)):
            raise _wrong_type(kind, "retrievers", fields["retrievers"], path)
        wrapped = _wrapped if kind == "linear" else _wrapped_or_direct
        fields["retrievers"] = tuple(wrapped(entry, f"{path}.retrievers[{i}]", runs) for i, entry in enumerate(_each(fields["retrievers"])))
    if kind == "linear" and "normalizer" in fields:
        fields["normalizer"] = _normalizer(kind, fields["normalizer"], path)
    node: Rrf | Linear = _model(Linear, kind, fields, path) if kind == "linear" else _model(Rrf, kind, fields, path)
    if len(node.fields) > _MOST_FIELDS:
        raise _illegal(f"[{kind}] [fields] names {len(node.fields)} fields; at most {_MOST_FIELDS} can be asked at once", path)
    if isinstance(node, Rrf) and node.rank_constant < 1:
        raise _illegal(f"[rank_constant] must be greater or equal to [1] for [rrf], found [{node.rank_constant}]", path)
    return node


def _wrapped_or_direct(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``rrf``: a retriever, or ``{"retriever": {...}, "weight": w}`` (9.2), told apart by the first key."""
    if not isinstance(entry, dict):
        raise _parsing(f"expected object but found [{_token(entry)}]", path)
    first = next(iter(entry), None)
    if first not in {"retriever", "weight", None}:
        more = list(entry)[1:]
        if more and first in ALL_KINDS and isinstance(entry[first], dict):
            raise _parsing(f"unknown field [{more[0]}] after retriever", path)
        return Weighted(parse(entry, path, runs))
    unknown = next((key for key in entry if key not in {"retriever", "weight"}), None)
    if unknown is not None:
        raise _parsing(f"unknown field [{unknown}], expected [retriever] or [weight]", path)
    if "retriever" not in entry:
        raise _parsing("retriever component must contain a retriever", path)
    if not isinstance(entry["retriever"], dict):
        raise _parsing("retriever must be an object", path)
    weight = _weight("rrf_component", entry, path)
    if not weight >= 0:
        raise _illegal(f"[weight] must be non-negative, found [{weight}]", path)
    return Weighted(parse(entry["retriever"], f"{path}.retriever", runs), weight)


def _wrapped(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``linear``: always ``{"retriever": {...}, "weight"?, "normalizer"?}``."""
    kind, allowed = "retriever-component", ("retriever", "weight", "normalizer")
    if not isinstance(entry, dict):
        raise _content(f"[{kind}] Expected START_OBJECT but was: {_token(entry)}", path)
    unknown = next((key for key in entry if key not in allowed), None)
    if unknown is not None:
        raise _unknown(kind, unknown, allowed, path)
    weight = _weight(kind, entry, path)
    normalizer = _normalizer(kind, entry["normalizer"], path) if "normalizer" in entry else None
    if "retriever" not in entry:
        raise _required(["retriever"], path)
    child = _child(kind, entry["retriever"], path, runs)
    if not weight >= 0:
        raise _failed_build(kind, f"[weight] must be non-negative, found [{weight}]", path)
    return Weighted(child, weight, normalizer)


def _weight(kind: str, entry: dict[str, Any], path: str) -> float:
    return float(_taken(kind, "weight", entry.get("weight", 1.0), path))


def _normalizer(kind: str, name: Any, path: str) -> Normalizer:  # noqa: ANN401 any JSON value may arrive
    """Return a normalizer; Elasticsearch takes it in any case (ScoreNormalizer.valueOf)."""
    if not isinstance(name, str):
        raise _wrong_type(kind, "normalizer", name, path)
    found: Normalizer | None = next((known for known in _NORMALIZERS if known == name.lower()), None)
    if found is None:
        raise _illegal(f"Unknown normalizer [{name}]; the normalizers are {', '.join(_NORMALIZERS)}", path)
    return found


_PARSERS: dict[str, Any] = {
    "rrf": _fusion,
    "linear": _fusion,
    "pinned": _pinned,
    "rescorer": _rescorer,
    "text_similarity_reranker": _reranker,
}


def _model(model: type[Model], kind: str, content: Any, path: str) -> Model:  # noqa: ANN401
    if not isinstance(content, dict):
        raise _content(f"[{kind}] Expected START_OBJECT but was: {_token(content)}", path)
    known = {field.alias or name for name, field in model.model_fields.items()}
    # One key more than there are known ones holds an unknown one, and nothing behind that is read.
    content = dict(islice(content.items(), len(known) + 1))
    values, faults = dict(content), {}
    for key in known.intersection(content):
        try:
            values[key] = _taken(kind, key, content[key], path)
        except RetrieverParsingError as error:
            faults[key] = error
    try:
        node = model.model_validate(values)
    except ValidationError as error:
        raise _first(_worded(model, kind, content, error.errors(), path) | faults, content) from error
    if faults:
        raise _first(faults, content)
    return node


def _first(faults: dict[str, RetrieverParsingError], content: dict[str, Any]) -> RetrieverParsingError:
    """Return the fault that Elasticsearch meets first: it reads keys as they are written, and then misses what is not there."""
    return next(faults[key] for key in (*content, "") if key in faults)


def _worded(model: type[BaseModel], kind: str, content: dict[str, Any], faults: Sequence[ErrorDetails], path: str) -> dict[str, RetrieverParsingError]:
    """Return pydantic's faults by key in Elasticsearch's words; keys that are missing are one fault, under no key."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    worded = {}
    for fault in faults:
        key = str(fault["loc"][0])
        if fault["type"] == "extra_forbidden":
            worded[key] = _unknown(kind, key, names, path)
        elif fault["type"] != "missing":
            worded.setdefault(key, _wrong_type(kind, key, content[key], path))
    missing = [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing"]
    return worded | ({"": _required(missing, path)} if missing else {})


class _NotTakenError(Exception):
    """A value that Elasticsearch's parser does not take; ``cause`` is the (type, reason) of one of the right type."""

    def __init__(self, cause: tuple[str, str] | None = None) -> None:
        super().__init__(cause)
        self.cause = cause


def _taken(kind: str, key: str, value: Any, path: str) -> Any:  # noqa: ANN401 any JSON value may arrive
    """Return a value as Elasticsearch's parser takes it: numbers and truths may be strings, one text a list of one."""
    if value is None and key not in _MAY_BE_NULL:
        raise _wrong_type(kind, key, value, path)
    try:
        return _READERS[key](value) if key in _READERS else value
    except _NotTakenError as error:
        if error.cause is None:
            raise _wrong_type(kind, key, value, path) from error
        raise _content(f"[{kind}] failed to parse field [{key}]", path, error.cause) from error


def _integer(value: object) -> int:
    """Return what AbstractXContentParser.intValue makes of a value; what stands behind the point is cut off."""
    number = _number(value)
    if number != number:  # noqa: PLR0124 NaN, which a cast in Java makes 0
        return 0
    if isinstance(value, str) and not _INTEGER_RANGE.start <= number < _INTEGER_RANGE.stop:
        raise _NotTakenError((_ILLEGAL, f"Value [{value}] is out of range for an integer"))
    if not _INTEGER_RANGE.start <= number < _INTEGER_RANGE.stop:
        raise _NotTakenError(("input_coercion_exception", f"Numeric value ({value}) out of range of int (-2147483648 - 2147483647)"))
    return int(number)


def _number(value: object) -> float:
    if isinstance(value, str):
        written = value.strip("".join(map(chr, range(33))))
        if not _JAVA_NUMBER.fullmatch(written):
            raise _NotTakenError((_NOT_A_NUMBER, f'For input string: "{written}"' if written else "empty String"))
        return float(written.rstrip("dDfF") if written[-1] in "dDfF" else written)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _NotTakenError
    if abs(value) > sys.float_info.max and isinstance(value, int):
        raise _NotTakenError(("input_coercion_exception", f"a number of {len(str(value))} digits is out of range"))
    return value


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise _NotTakenError
    if value not in {"true", "false"}:
        raise _NotTakenError((_ILLEGAL, f"Failed to parse value [{value}] as only [true] or [false] are allowed."))
    return value == "true"


def _texts(value: object) -> list[str]:
    """Return a list of texts; numbers and truths in it are read as they are written."""
    found = []
    for each in _each(value):
        if not isinstance(each, (str, int, float)):
            raise _NotTakenError((_ILLEGAL, f"Expected text but found {_token(each)}") if isinstance(value, list) else None)
        found.append(str(each).lower() if isinstance(each, bool) else str(each))
    return found


def _queries(value: object) -> object:
    if isinstance(value, list) and not all(isinstance(each, dict) for each in value):
        raise _NotTakenError((_PARSING, "[_na] query malformed, must start with start_object"))
    return value


def _vector(value: object) -> object:
    if isinstance(value, dict):
        raise _NotTakenError((_PARSING, "Unknown type [START_OBJECT] for parsing vector"))
    return [_dimension(each) for each in value] if isinstance(value, list) else value


def _dimension(value: object) -> float:
    try:
        return _number(value)
    except _NotTakenError as error:
        raise _NotTakenError(error.cause or (_PARSING, f"Type [{_token(value)}] not supported for query vector")) from error


def _aggregation(value: object) -> Aggregation:
    """Return how passages are aggregated: a name, or ``{"top_k_mean": k}``."""
    if isinstance(value, str) and value in {"max", "first", "mean"}:
        return Aggregation(value)  # type: ignore[arg-type] # one of its names
    if isinstance(value, dict) and set(value) == {"top_k_mean"}:
        count = _integer(value["top_k_mean"])
        if count < 1:
            raise _NotTakenError((_ILLEGAL, f"[top_k_mean] must be greater than 0, was: {count}"))
        return Aggregation("top_k_mean", count)
    raise _NotTakenError((_ILLEGAL, f'Unknown aggregation [{value}]; give "max", "first", "mean" or {{"top_k_mean": k}}'))


_READERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(("k", "num_candidates", "rank_constant", "rank_window_size", "size", "terminate_after"), _integer),
    **dict.fromkeys(("min_score", "similarity", "visit_percentage", "weight"), _number),
    **dict.fromkeys(("fields", "ids"), _texts),
    "aggregation": _aggregation,
    "allow_rerank_failures": _truth,
    "filter": _queries,
    "query_vector": _vector,
}


def _each(value: Any) -> list[Any]:  # noqa: ANN401 one or several
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def _unknown(kind: str, key: str, known: Iterable[str], path: str) -> RetrieverParsingError:
    return _content(f"[{kind}] unknown field [{key}]{did_you_mean(key, known)}", path)


def _required(names: Sequence[str], path: str) -> RetrieverParsingError:
    return _illegal(f"Required [{', '.join(names)}]", path)


def _failed_build(kind: str, reason: str, path: str) -> RetrieverParsingError:
    return _content(f"Failed to build [{kind}] after last required field arrived: {reason}", path, (_ILLEGAL, reason))


def _wrong_type(kind: str, key: str, value: object, path: str) -> RetrieverParsingError:
    return _content(f"[{kind}] {key} doesn't support values of type: {_token(value)}", path)


def _content(message: str, path: str, cause: tuple[str, str] | None = None) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=_CONTENT, cause=cause)


def _illegal(message: str, path: str) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=_ILLEGAL)


def _parsing(message: str, path: str) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path)


def _token(value: object) -> str:
    """Return the name of a JSON value's first token, as Elasticsearch's parser calls it."""
    if value is None or isinstance(value, bool):
        return "VALUE_NULL" if value is None else "VALUE_BOOLEAN"
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (((int, float), "VALUE_NUMBER"), (str, "VALUE_STRING"), (dict, "START_OBJECT"))
    return next((name for kinds, name in names if isinstance(value, kinds)), "START_ARRAY")


def faults_of(node: Retriever, size: int, *, scroll: bool = False) -> list[str]:
    """Return what Elasticsearch's validation says of a tree, in its order (CompoundRetrieverBuilder.validate)."""
    if not isinstance(node, Compound):
        return []
    faults = []
    if size > node.window:
        faults.append(f"[{node.kind}] requires [{node.window_key}: {node.window}] be greater than or equal to [size: {size}]")
    if scroll:
        faults.append(f"cannot specify [{node.kind}] and [scroll]")
    if node.window < 0:
        faults.append(f"[{node.window_key}] parameter cannot be negative, found [{node.window}]")
    for child in node.children:
        faults += faults_of(child, size, scroll=scroll)
        if isinstance(child, Compound) and node.window > child.window:
            faults.append(
                f"[{node.kind}] requires [{node.window_key}: {node.window}] to be smaller than or equal to its sub retriever's {child.kind} "
                f"[{child.window_key}: {child.window}]"
            )
    return faults + (_fusion_faults(node) if isinstance(node, (Rrf, Linear)) else [])


def _fusion_faults(node: Rrf | Linear) -> list[str]:
    """Return the faults of the multi-field format (MultiFieldsInnerRetrieverUtils.validateParams)."""
    faults = []
    given = "fields" in node.model_fields_set
    if node.query is None and given:
        return [f"[{node.kind}] [query] must be provided when [fields] is specified"]
    if node.query is not None:
        if not node.query:
            faults.append(f"[{node.kind}] [query] cannot be empty")
        if given and not node.fields:
            faults.append(f"[{node.kind}] [fields] cannot be empty")
        if node.retrievers:
            faults.append(f"[{node.kind}] cannot combine [retrievers] and [query]")
        if isinstance(node, Linear) and node.normalizer is None:
            faults.append("[linear] [normalizer] must be provided when [query] is specified")
    elif not node.retrievers:
        faults.append(f"[{node.kind}] must provide [retrievers] or [query]")
    return faults


def check_children(node: Retriever, path: str = "retriever") -> None:
    """Raise RetrieverParsingError for what a standard retriever may carry only where it stands alone."""
    if not isinstance(node, Compound):
        return
    for child in node.children:
        if isinstance(child, Standard):
            key = next((key for key in ("search_after", "terminate_after") if getattr(child, key) is not None), None)
            if key is not None:
                raise _illegal(f"[{key}] cannot be used in children of compound retrievers", f"{path}.{node.kind}")
        check_children(child, f"{path}.{node.kind}")
