"""Parses a ``retriever`` object into a tree. Errors use the sentences that Elasticsearch uses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import Field

from ...errors import RetrieverParsingError
from .building import model_of
from .faults import (
    ILLEGAL,
    content_fault,
    failed_build,
    illegal_argument,
    parsing_fault,
    required_fields,
    token_of,
    unknown_field,
    wrong_type,
)
from .suggestions import did_you_mean
from .tree import (
    ALL_KINDS,
    KINDS,
    MAX_CANDIDATES,
    NATIVE_ONLY,
    PLUGIN_KINDS,
    RETRIEVERS_RUN_HERE,
    VECTOR_BUILDER,
    ChunkRescorer,
    Grammar,
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
from .validation import check_query_length, check_read_fields
from .values import (
    as_list,
    check_minimum,
    field_weights,
    read_normalizer,
    read_weight,
    with_window_size,
)

MAX_PINNED = 100
"""Most documents that a pinned retriever accepts; observed on Elasticsearch 9.5."""

_MOST_ENTRIES = 10_000
"""Most entries of a list in a retriever: vectors of Elasticsearch have 4,096 dimensions at most."""

_MOST_FIELDS = 1024
"""Most ``fields`` of a multi-field query: Elasticsearch's default limit for the clauses of one query."""


class _Item(Grammar):
    """One entry of ``docs`` in a pinned retriever: a document to place first."""

    kind: ClassVar[str] = "item"

    index: str | None = Field(default=None, alias="_index")
    id: str = Field(alias="_id")


def parse(body: Any, path: str = "retriever", elasticsearch_runs: Collection[str] = ()) -> Retriever:  # noqa: ANN401 any JSON value may arrive
    """Return the retriever tree that a ``retriever`` object describes.

    ``elasticsearch_runs`` names kinds of retriever that Elasticsearch runs itself. Such a retriever still
    runs in es-rerank if its subtree holds a part that Elasticsearch cannot run. Raises RetrieverParsingError,
    with the position in the tree, when the JSON structure is wrong, a key is unknown or a value is out of
    range. Raises it also when a retriever that only Elasticsearch can run stands above a retriever that
    es-rerank runs.
    """
    kind, content = _single(body, path)
    path = f"{path}.{kind}"
    for key, value in content.items():
        if isinstance(value, list) and len(value) > _MOST_ENTRIES:
            raise illegal_argument(
                f"[{key}] holds {len(value)} entries, at most {_MOST_ENTRIES} are read", path
            )
    if kind in NATIVE_ONLY or (kind in RETRIEVERS_RUN_HERE and kind in elasticsearch_runs):
        native = _native(kind, content, path, elasticsearch_runs)
        if native is not None:
            return native
    node: Retriever = _PARSERS.get(kind, _leaf)(kind, content, path, elasticsearch_runs)
    if kind in RETRIEVERS_RUN_HERE:
        check_minimum(kind, "min_score", node.min_score, path)
    return node


def _single(body: Any, path: str) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
    """Return (kind, content) of a retriever object, which must hold exactly one key."""
    if not isinstance(body, dict):
        raise parsing_fault(f"Unknown key for a {token_of(body)} in [retriever].", path)
    if not body:
        raise parsing_fault("retriever malformed, empty clause found", path)
    kind, content = next(iter(body.items()))
    if not isinstance(content, dict):
        raise parsing_fault(
            f"[{kind}] retriever malformed, no [START_OBJECT] after retriever name", f"{path}.{kind}"
        )
    if kind not in ALL_KINDS and kind not in PLUGIN_KINDS:
        raise RetrieverParsingError(
            f"[{path}] unknown retriever [{kind}]{did_you_mean(kind, ALL_KINDS)}",
            path=path,
            cause=("named_object_not_found_exception", f"unknown field [{kind}]"),
        )
    if len(body) > 1:
        raise parsing_fault(
            f"[{kind}] malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]", path
        )
    return kind, content


