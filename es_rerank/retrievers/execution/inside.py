"""The steps of a search that runs inside Elasticsearch, by its plugin es-rerank. No I/O here.

The tree is translated into the plugin's names and sent in one request. The plugin's sidecar may serve other
models than this client. So a tree runs inside only if the sidecar serves what this client would use.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from elastic_transport import ApiResponse
from elasticsearch import ApiError, ConnectionTimeout

from ...errors import DeadlineError, EsRerankError, RequestError, SearchError
from ..grammar.parameters import given
from ..grammar.plugin_names import RERANKER, ids_that_may_fail, inference_ids, lacking, translated
from ..grammar.tree import (
    DEFAULT_INFERENCE_ID,
    VECTOR_BUILDER,
    Compound,
    Retriever,
    TextEmbedding,
    TextSimilarityReranker,
    nodes_of,
)
from ..grammar.unparsed_tree import retrievers_in, text_embedding_leaves
from ..response.inside_answer import Told, inside_answer
from .commands import Context, FindPlugin, SearchInside, Steps
from .mappings import check_indices, look_for_move
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
    missing where this client serves no reranker: then the sidecar's default runs. ``needed``: whether the
    tree needs any model of the sidecar. ``default``: whether it needs the default reranker of the sidecar.
    """

    rerankers: Mapping[str, str]
    needed: bool
    default: bool = False


class _LookAgainError(Exception):
    """What was kept about the plugin refuses the search, so Elasticsearch is asked again."""


def inside_steps(
    body: Mapping[str, Any], context: Context, *, needed: bool = False
) -> Steps[ApiResponse[Any] | None]:
    """Run a search inside Elasticsearch and return its response. None if it must run outside.

    ``body`` is the whole body of the search. ``needed``: whether it cannot run outside. With the setting
    ``always``, RequestError is raised for a tree that the plugin cannot run, and SearchError when
    Elasticsearch has no plugin that can be used. Raises DeadlineError when the deadline passes,
    UnknownModelError for a model that this client does not serve, and IndexMismatchError when the embedder
    does not fit a vector field.
    """
    if context.plugin == "never" or (_misses(body["retriever"], context) and context.plugin == "auto"):
        return None
    models = _models(body["retriever"], context)
    fault = lacking(body["retriever"], context.elasticsearch_runs)
    if models.rerankers and "runtime_mappings" in body:
        fault = fault or "a reranker of the plugin cannot read [runtime_mappings] of a request"
    if fault is not None:
        return _outside(context, RequestError(f"{fault}; change the tree, or set plugin to auto"))
    kept = context.plugins.get() is not None
    try:
        return (yield from _by_plugin(body, models, (yield FindPlugin()), context, needed=needed, kept=kept))
    except _LookAgainError:
        info = yield FindPlugin(again=True)
        return (yield from _by_plugin(body, models, info, context, needed=needed, kept=False))


def _by_plugin(
    body: Mapping[str, Any], models: _Models, info: PluginInfo, context: Context, *, needed: bool, kept: bool
) -> Steps[ApiResponse[Any] | None]:
    """Run the search with what is known about the plugin.

    ``kept``: whether that was learned by an earlier search. Raises _LookAgainError if it refuses this one.
    """
    idle = info.sidecar_fault is not None and models.needed and context.plugin == "auto"
    runs = info.fault is None and not idle
    embedders = (yield from _embedders(body, context, info)) if runs else {}
    lacks = info.lacking(models.rerankers.values(), embedders.values())
    if kept and (needed or context.plugin == "always") and (info.fault or lacks or idle):
        raise _LookAgainError
    if info.fault is not None:
        return _outside(context, SearchError(f"{info.fault}; {_REMEDY}"))
    if lacks is not None:
        return _outside(context, RequestError(f"{lacks}; choose one of its models, or set plugin to auto"))
    if idle:
        return None
    tree = _with_embedders(body["retriever"], embedders, info, context)
    if models.default and info.models and not info.own_default:
        # Named, so that the answer names the reranker that ran: the sidecar may have another default by now.
        context.default_reranker = info.models[0]
    answer = yield from _ran({**body, "retriever": tree}, models, info, context, kept=kept)
    if answer is not None:
        hits = answer.body.get("hits", {}).get("hits", [])
        if found := {hit["_index"] for hit in hits if "_index" in hit}:
            check_indices(context, found)
        elif embedders:
            yield from look_for_move(context)
    return answer


def _ran(
    body: Mapping[str, Any], models: _Models, info: PluginInfo, context: Context, *, kept: bool
) -> Steps[ApiResponse[Any] | None]:
    named = models.rerankers
    if context.default_reranker is not None:
        named = {**named, DEFAULT_INFERENCE_ID: context.default_reranker}
    tree = translated(body["retriever"], context.elasticsearch_runs, named)
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
        if says_no_model(error.status_code, error.body):
            return (yield from _without_the_model(error, body, models, info, context, kept=kept))
        if context.plugin == "auto" and says_no_parameter(error.status_code, error.body):
            return None
        raise
    return answer


