"""From a ``retriever`` object to the tree, with Elasticsearch's own sentences for what does not fit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import RetrieverParsingError
from .tree import (
    ALL_KINDS,
    DEFAULT_RESCORE_WINDOW,
    KINDS,
    NATIVE_ONLY,
    OURS,
    VECTOR_BUILDER,
    ChunkRescorer,
    Compound,
    Knn,
    Linear,
    Native,
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
_NORMALIZERS = ("none", "minmax", "l2_norm")


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
        raise RetrieverParsingError(f"[{path}] retriever malformed, must start with [START_OBJECT], found [{_token(body)}]", path=path)
    if not body:
        raise RetrieverParsingError(f"[{path}] retriever malformed, empty clause found", path=path)
    kind, content = next(iter(body.items()))
    if kind not in ALL_KINDS:
        raise RetrieverParsingError(
            f"[{path}] unknown retriever [{kind}]{_suggest(kind, ALL_KINDS)}", path=path, cause=("named_object_not_found_exception", f"unknown field [{kind}]")
        )
    if not isinstance(content, dict):
        raise RetrieverParsingError(f"[{path}.{kind}] [{kind}] retriever malformed, no [START_OBJECT] after retriever name", path=f"{path}.{kind}")
    if len(body) > 1:
        raise RetrieverParsingError(f"[{path}] [{kind}] malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]", path=path)
    return kind, content


def _native(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Native | None:
    """Return a subtree for Elasticsearch to run whole; None where it holds one of ours and the root can be run here."""
    child = content.get("retriever")
    entries = content.get("retrievers")
    children: list[Retriever] = [] if child is None else [parse(child, f"{path}.retriever", runs)]
    if isinstance(entries, list):
        children += [
            parse(entry.get("retriever", entry) if isinstance(entry, dict) else entry, f"{path}.retrievers[{i}]", runs) for i, entry in enumerate(entries)
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
    if node.num_candidates is not None and node.num_candidates < 1:
        raise _illegal("[num_candidates] must be greater than 0", path)
    if node.num_candidates is not None and node.num_candidates < node.k:
        raise _illegal("[num_candidates] cannot be less than [k]", path)
    if max(node.k, node.num_candidates or 0) > _MAX_CANDIDATES:
        raise _illegal(f"[num_candidates] cannot exceed [{_MAX_CANDIDATES}]", path)


def _with_child(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Any:  # noqa: ANN401 the table maps a kind to its own model
    fields = dict(content)
    if "retriever" in fields:
        fields["retriever"] = parse(fields["retriever"], f"{path}.retriever", runs)
    return _model(KINDS[kind], kind, fields, path)


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
    if not node.inference_text:
        raise _illegal("[inference_text] is empty; give the text that the documents are compared with", path)
    return node


def _pinned(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Pinned:
    node: Pinned = _with_child(kind, content, path, runs)
    if node.ids is not None and node.docs is not None:
        raise _parsing("Both 'ids' and 'docs' cannot be specified at the same time", path)
    if not node.ids and not node.docs:
        raise _parsing("Either 'ids' or 'docs' must be provided and non-empty for pinned retriever", path)
    for doc in node.docs or ():
        if not isinstance(doc.get("_id"), str) or not set(doc) <= {"_id", "_index"}:
            raise _parsing(f"[specified_document] expected [_id] and at most [_index], found [{', '.join(doc)}]", f"{path}.docs")
    word = "ids" if node.ids else "docs"
    if len(node.pins) > MAX_PINNED:
        raise _parsing(f"[pinned] Max of {MAX_PINNED} {word} exceeded: {len(node.pins)} provided.", path)
    twice = next((pin for i, pin in enumerate(node.pins) if pin in node.pins[:i]), None)
    if twice is not None:
        raise _parsing(f"[pinned] duplicate {word.removesuffix('s')} found in list: {twice[1]}", path)
    if isinstance(node.retriever, Standard) and node.retriever.sort is not None:
        raise _illegal("[pinned] retriever only supports sorting by score; leave [sort] out of its retriever", path)
    return node


def _rescorer(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rescorer:
    node: Rescorer = _with_child(kind, content, path, runs)
    if not node.rescore:
        raise _parsing("Missing rescore definition", path)
    for each in node.rescore:
        window = each.get("window_size", DEFAULT_RESCORE_WINDOW)
        if isinstance(window, bool) or not str(window).isdecimal():
            raise _parsing(f"[rescore] failed to parse field [window_size], found [{window}]", f"{path}.rescore")
    return node


def _fusion(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rrf | Linear:
    fields = dict(content)
    entries = fields.get("retrievers")
    if entries is not None:
        if not isinstance(entries, list):
            raise _content(f"[{kind}] retrievers doesn't support values of type: {_token(entries)}", path)
        wrapped = _wrapped if kind == "linear" else _wrapped_or_direct
        fields["retrievers"] = tuple(wrapped(entry, f"{path}.retrievers[{i}]", runs) for i, entry in enumerate(entries))
    if kind == "linear" and fields.get("normalizer") is not None:
        fields["normalizer"] = _normalizer(fields["normalizer"], path)
    node: Rrf | Linear = _model(Linear, kind, fields, path) if kind == "linear" else _model(Rrf, kind, fields, path)
    if isinstance(node, Rrf) and node.rank_constant < 1:
        raise _illegal(f"[rank_constant] must be greater or equal to [1] for [rrf], found [{node.rank_constant}]", path)
    return node


def _wrapped_or_direct(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``rrf``: a retriever, or ``{"retriever": {...}, "weight": w}`` (9.2)."""
    if isinstance(entry, dict) and ("retriever" in entry or "weight" in entry):
        return _component(entry, path, runs, "rrf_component", ("retriever", "weight"))
    return Weighted(parse(entry, path, runs))


