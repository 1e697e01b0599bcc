"""Translates a retriever tree from Elastic's names into the names of the plugin es-rerank. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...defaults import MAX_DOCUMENTS
from .scalars import NotTakenError, as_integer
from .tree import (
    DEFAULT_INFERENCE_ID,
    NATIVE_ONLY,
    RETRIEVERS_RUN_HERE,
    VECTOR_BUILDER,
    Knn,
    Standard,
    TextEmbedding,
    TextSimilarityReranker,
)
from .unparsed_tree import has_retriever_run_here, retrievers_in

RERANKER = "es_rerank"
"""The plugin's name of ``text_similarity_reranker``."""

NAMES: Mapping[str, str] = {"rrf": "es_rrf", "linear": "es_linear", TextSimilarityReranker.kind: RERANKER}
"""From the name of a retriever in Elastic's documentation to its name in the plugin."""

VECTOR_BUILDER_NAME = "es_rerank"
"""The plugin's name for what Elastic's documentation calls ``text_embedding``."""

MOST_LEVELS = 8
"""Most compound retrievers above one another that the plugin accepts: Elasticsearch rewrites a search too few
times for more (observed on Elasticsearch 9.1 and 9.5)."""

_LEAVES = frozenset({Standard.kind, Knn.kind})


def lacking(body: Any, elasticsearch_runs: Collection[str] = ()) -> str | None:  # noqa: ANN401 any JSON value
    """Return what the plugin cannot run in a ``retriever`` object, as a sentence. None if it runs it all."""
    for kind, content in retrievers_in(body):
        if kind in RETRIEVERS_RUN_HERE and kind not in elasticsearch_runs and kind not in NAMES:
            return f"the plugin has no retriever [{kind}]"
        if kind == TextSimilarityReranker.kind and kind not in elasticsearch_runs:
            window = _window(content)
            if window > MAX_DOCUMENTS:
                return (
                    f"[{kind}] has [rank_window_size] {window}, and the plugin sends at most {MAX_DOCUMENTS} "
                    "documents to its sidecar"
                )
    levels = _levels(body)
    if levels > MOST_LEVELS:
        return f"the tree has {levels} levels of retrievers, and the plugin runs {MOST_LEVELS}"
    return None


def _window(content: Mapping[str, Any]) -> int:
    """Return the ``rank_window_size`` of a retriever; 0 if it has none that Elasticsearch takes."""
    try:
        return as_integer(content.get("rank_window_size", 0))
    except NotTakenError:
        return 0


def only_inside(body: Any, elasticsearch_runs: Collection[str] = ()) -> bool:  # noqa: ANN401
    """Whether a retriever that only Elasticsearch runs stands above one that es-rerank would run.

    Such a tree can run only with the plugin, as a whole.
    """
    return any(
        kind in NATIVE_ONLY and has_retriever_run_here({kind: content}, elasticsearch_runs)
        for kind, content in retrievers_in(body)
    )


def inference_ids(body: Any, elasticsearch_runs: Collection[str] = ()) -> list[str]:  # noqa: ANN401
    """Return the ``inference_id`` of each reranker that is translated. Children come before their parents."""
    if TextSimilarityReranker.kind in elasticsearch_runs:
        return []
    ids = [
        content.get("inference_id", DEFAULT_INFERENCE_ID)
        for kind, content in retrievers_in(body)
        if kind == TextSimilarityReranker.kind
    ]
    return ids[::-1]


def ids_that_may_fail(body: Any, elasticsearch_runs: Collection[str] = ()) -> frozenset[str]:  # noqa: ANN401
    """Return the ``inference_id``s whose rerankers all allow failures."""
    if TextSimilarityReranker.kind in elasticsearch_runs:
        return frozenset()
    allowed: dict[str, bool] = {}
    for kind, content in retrievers_in(body):
        if kind == TextSimilarityReranker.kind:
            id_ = content.get("inference_id", DEFAULT_INFERENCE_ID)
            may = content.get("allow_rerank_failures") in (True, "true")
            allowed[id_] = may and allowed.get(id_, True)
    return frozenset(id_ for id_, may in allowed.items() if may)


def translated(
    body: Any,  # noqa: ANN401 any JSON value may arrive
    elasticsearch_runs: Collection[str] = (),
    models: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401
    """Return a ``retriever`` object in the plugin's names. All other keys and values stay as they are.

    Kinds in ``elasticsearch_runs`` and names of the plugin stay too, also where a translated retriever is
    below them. ``models``: the name of the model to ask for, by ``inference_id``. An id that it lacks stays.
    """
    if not isinstance(body, dict):
        return body
    return {
        NAMES[kind] if kind in NAMES and kind not in elasticsearch_runs else kind: (
            _content(kind, content, elasticsearch_runs, models or {})
        )
        for kind, content in body.items()
    }


def _content(kind: str, content: Any, runs: Collection[str], models: Mapping[str, str]) -> Any:  # noqa: ANN401
    if not isinstance(content, dict):
        return content
    if kind in _LEAVES:
        return _leaf(content, runs)
    parts = dict(content)
    if "retriever" in parts:
        parts["retriever"] = translated(parts["retriever"], runs, models)
    if "retrievers" in parts:
        entries = parts["retrievers"]
        parts["retrievers"] = (
            [_entry(entry, runs, models) for entry in entries]
            if isinstance(entries, list)
            else _entry(entries, runs, models)
        )
    if kind == TextSimilarityReranker.kind and kind not in runs:
        name = models.get(parts.get("inference_id", DEFAULT_INFERENCE_ID))
        parts |= {} if name is None else {"inference_id": name}
    return parts


def _entry(entry: Any, runs: Collection[str], models: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return an entry of ``retrievers``: a retriever, or ``{"retriever": {...}, "weight": w}``."""
    if isinstance(entry, dict) and "retriever" in entry:
        return {**entry, "retriever": translated(entry["retriever"], runs, models)}
    return translated(entry, runs, models)


def _leaf(content: dict[str, Any], runs: Collection[str]) -> dict[str, Any]:
    builder = content.get(VECTOR_BUILDER)
    if VECTOR_BUILDER in runs or not isinstance(builder, dict):
        return content
    return {
        **content,
        VECTOR_BUILDER: {
            VECTOR_BUILDER_NAME if name == TextEmbedding.kind else name: value
            for name, value in builder.items()
        },
    }


def _levels(body: Any) -> int:  # noqa: ANN401
    """Return how many compound retrievers stand above one another in a ``retriever`` object."""
    if not isinstance(body, dict):
        return 0
    return max(
        (1 + _levels_below(content) for kind, content in body.items() if kind not in _LEAVES), default=0
    )


def _levels_below(content: Any) -> int:  # noqa: ANN401
    if not isinstance(content, dict):
        return 0
    entries = content.get("retrievers", content.get("retriever"))
    return max(
        (
            _levels(entry.get("retriever", entry) if isinstance(entry, dict) else entry)
            for entry in (entries if isinstance(entries, list) else [entries])
        ),
        default=0,
    )