def _without_the_model(
    error: ApiError,
    body: Mapping[str, Any],
    models: _Models,
    info: PluginInfo,
    context: Context,
    *,
    kept: bool,
) -> Steps[ApiResponse[Any] | None]:
    """Return what becomes of a search whose model the plugin refused with ``error``."""
    if kept:
        raise _LookAgainError from error
    if context.default_reranker is not None:
        context.default_reranker = None
        context.plugins.put(replace(info, own_default=True))
        return (yield from _ran(body, models, info, context, kept=False))
    if context.plugin == "auto":
        context.plugins.put(replace(info, sidecar_fault=str(error.message)))
        return None
    raise error


def with_block(
    answer: ApiResponse[Any],
    tree: Any,  # noqa: ANN401 any JSON value may arrive
    root: Retriever | None,
    context: Context,
) -> dict[str, Any]:
    """Return the body of a response from inside with the block ``rerank``.

    ``tree`` is the caller's. ``root`` is the same, parsed; None if only Elasticsearch can read it.
    """
    names, default = _models(tree, context).rerankers, context.default_reranker
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
        Told.of(answer.meta.headers),
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
    rerankers = {id_: served.reranker(id_).name if served.serves(id_) else id_ for id_ in ids}
    default = not served.rerankers and rerankers.pop(DEFAULT_INFERENCE_ID, None) is not None
    wanted = [_model_id(leaf) for leaf in text_embedding_leaves(tree, runs)]
    if served.embedders:
        for model in wanted:
            served.embedder_for(model)
    return _Models(rerankers, bool(ids) or bool(wanted), default)


def _misses(tree: Any, context: Context) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether this client lacks a reranker of a tree whose failures are allowed: then its first stage stays.

    Raises UnknownModelError for a reranker that is lacking and may not fail. A client without models takes
    those of the sidecar.
    """
    served, runs = context.served, context.elasticsearch_runs
    lacks = [id_ for id_ in inference_ids(tree, runs) if served.rerankers and not served.serves(id_)]
    for id_ in lacks:
        if id_ not in ids_that_may_fail(tree, runs):
            served.reranker(id_)
    return bool(lacks)


def _model_id(leaf: Mapping[str, Any]) -> str | None:
    wanted = leaf[VECTOR_BUILDER][TextEmbedding.kind]
    model = wanted.get("model_id") if isinstance(wanted, Mapping) else None
    return model if isinstance(model, str) else None


def _embedders(
    body: Mapping[str, Any], context: Context, info: PluginInfo
) -> Steps[Mapping[str | None, str]]:
    """Return the own names of the embedders that a tree needs, by the names in it; None stands where a kNN
    names none.

    It is checked that they fit the vector fields, as outside. A client without embedders takes those of the
    sidecar, which are checked only where it has to choose one.
    """
    served, leaves = (
        context.served,
        list(text_embedding_leaves(body["retriever"], context.elasticsearch_runs)),
    )
    named = {model for leaf in leaves if (model := _model_id(leaf)) is not None}
    chooses = len(info.embedders) > 1 and any(_model_id(leaf) is None for leaf in leaves)
    if not served.embedders and not chooses:
        return {model: model for model in named}
    fields = {leaf["field"] for leaf in leaves if isinstance(leaf.get("field"), str)}
    if not fields:
        return {}
    schema = yield from schema_of_vectors(context, fields, given(body, ["pit"]))
    if not served.embedders:
        (only,) = schema.embedders if len(schema.embedders) == 1 else ("",)
        return {model: model for model in named} | ({None: only} if only in info.embedders else {})
    found: dict[str | None, str] = {}
    for leaf in sorted(leaves, key=lambda leaf: str(leaf.get("field"))):
        model = _model_id(leaf)
        embedder = served.embedder_for(model, schema.embedders)
        found[model] = embedder.name
        if isinstance(leaf.get("field"), str):
            check_embedder(embedder, leaf["field"], schema)
    return found


def _with_embedders(
    tree: Any,  # noqa: ANN401 any JSON value may arrive
    embedders: Mapping[str | None, str],
    info: PluginInfo,
    context: Context,
) -> Any:  # noqa: ANN401
    """Return a tree that names its embedders as the sidecar does. Its default needs no name."""
    default = info.embedders[0] if info.embedders else None
    renamed = {
        model: own
        for model, own in embedders.items()
        if model != own and not (model is None and own == default)
    }
    if not renamed:
        return tree
    tree = deepcopy(tree)
    for leaf in text_embedding_leaves(tree, context.elasticsearch_runs):
        wanted = leaf[VECTOR_BUILDER][TextEmbedding.kind]
        taken = isinstance(wanted, dict) and isinstance(wanted.get("model_id", ""), str)
        if taken and (model := _model_id(leaf)) in renamed:
            wanted["model_id"] = renamed[model]
    return tree
