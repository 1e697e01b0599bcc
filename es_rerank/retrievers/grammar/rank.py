"""Reads ``rank``, Elastic's way to write a fusion before there were retrievers.

Elasticsearch 9 still takes it: it makes a ``retriever`` of it before it runs the search (observed on
SearchSourceBuilder of 9.5, elastic/elasticsearch 115026), and so does es-rerank. Older packages send it, as
the vector stores of LangChain's community package do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...errors import RetrieverParsingError
from .body_values import read_body_value
from .building import model_of
from .faults import (
    PARSING,
    content_fault,
    failed_build,
    illegal_argument,
    required_fields,
    token_of,
    unknown_field,
    wrong_type,
)
from .scalars import NotTakenError, as_number
from .tree import DEFAULT_RANK_CONSTANT, DEFAULT_RANK_WINDOW_SIZE, Grammar, Knn

_DEFAULT_K = 10
"""Elastic's default for the ``k`` of a top-level kNN in a search without ``size``."""

_SEARCHES = ("query", "sub_searches", "knn")
_KNN_KEYS = (
    "boost",
    *(field.alias or name for name, field in Knn.model_fields.items() if name != "min_score"),
)


class _RankRrf(Grammar):
    """The content of ``rank.rrf``."""

    kind: ClassVar[str] = "rrf"

    rank_window_size: int = DEFAULT_RANK_WINDOW_SIZE
    rank_constant: int = DEFAULT_RANK_CONSTANT


def with_retriever(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``_search`` body in which ``rank`` and the searches it fuses are a ``retriever``.

    ``body`` holds ``rank.rrf`` and no ``retriever``. Its ``query``, or its ``sub_searches``, become standard
    retrievers, and behind them its ``knn`` become kNN retrievers. The ``boost`` of a kNN has no effect on its
    ranks. Its ``filter`` stays. Raises RetrieverParsingError, in Elasticsearch's words, when a part cannot be
    read, and for ``inner_hits`` of a kNN, which would get lost.
    """
    for key in body:
        if key in _SEARCHES:
            _check_type(body, key)
    fusion = _fusion(body["rank"])
    children = [*({"standard": {"query": query}} for query in _queries(body)), *_neighbours(body)]
    if len(children) < 2:
        raise illegal_argument("[rrf] requires at least 2 sub-queries to be defined", "rank")
    tree = {"rrf": {"retrievers": children, **fusion}}
    kept = {key: value for key, value in body.items() if key not in _SEARCHES}
    return {("retriever" if key == "rank" else key): (tree if key == "rank" else kept[key]) for key in kept}


def _check_type(body: Mapping[str, Any], key: str) -> None:
    value = body[key]
    allowed = {"query": dict, "sub_searches": list, "knn": (dict, list)}[key]
    if not isinstance(value, allowed):  # type: ignore[arg-type] # one type or several
        raise RetrieverParsingError(
            f"Unknown key for a {token_of(value)} in [{key}].", path=key, kind=PARSING
        )
    other = {"query": "sub_searches", "sub_searches": "query"}.get(key, "")
    if other in body and list(body).index(other) < list(body).index(key):
        raise illegal_argument(f"cannot specify field [{key}] and field [{other}]", key)


def _fusion(rank: Mapping[str, Any]) -> dict[str, Any]:
    name, *more = rank
    if more:
        raise RetrieverParsingError(
            f"expected token '}}', but found token [FIELD_NAME] for [{more[0]}]", path="rank"
        )
    content = rank[name]
    if model_of(_RankRrf, name, content, f"rank.{name}").rank_constant < 1:
        reason = "[rank_constant] must be greater or equal to [1] for [rrf]"
        raise failed_build(name, reason, f"rank.{name}")
    return dict(content)


def _queries(body: Mapping[str, Any]) -> Iterator[Any]:
    if "query" in body:
        yield body["query"]
    for number, entry in enumerate(body.get("sub_searches", ())):
        path, kind = f"sub_searches[{number}]", "sub_search_source_builder"
        if not isinstance(entry, dict):
            raise content_fault(
                f"malformed query within the [sub_searches] field; found {token_of(entry)}", path
            )
        unknown = next((key for key in entry if key != "query"), None)
        if unknown is not None:
            raise unknown_field(kind, unknown, ["query"], path)
        if "query" not in entry:
            raise required_fields(["query"], path)
        if not isinstance(entry["query"], dict):
            raise wrong_type(kind, "query", entry["query"], path)
        yield entry["query"]


def _neighbours(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    knn = body.get("knn", ())
    for number, entry in enumerate(knn if isinstance(knn, (list, tuple)) else (knn,)):
        path = f"knn[{number}]" if isinstance(knn, list) else "knn"
        if not isinstance(entry, dict):
            raise content_fault(
                "malformed knn format, within the knn search array only objects are allowed; "
                f"found {token_of(entry)}",
                path,
            )
        if "inner_hits" in entry:
            raise illegal_argument(
                "[inner_hits] cannot be used beside [rank], where Elasticsearch leaves them out; write the "
                "search as a [retriever]",
                path,
            )
        unknown = next((key for key in entry if key not in _KNN_KEYS), None)
        if unknown is not None:
            raise unknown_field("knn", unknown, _KNN_KEYS, path)
        if "boost" in entry:
            _check_boost(entry["boost"], path)
        content = {key: value for key, value in entry.items() if key != "boost"}
        yield {"knn": content if "k" in content else {**content, "k": _k(body)}}


def _k(body: Mapping[str, Any]) -> int:
    return int(read_body_value("size", body["size"])) if "size" in body else _DEFAULT_K


def _check_boost(boost: object, path: str) -> None:
    try:
        as_number(boost)
    except NotTakenError as error:
        if error.cause is None:
            raise wrong_type("knn", "boost", boost, path) from error
        raise content_fault("[knn] failed to parse field [boost]", path, error.cause) from error
