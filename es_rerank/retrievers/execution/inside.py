"""The steps of a search that runs inside Elasticsearch, by its plugin es-rerank. No I/O here.

The tree is translated into the plugin's names and sent in one request. The plugin's sidecar may serve other
models than this client. So a tree runs inside only if the sidecar serves what this client would use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from elastic_transport import ApiResponse
from elasticsearch import ApiError, ConnectionTimeout

from ...errors import DeadlineError, EsRerankError, RequestError, SearchError
from ..grammar.parameters import given
from ..grammar.plugin_names import RERANKER, inference_ids, lacking, translated
from ..grammar.tree import (
    DEFAULT_INFERENCE_ID,
    VECTOR_BUILDER,
    Compound,
    Retriever,
    TextEmbedding,
    TextSimilarityReranker,
    nodes_of,
    retrievers_in,
    text_embedding_leaves,
)
from ..response.inside_answer import inside_answer
from .commands import Context, FindPlugin, SearchInside, Steps
from .mappings import check_indices
from .plugin_info import PluginInfo, says_no_model, says_no_parameter, says_no_plugin
from .scoring import MORE_TIME
from .vectors import check_embedder, schema_of_vectors

_SIDECAR_LATE = 504
"""Status of the plugin for a sidecar that did not answer in time."""

_REMEDY = "install it on every node, or set plugin (ES_RERANK_PLUGIN) to auto"


@dataclass(frozen=True, slots=True)
class _Models:
    """The models that a tree needs.

    ``rerankers``: the names of the rerankers by ``inference_id``, children before parents. The default is
    missing where this client serves no reranker: then the sidecar's default runs. ``embedders``: the names of
    the embedders. ``needed``: whether the tree needs any model of the sidecar.
    """

    rerankers: Mapping[str, str]
    embedders: frozenset[str]
    needed: bool


def inside_steps(body: Mapping[str, Any], context: Context) -> Steps[ApiResponse[Any] | None]:
    """Run a search inside Elasticsearch and return its response. None if it must run outside.

    ``body`` is the whole body of the search. With the setting ``always``, RequestError is raised for a tree
    that the plugin cannot run, and SearchError when Elasticsearch has no plugin that can be used. Raises
    DeadlineError when the deadline passes, UnknownModelError for a model that this client does not serve, and
    IndexMismatchError when the embedder does not fit a vector field.
    """
    if context.plugin == "never":
        return None
    models = _models(body["retriever"], context)
    fault = lacking(body["retriever"], context.elasticsearch_runs)
    if models.rerankers and "runtime_mappings" in body:
        fault = fault or "a reranker of the plugin cannot read [runtime_mappings] of a request"
    if fault is not None:
        return _outside(context, RequestError(f"{fault}; change the tree, or set plugin to auto"))
    info: PluginInfo = yield FindPlugin()
    if info.fault is not None:
        return _outside(context, SearchError(f"{info.fault}; {_REMEDY}"))
    fault = info.lacking(models.rerankers.values(), models.embedders)
    if fault is not None:
        return _outside(context, RequestError(f"{fault}; choose one of its models, or set plugin to auto"))
    if info.sidecar_fault is not None and models.needed and context.plugin == "auto":
        return None
    yield from _check_vectors(body, context)
    answer = yield from _ran(body, models, info, context)
    if answer is not None:
        hits = answer.body.get("hits", {}).get("hits", [])
        check_indices(context, {hit["_index"] for hit in hits if "_index" in hit})
    return answer


def _ran(
    body: Mapping[str, Any], models: _Models, info: PluginInfo, context: Context
) -> Steps[ApiResponse[Any] | None]:
    tree = translated(body["retriever"], context.elasticsearch_runs, models.rerankers)
    path = f"{context.path}/_search"
    try:
        answer: ApiResponse[Any] = yield SearchInside(path, {**body, "retriever": tree}, context.parameters)
    except ConnectionTimeout as error:
        if context.deadline is None:
            raise
        raise DeadlineError(f"the deadline came before Elasticsearch answered; {MORE_TIME}") from error
    except ApiError as error:
        if error.status_code == _SIDECAR_LATE and context.deadline is not None:
            raise DeadlineError(
                f"the deadline came before the plugin's sidecar answered; {MORE_TIME}"
            ) from error
        if says_no_plugin(error.status_code, error.body):
            fault = "Elasticsearch does not know the retrievers of the plugin es-rerank"
            context.plugins.put(PluginInfo(fault))
            return _outside(context, SearchError(f"{fault}; {_REMEDY}"))
        if context.plugin == "auto" and says_no_model(error.status_code, error.body):
            context.plugins.put(replace(info, sidecar_fault=str(error.message)))
            return None
        if context.plugin == "auto" and says_no_parameter(error.status_code, error.body):
            return None
        raise
    return answer


def with_block(
    answer: ApiResponse[Any],
    tree: Any,  # noqa: ANN401 any JSON value may arrive
    root: Retriever | None,
    context: Context,
) -> dict[str, Any]:
    """Return the body of a response from inside with the block ``rerank``.

    ``tree`` is the caller's. ``root`` is the same, parsed; None if only Elasticsearch can read it.
    """
    known, names = context.plugins.get(), _models(tree, context).rerankers
    default = known.models[0] if known is not None and known.models else None
    ids = inference_ids(tree, context.elasticsearch_runs)
    models = [name for name in (names.get(id_, default) for id_ in ids) if name is not None]
    reranks = bool(ids) or any(kind == RERANKER for kind, _ in retrievers_in(tree))
    blends = (
        None
        if root is None
        else [node.blend for node in nodes_of(root) if isinstance(node, TextSimilarityReranker)]
    )
    return inside_answer(
        answer.body,
        answer.meta.headers.get("warning"),
        models,
        root.window if isinstance(root, Compound) else None,
        context.stats,
        reranks=reranks,
        scores_hits=isinstance(root, TextSimilarityReranker),
        blended=None if blends is None else any(blends),
    )


def _outside(context: Context, error: EsRerankError) -> ApiResponse[Any] | None:
    """Return None, so that the search runs outside. Raises ``error`` with the setting ``always``."""
    if context.plugin == "always":
        raise error
    return None


def _models(tree: Any, context: Context) -> _Models:  # noqa: ANN401 any JSON value may arrive
    """Return the models that a tree needs, under the names that this client would use.

    Raises UnknownModelError and RequestError for a model that this client does not serve. A client without
    models takes those of the sidecar.
    """
    served, runs = context.served, context.elasticsearch_runs
    ids = inference_ids(tree, runs)
    rerankers = {id_: served.reranker(id_).name if served.rerankers else id_ for id_ in ids}
    if not served.rerankers:
        rerankers.pop(DEFAULT_INFERENCE_ID, None)
    wanted = [_model_id(leaf) for leaf in text_embedding_leaves(tree, runs)]
    embedders = [model if served.embedder is None else served.embedder_for(model).name for model in wanted]
    return _Models(
        rerankers, frozenset(name for name in embedders if name is not None), bool(ids) or bool(wanted)
    )


def _model_id(leaf: Mapping[str, Any]) -> str | None:
    wanted = leaf[VECTOR_BUILDER][TextEmbedding.kind]
    model = wanted.get("model_id") if isinstance(wanted, Mapping) else None
    return model if isinstance(model, str) else None


def _check_vectors(body: Mapping[str, Any], context: Context) -> Steps[None]:
    """Check that the embedder fits the vector fields, as outside."""
    embedder, leaves = (
        context.served.embedder,
        list(text_embedding_leaves(body["retriever"], context.elasticsearch_runs)),
    )
    fields = {leaf["field"] for leaf in leaves if isinstance(leaf.get("field"), str)}
    if embedder is None or not fields:
        return
    schema = yield from schema_of_vectors(context, fields, given(body, ["pit"]))
    for name in sorted(fields):
        check_embedder(embedder, name, schema)