def _wrapped(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``linear``: always ``{"retriever": {...}, "weight"?, "normalizer"?}``."""
    return _component(entry, path, runs, "retriever-component", ("retriever", "weight", "normalizer"))


def _component(entry: Any, path: str, runs: Collection[str], kind: str, allowed: Sequence[str]) -> Weighted:  # noqa: ANN401
    if not isinstance(entry, dict):
        raise _content(f"[{kind}] Expected START_OBJECT but was: {_token(entry)}", path)
    unknown = next((key for key in entry if key not in allowed), None)
    if unknown is not None:
        raise _unknown(kind, unknown, allowed, path)
    if "retriever" not in entry:
        raise _required(["retriever"], path)
    weight = entry.get("weight", 1.0)
    try:
        number = float(weight) if isinstance(weight, (int, float, str)) and not isinstance(weight, bool) else None
    except ValueError as error:
        raise _content(f"[{kind}] failed to parse field [weight]", path, ("number_format_exception", f'For input string: "{weight}"')) from error
    if number is None:
        raise _content(f"[{kind}] weight doesn't support values of type: {_token(weight)}", path)
    if not number >= 0:
        raise _content(f"[{kind}] [weight] must be non-negative, found [{number}]", path, (_ILLEGAL, f"[weight] must be non-negative, found [{number}]"))
    normalizer = None if entry.get("normalizer") is None else _normalizer(entry["normalizer"], path)
    return Weighted(parse(entry["retriever"], f"{path}.retriever", runs), number, normalizer)  # type: ignore[arg-type]


def _normalizer(name: Any, path: str) -> str:  # noqa: ANN401 any JSON value may arrive
    """Return a normalizer in lower case: Elasticsearch takes it in any (ScoreNormalizer.valueOf)."""
    found = str(name).lower()
    if found not in _NORMALIZERS:
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
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _worded(model, kind, content, error.errors(), path) from error


def _worded(model: type[BaseModel], kind: str, content: dict[str, Any], faults: Sequence[ErrorDetails], path: str) -> RetrieverParsingError:
    """Word pydantic's faults as Elasticsearch words the first one that it meets: unknown keys, types, then what is missing."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    unknown = next((str(fault["loc"][0]) for fault in faults if fault["type"] == "extra_forbidden"), None)
    if unknown is not None:
        return _unknown(kind, unknown, names, path)
    wrong = next((fault for fault in faults if fault["type"] != "missing"), None)
    if wrong is None:
        return _required([str(fault["loc"][0]) for fault in faults], path)
    key = str(wrong["loc"][0])
    value = content.get(key)
    if wrong["type"] in {"int_parsing", "float_parsing"} and isinstance(wrong["input"], str):
        return _content(f"[{kind}] failed to parse field [{key}]", path, ("number_format_exception", f'For input string: "{wrong["input"]}"'))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and wrong["type"].startswith("int"):
        return _content(f"[{kind}] failed to parse field [{key}]", path, (_ILLEGAL, f"{value} cannot be converted to Integer without data loss"))
    return _content(f"[{kind}] {key} doesn't support values of type: {_token(value)}", path)


def _unknown(kind: str, key: str, known: Iterable[str], path: str) -> RetrieverParsingError:
    return _content(f"[{kind}] unknown field [{key}]{_suggest(key, known)}", path)


def _required(names: Sequence[str], path: str) -> RetrieverParsingError:
    return _illegal(f"Required [{', '.join(names)}]", path)


def _failed_build(kind: str, reason: str, path: str) -> RetrieverParsingError:
    return _content(f"Failed to build [{kind}] after last required field arrived: {reason}", path, (_ILLEGAL, reason))


def _content(message: str, path: str, cause: tuple[str, str] | None = None) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=_CONTENT, cause=cause)


def _illegal(message: str, path: str) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path, kind=_ILLEGAL)


def _parsing(message: str, path: str) -> RetrieverParsingError:
    return RetrieverParsingError(f"[{path}] {message}", path=path)


def _suggest(word: str, known: Iterable[str]) -> str:
    """Return Elasticsearch's «did you mean» for a word that is close to known ones."""
    close = difflib.get_close_matches(word, [re.sub(r"\s", "", each) for each in known], cutoff=0.7)
    if not close:
        return ""
    return f" did you mean [{close[0]}]?" if len(close) == 1 else f" did you mean any of [{', '.join(close)}]?"


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
    if node.query is None and node.fields:
        return [f"[{node.kind}] [query] must be provided when [fields] is specified"]
    if node.query is not None:
        if not node.query:
            faults.append(f"[{node.kind}] [query] cannot be empty")
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
