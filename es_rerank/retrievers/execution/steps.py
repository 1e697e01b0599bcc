"""The steps of a search that es-rerank runs. No I/O here.

A search is a generator. It yields commands (``EsRequest``, ``Forward``, ``EmbedQuery``, ``AdmitTexts``,
``SplitLongTexts``, ``ChunkTexts``, ``ScoreTexts``) and receives their results. The module ``run`` carries the
commands out, with a blocking or an asynchronous client.

The steps for a tree:

1. If the tree needs to know fields, look at the mapping (see ``mappings``).
2. If the tree has several leaves, open a point in time, so that all searches see the same state of the index.
3. Send the searches of all leaves in one request. They return ids and scores only.
4. Fuse the lists. For each reranker, fetch the texts of its window in one request, unless the first stage
   fetched them. Score the texts.
5. Fetch the page in one request, with totals, aggregations, highlights and inner hits over the union of the
   leaves. What reads scores takes a request of its own, and so do explanations.
6. Close the point in time.

A tree with one leaf needs two requests, and the look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ...errors import InvalidSearchError, RequestError, UnknownModelError
from ...models.scripts import script_warning
from ...observation import Stage
from ...types import Candidate
from ..grammar.parameters import NOT_IN_PIT, OF_INDICES, OF_MSEARCH, OF_PAGE, OF_SHARDS, as_header, given
from ..grammar.request import SearchRequest
from ..grammar.tree import (
    Compound,
    Knn,
    Linear,
    Pinned,
    Rescorer,
    Retriever,
    Rrf,
    Standard,
    TextSimilarityReranker,
    nodes_of,
)
from ..planning.computed import asks_to_explain
from ..planning.documents import candidates_of, rescore_body
from ..planning.first_stage import blends_by_embedder
from ..planning.index_schema import IndexSchema
from ..planning.leaves import LeafSearch, leaf_body, leaf_searches, with_texts_of_source
from ..planning.multi_field import expand_fields, uses_fields
from ..ranking.compound import at_least, linear_over, with_pins
from ..ranking.fusion import renumbered, rrf
from ..ranking.ranked_node import RankedNode
from ..ranking.rerank import Ranking
from ..response.answer import assemble
from ..response.computed import explained_keys
from .commands import (
    Context,
    EmbedQuery,
    EsRequest,
    FindVersion,
    Steps,
    closed,
)
from .explanations import LeafRequest, explain_leaves
from .leaf_failures import Place, places_of
from .mappings import (
    check_indices,
    indices_of_pit,
    look_for_move,
    names_remote,
    refuse_absent,
    schema_for,
)
from .page_answer import fetched_page, page_requests
from .scoring import rerank_window
from .vectors import check_embedder, origin_of
from .window_texts import WindowTexts

T = TypeVar("T")


_TRUE = ("true", "")
"""How a URL writes true."""

KEEP_ALIVE = "1m"
"""How long Elasticsearch keeps a point in time if es-rerank cannot close it."""


def _in_sequence(steps_list: Iterable[Steps[T]]) -> Steps[list[T]]:
    """Run several steps one after the other and return their results in a list."""
    results = []
    for steps in steps_list:
        result = yield from steps
        results.append(result)
    return results


def search_steps(request: SearchRequest, context: Context) -> Steps[dict[str, Any]]:
    """Run a tree in es-rerank and return the response.

    The tree is checked before the first request to Elasticsearch. Raises InvalidSearchError when a parameter
    cannot be combined with the caller's point in time. Where the tree does not allow rerank failures, raises
    UnknownModelError when a reranker is not served, and DeadlineError when the deadline passes.
    """
    _check_indices(request, context)
    for node in nodes_of(request.retriever):
        if isinstance(node, TextSimilarityReranker) and not node.allow_rerank_failures:
            context.served.reranker(node.inference_id)
    if not context.version.asked:
        yield FindVersion()
    search = _Search(context, request)
    root = yield from search.evaluated()
    window = at_least(root.window, request.min_score)
    page = page_requests(root, window, request, context)
    fetched = yield from fetched_page(page, window, search.asking_for_page)
    if page.lacks(len(fetched["hits"]["hits"])):
        yield from look_for_move(context)
    if asks_to_explain(request.page):
        keys = explained_keys(fetched, page if request.explain else None)
        yield from explain_leaves(root, search.leaves, keys, search.explaining)
    yield from closed(context)
    return assemble(root, window, page, fetched, context.stats, request)


def _check_indices(request: SearchRequest, context: Context) -> None:
    """Check that the search names indices or a point in time, and the parameters beside a point in time.

    Raises InvalidSearchError, in Elasticsearch's words, when it names neither, and when a parameter cannot be
    combined with a point in time.
    """
    if "pit" not in request.common:
        if not context.index:
            raise InvalidSearchError.of(["[index] is not specified"])
        return
    if context.index:
        raise InvalidSearchError.of(
            ["[indices] cannot be used with point in time. Do not specify any index with point in time."]
        )
    clashes: list[str] = [name for name in ("routing", "preference") if name in context.parameters]
    clashes += ["indicesOptions"] if any(name in context.parameters for name in OF_INDICES) else []
    clashes += [name for name in ("ccs_minimize_roundtrips",) if context.parameters.get(name) in _TRUE]
    if clashes:
        raise InvalidSearchError.of([f"[{clash}] cannot be used with point in time" for clash in clashes])


@dataclass(slots=True)
class _Search:
    """One running search.

    ``pit``: the id of the point in time that the search opened. ``texts``: the texts that the rerankers read.
    ``leaves``: the searches of the first stage, without the texts.
    """

    context: Context
    request: SearchRequest
    schema: IndexSchema = field(default_factory=IndexSchema)
    pit: str | None = None
    texts: WindowTexts = field(default_factory=WindowTexts)
    leaves: list[LeafRequest] = field(default_factory=list)

    @property
    def common(self) -> dict[str, Any]:
        """Return the keys that the body of every search needs."""
        return self.request.common | ({"pit": {"id": self.pit, "keep_alive": KEEP_ALIVE}} if self.pit else {})

    @property
    def path(self) -> str:
        return "/_search" if "pit" in self.common else f"{self.context.path}/_search"

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the query parameters that every search needs."""
        names = [
            name
            for name in self.context.parameters
            if name not in OF_PAGE and not ("pit" in self.common and name in NOT_IN_PIT)
        ]
        return given(self.context.parameters, names)

    def _asking(self, stage: Stage, body: dict[str, Any]) -> EsRequest:
        """Return the request of one search. ``stage`` is its name in the statistics."""
        return EsRequest(stage, "POST", self.path, body | self.common, self.parameters)

    def asking_for_page(self, stage: Stage, body: dict[str, Any]) -> EsRequest:
        """Return the request of a search that is shown in the answer."""
        # Elasticsearch caches searches without hits. This one is hardly sent again, and its key is large.
        uncached = {} if body.get("size") else {"request_cache": "false"}
        parameters = uncached | self.parameters | given(self.context.parameters, OF_PAGE)
        return EsRequest(stage, "POST", self.path, body | self.common, parameters)

    def evaluated(self) -> Steps[RankedNode]:
        """Run the first stage of all leaves in one request, then evaluate the tree."""
        tree = self.request.retriever
        texts = {
            name for node in nodes_of(tree) if isinstance(node, TextSimilarityReranker) for name in node.field
        }
        builds = any(isinstance(node, Knn) and node.builder is not None for node in nodes_of(tree))
        if whole := builds or uses_fields(tree) or blends_by_embedder(tree):
            yield from self._look(tree, texts, (yield from self._expression()), whole=True)
        elif texts and "pit" not in self.request.common:
            yield from self._look(tree, texts, self.context.index or "", whole=False)
        tree = expand_fields(tree, self.schema)
        planned = whole or "pit" not in self.request.common
        if planned:
            self.texts.plan(tree, self.schema)
        hits_of_leaves = yield from self._first_stage(list(leaf_searches(tree, self.texts.sources)))
        indices = {candidate.index for candidates in hits_of_leaves for candidate in candidates}
        check_indices(self.context, indices)
        if builds and not indices:
            yield from look_for_move(self.context)
        if texts and not planned:
            # The indices of a caller's point in time are known from its hits.
            if indices:
                yield from self._look(tree, texts, ",".join(sorted(indices)), whole=False)
            self.texts.plan(tree, self.schema)
        return (yield from self._evaluated(tree, iter(hits_of_leaves)))

    def _expression(self) -> Steps[str]:
        """Return the index expression of the search, or the indices of the caller's point in time."""
        if "pit" not in self.request.common:
            return self.context.index or ""
        return ",".join((yield from indices_of_pit(self.request.common)))

    def _look(self, tree: Retriever, texts: set[str], expression: str, *, whole: bool) -> Steps[None]:
        """Read what is known about the fields that the tree names. ``texts`` are those of its rerankers.

        Raises IndexMismatchError when no index has a field. Raises RequestError for a query over fields of
        another cluster.
        """
        if not expression:
            return  # a point in time without documents
        if uses_fields(tree) and names_remote(expression):
            raise RequestError(
                "[rrf] and [linear] do not support the simplified query format when querying remote indices, "
                f"and [{expression}] names some; give the [retrievers] instead"
            )
        vectors = {node.field for node in nodes_of(tree) if isinstance(node, Knn)}
        runtime = self.request.common.get("runtime_mappings")
        self.schema = yield from schema_for(
            self.context, expression, texts | vectors, whole=whole, runtime=runtime
        )
        for purpose, names in (("vector", vectors), ("text", texts)):
            for name in sorted(names):
                yield from refuse_absent(self.context, self.schema, name, purpose, self.request.common)

    def _first_stage(self, searches: Sequence[LeafSearch]) -> Steps[list[list[Candidate]]]:
        """Search all leaves in one request and return the candidates of each leaf, in order.

        Texts that the searches fetched are stored in ``texts``.
        """
        vectors = yield from _in_sequence(self._vector_of(search) for search in searches)
        if len(searches) > 1 and "pit" not in self.request.common:
            yield from self._open()
        in_pit = self.pit is not None or "pit" in self.request.common
        bodies, fetch_all_texts = [], []
        for search, vector in zip(searches, vectors, strict=True):
            body, fetches_all = leaf_body(search, vector, pit=in_pit), False
            self.leaves.append((search, body))
            if search.source is not None:
                body, fetches_all = with_texts_of_source(body, search, self.schema)
            bodies.append(body)
            fetch_all_texts.append(fetches_all)
        answers = yield from self._ask_all("first_stage", bodies, places_of(searches))
        hits_of_leaves = []
        for search, answer, fetches_all in zip(searches, answers, fetch_all_texts, strict=True):
            candidates = candidates_of(answer["hits"]["hits"][: search.window], in_pit=in_pit)
            if fetches_all and search.source is not None:
                self.texts.keep(search.source, search.text, candidates, candidates)
            hits_of_leaves.append(candidates)
        return hits_of_leaves

    def _open(self) -> Steps[None]:
        path = f"{self.context.path}/_pit"
        answer = yield EsRequest(
            "point_in_time",
            "POST",
            path,
            None,
            {"keep_alive": KEEP_ALIVE, **given(self.context.parameters, OF_SHARDS)},
        )
        self.pit = self.context.opened = answer["id"]

    def explaining(self, leaves: Sequence[LeafRequest]) -> Steps[list[dict[str, Any]]]:
        """Return the answers of searches that explain hits of leaves."""
        places = places_of([search for search, _ in leaves])
        return (yield from self._ask_all("explain", [body for _, body in leaves], places))

    def _ask_all(
        self, stage: Stage, bodies: Sequence[dict[str, Any]], places: tuple[Place, ...]
    ) -> Steps[list[dict[str, Any]]]:
        if len(bodies) == 1:
            return [(yield replace(self._asking(stage, bodies[0]), places=places))]
        header, parameters = as_header(self.parameters), given(self.parameters, OF_MSEARCH)
        answer = yield EsRequest(
            stage,
            "POST",
            "/_msearch",
            [line for body in bodies for line in (header, body | self.common)],
            parameters,
            places,
        )
        responses: list[dict[str, Any]] = answer["responses"]
        return responses

    def _vector_of(self, search: LeafSearch) -> Steps[list[float] | str | None]:
        """Return the query vector of a kNN: the given one or a computed one.

        Returns None for other leaves, and when Elasticsearch computes the vector. Raises IndexMismatchError
        when the embedder does not fit the vector field.
        """
        leaf = search.node
        if not isinstance(leaf, Knn):
            return None
        if leaf.query_vector is not None or leaf.builder is None:
            return leaf.query_vector
        embedder = self.context.served.embedder_for(leaf.builder.model_id, self.schema.embedders)
        check_embedder(embedder, leaf.field, self.schema)
        self.context.stats.warn(script_warning(embedder, leaf.builder.model_text))
        vector: list[float] = yield EmbedQuery(leaf.builder.model_text, embedder.name)
        return vector

    def _evaluated(self, node: Retriever, leaves: Iterator[list[Candidate]]) -> Steps[RankedNode]:
        """Return the ranking of a node. ``leaves`` yields the candidates of the leaves, in the order of the
        tree.
        """
        if not isinstance(node, Compound):
            return RankedNode(node, tuple(next(leaves)))
        if isinstance(node, Rescorer) and isinstance(node.retriever, (Standard, Knn)):
            leaf = RankedNode(node.retriever, tuple(next(leaves)))
            return RankedNode(node, tuple(renumbered(at_least(leaf.window, node.min_score))), (leaf,))
        pinned = next(leaves) if isinstance(node, Pinned) else []
        children = yield from _in_sequence(self._evaluated(child, leaves) for child in node.children)
        lists = [child.window[: node.window] for child in children]
        below = tuple(replace(child, window=window) for child, window in zip(children, lists, strict=True))
        match node:
            case TextSimilarityReranker():
                return (yield from self._reranked(node, below[0]))
            case Rescorer():
                window = yield from self._rescored(node, below[0].window)
            case Rrf():
                window = rrf(
                    lists, [child.weight for child in node.retrievers], node.rank_constant, node.window
                )
            case Linear():
                return linear_over(node, below)
            case Pinned():
                return with_pins(node, pinned, below)
        return RankedNode(node, tuple(renumbered(at_least(window, node.min_score))), below)

    def _rescored(self, node: Rescorer, candidates: Sequence[Candidate]) -> Steps[list[Candidate]]:
        if not candidates:
            return []
        answer = yield self._asking("rescore", rescore_body(node, candidates))
        known = {candidate.key: candidate for candidate in candidates}
        rescored = candidates_of(answer["hits"]["hits"])
        return [
            replace(known[candidate.key], score=candidate.score, rank=candidate.rank)
            for candidate in rescored
            if candidate.key in known
        ]

    def _reranked(self, node: TextSimilarityReranker, child: RankedNode) -> Steps[RankedNode]:
        """Return the ranking of a reranker: fetch the texts of the child's window and score them.

        If ``allow_rerank_failures`` is set and the reranker fails or is late, the child's order stays and the
        statistics say so.
        """
        stats = self.context.stats
        try:
            reranker = self.context.served.reranker(node.inference_id)
        except UnknownModelError as error:
            if not node.allow_rerank_failures:
                raise
            stats.fail(error.message, "unknown_model", reached=False)
            return RankedNode(node, child.window, (child,))
        if reranker.name not in stats.models:
            stats.models.append(reranker.name)
        candidates = yield from self.texts.read(child.window, node, self._asking)
        stats.candidates += len(candidates)
        origin = origin_of(node, self.schema, self.context)
        ranking = (
            (yield from rerank_window(node, candidates, self.texts, self.context, origin))
            if candidates
            else Ranking([], complete=True, truncated=0, cached=0)
        )
        reranked = {hit.candidate.key: hit for hit in ranking.hits}
        if not ranking.complete and all(hit.logit is None for hit in ranking.hits):
            return RankedNode(node, child.window, (child,), reranked=reranked)
        window = [
            replace(
                hit.candidate,
                score=float("nan") if hit.score is None else hit.score,
                rank=position,
            )
            for position, hit in enumerate(ranking.hits, 1)
        ]
        return RankedNode(node, tuple(window), (child,), reranked=reranked)