def _native(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Native | None:
    """Return the subtree for Elasticsearch to run as a whole, or None if es-rerank must run its root.

    Raises RetrieverParsingError when the root can run only in Elasticsearch, but a part below it cannot.
    """
    child = content.get("retriever")
    children: list[Retriever] = [] if child is None else [parse(child, f"{path}.retriever", runs)]
    children += [
        parse(
            entry.get("retriever", entry) if isinstance(entry, dict) else entry,
            f"{path}.retrievers[{i}]",
            runs,
        )
        for i, entry in enumerate(as_list(content.get("retrievers")))
    ]
    run_here = next((node for node in children if not _elasticsearch_can_run(node)), None)
    if run_here is None:
        return Native(kind=kind, body=content, children=tuple(children))
    if kind not in NATIVE_ONLY:
        return None
    raise RetrieverParsingError(
        f"[{path}] [{kind}] is run by Elasticsearch alone, with everything under it, and [{run_here.kind}] "
        f"is run here; take [{kind}] out, or put it below [{run_here.kind}]",
        path=path,
        kind=ILLEGAL,
    )


def _elasticsearch_can_run(node: Retriever) -> bool:
    """Whether Elasticsearch can run a subtree without es-rerank."""
    if isinstance(node, Knn):
        return node.builder is None
    if isinstance(node, Rescorer):
        return _elasticsearch_can_run(node.retriever)
    return isinstance(node, (Standard, Native))


def _leaf(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Retriever:
    node = model_of(KINDS[kind], kind, content, path)
    if isinstance(node, Knn):
        _check_knn(node, path, runs)
    elif isinstance(node, Standard) and "sort" in content and not isinstance(node.sort, (list, tuple, dict)):
        raise wrong_type(kind, "sort", node.sort, path)
    return node


def _check_knn(node: Knn, path: str, runs: Collection[str]) -> None:
    if node.query_vector is None and node.query_vector_builder is None:
        raise failed_build("knn", "either [query_vector] or [query_vector_builder] must be provided", path)
    if node.query_vector is not None and node.query_vector_builder is not None:
        raise failed_build(
            "knn", "only one of [query_vector] and [query_vector_builder] must be provided", path
        )
    if (
        VECTOR_BUILDER not in runs
        and node.query_vector_builder
        and "text_embedding" in node.query_vector_builder
    ):
        wanted = model_of(
            TextEmbedding,
            "text_embedding",
            node.query_vector_builder["text_embedding"],
            f"{path}.{VECTOR_BUILDER}.text_embedding",
        )
        check_query_length("model_text", wanted.model_text)
    if node.k < 1:
        raise illegal_argument("[k] must be greater than 0", path)
    if (MAX_CANDIDATES if node.num_candidates is None else node.num_candidates) < node.k:
        raise illegal_argument("[num_candidates] cannot be less than [k]", path)
    if node.num_candidates is not None and node.num_candidates > MAX_CANDIDATES:
        raise illegal_argument(f"[num_candidates] cannot exceed [{MAX_CANDIDATES}]", path)
    if node.visit_percentage is not None and not 0 <= node.visit_percentage <= 100:
        raise illegal_argument("[visit_percentage] must be between 0 and 100", path)


def _with_child(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Any:  # noqa: ANN401 the table maps a kind to its own model
    fields = dict(content)
    if "retriever" in fields:
        fields["retriever"] = _child(kind, fields["retriever"], path, runs)
    return model_of(KINDS[kind], kind, fields, path)


def _child(kind: str, body: Any, path: str, runs: Collection[str]) -> Retriever:  # noqa: ANN401 any JSON value may arrive
    if not isinstance(body, dict):
        raise wrong_type(kind, "retriever", body, path)
    return parse(body, f"{path}.retriever", runs)


def _reranker(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> TextSimilarityReranker:
    fields = dict(content)
    if isinstance(fields.get("chunk_rescorer"), dict):
        chunks = model_of(ChunkRescorer, "chunk_rescorer", fields["chunk_rescorer"], f"{path}.chunk_rescorer")
        if chunks.size < 1:
            raise illegal_argument(
                f"size must be greater than 0, was: {chunks.size}", f"{path}.chunk_rescorer"
            )
        fields["chunk_rescorer"] = chunks
    node: TextSimilarityReranker = _with_child(kind, fields, path, runs)
    if not node.field:
        raise illegal_argument("[field] names no field; name the one whose text is read", path)
    check_read_fields(node.field)
    check_minimum(kind, "min_probability", node.min_probability, path)
    if node.aggregation.kind == "first" and node.chunk_rescorer is not None:
        raise illegal_argument(
            "[aggregation] first scores the first passage of a document, [chunk_rescorer] scores the "
            "passages nearest to the query; name one of the two",
            path,
        )
    if node.blend and node.min_score is not None:
        raise illegal_argument(
            "[min_score] has no fixed meaning with [blend]: the score depends on the window; "
            "use [min_probability], which is compared with the probability of the pair",
            path,
        )
    check_query_length("inference_text", node.inference_text)
    if not node.inference_text:
        raise illegal_argument(
            "[inference_text] is empty; give the text that the documents are compared with", path
        )
    return node


def _pinned(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Pinned:
    fields = dict(content)
    if isinstance(fields.get("docs"), (list, dict)):
        fields["docs"] = as_list(fields["docs"])
        for i, doc in enumerate(fields["docs"]):
            item = model_of(_Item, _Item.kind, doc, f"{path}.docs[{i}]")
            if "*" in (item.index or ""):
                raise failed_build(
                    _Item.kind, "Item index cannot contain wildcard expressions", f"{path}.docs[{i}]"
                )
    node: Pinned = _with_child(kind, fields, path, runs)
    if node.ids is not None and node.docs is not None:
        raise failed_build(kind, "Both 'ids' and 'docs' cannot be specified at the same time", path)
    if not node.ids and not node.docs:
        raise failed_build(
            kind, "Either 'ids' or 'docs' must be provided and non-empty for pinned retriever", path
        )
    word = "ids" if node.ids else "docs"
    if len(node.pins) > MAX_PINNED:
        raise illegal_argument(
            f"[pinned] Max of {MAX_PINNED} {word} exceeded: {len(node.pins)} provided.", path
        )
    twice = next((pin for i, pin in enumerate(node.pins) if pin in node.pins[:i]), None)
    if twice is not None:
        raise illegal_argument(f"[pinned] duplicate {word.removesuffix('s')} found in list: {twice[1]}", path)
    if isinstance(node.retriever, Standard) and not all(
        key in _BY_SCORE for key in as_list(node.retriever.sort)
    ):
        raise illegal_argument(
            "[pinned] retriever only supports sorting by score; leave [sort] out of its retriever", path
        )
    return node


_BY_SCORE: tuple[Any, ...] = ("_score", {"_score": "desc"}, {"_score": {}}, {"_score": {"order": "desc"}})


def _rescorer(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rescorer:
    fields = dict(content)
    if isinstance(fields.get("rescore"), (list, dict)):
        fields["rescore"] = [
            with_window_size(entry, path) if isinstance(entry, dict) and "window_size" in entry else entry
            for entry in as_list(fields["rescore"])
        ]
    node: Rescorer = _with_child(kind, fields, path, runs)
    if not node.rescore:
        raise failed_build(kind, "Missing rescore definition", path)
    return node


def _fusion(kind: str, content: dict[str, Any], path: str, runs: Collection[str]) -> Rrf | Linear:
    fields = dict(content)
    if "retrievers" in fields:
        if not isinstance(fields["retrievers"], (list, dict)):
            raise wrong_type(kind, "retrievers", fields["retrievers"], path)
        wrapped = _wrapped if kind == "linear" else _wrapped_or_direct
        fields["retrievers"] = tuple(
            wrapped(entry, f"{path}.retrievers[{i}]", runs)
            for i, entry in enumerate(as_list(fields["retrievers"]))
        )
    if kind == "linear" and "normalizer" in fields:
        fields["normalizer"] = read_normalizer(kind, fields["normalizer"], path)
    node: Rrf | Linear = (
        model_of(Linear, kind, fields, path) if kind == "linear" else model_of(Rrf, kind, fields, path)
    )
    if len(node.fields) > _MOST_FIELDS:
        raise illegal_argument(
            f"[{kind}] [fields] names {len(node.fields)} fields; name at most {_MOST_FIELDS}",
            path,
        )
    field_weights(kind, node.fields, path)
    if isinstance(node, Rrf) and node.rank_constant < 1:
        raise illegal_argument(
            f"[rank_constant] must be greater or equal to [1] for [rrf], found [{node.rank_constant}]", path
        )
    return node


def _wrapped_or_direct(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``rrf`` from one of its two forms; the first key decides which form it is.

    The forms are a retriever, or ``{"retriever": {...}, "weight": w}`` (since Elasticsearch 9.2).
    """
    if not isinstance(entry, dict):
        raise parsing_fault(f"expected object but found [{token_of(entry)}]", path)
    first = next(iter(entry), None)
    if first not in {"retriever", "weight", None}:
        more = list(entry)[1:]
        if more and first in ALL_KINDS and isinstance(entry[first], dict):
            raise parsing_fault(f"unknown field [{more[0]}] after retriever", path)
        return Weighted(parse(entry, path, runs))
    unknown = next((key for key in entry if key not in {"retriever", "weight"}), None)
    if unknown is not None:
        raise parsing_fault(f"unknown field [{unknown}], expected [retriever] or [weight]", path)
    if "retriever" not in entry:
        raise parsing_fault("retriever component must contain a retriever", path)
    if not isinstance(entry["retriever"], dict):
        raise parsing_fault("retriever must be an object", path)
    weight = read_weight("rrf_component", entry, path)
    if not weight >= 0:
        raise illegal_argument(f"[weight] must be non-negative, found [{weight}]", path)
    return Weighted(parse(entry["retriever"], f"{path}.retriever", runs), weight)


def _wrapped(entry: Any, path: str, runs: Collection[str]) -> Weighted:  # noqa: ANN401 any JSON value may arrive
    """Return a child of ``linear`` from its only form, ``{"retriever": {...}, "weight"?, "normalizer"?}``."""
    kind, allowed = "retriever-component", ("retriever", "weight", "normalizer")
    if not isinstance(entry, dict):
        raise content_fault(f"[{kind}] Expected START_OBJECT but was: {token_of(entry)}", path)
    unknown = next((key for key in entry if key not in allowed), None)
    if unknown is not None:
        raise unknown_field(kind, unknown, allowed, path)
    weight = read_weight(kind, entry, path)
    normalizer = read_normalizer(kind, entry["normalizer"], path) if "normalizer" in entry else None
    if "retriever" not in entry:
        raise required_fields(["retriever"], path)
    child = _child(kind, entry["retriever"], path, runs)
    if not weight >= 0:
        raise failed_build(kind, f"[weight] must be non-negative, found [{weight}]", path)
    return Weighted(child, weight, normalizer)


_PARSERS: dict[str, Any] = {
    "rrf": _fusion,
    "linear": _fusion,
    "pinned": _pinned,
    "rescorer": _rescorer,
    "text_similarity_reranker": _reranker,
}
