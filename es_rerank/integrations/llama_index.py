"""Adapter for LlamaIndex: a node postprocessor with any reranker.

Importing this module raises MissingExtraError if llama-index-core is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field

from ..errors import RequestError
from ..extras import missing_extra
from ..models import Reranker
from ..models.wrappers.whole_texts import WholeTexts
from ..types import Scores
from .order import DEFAULT_TOP_N, PartialAnswerWarning, best_first, deadline_after, warn_unread

try:
    # LlamaIndex's documentation imports it from here.
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ModuleNotFoundError as error:
    _what = f"the LlamaIndex integration needs {error.name}, which is not installed"
    raise missing_extra(_what, "llama-index") from error

__all__ = ["PartialAnswerWarning", "RerankPostprocessor"]

_dispatcher = get_dispatcher(__name__)


class RerankPostprocessor(BaseNodePostprocessor):
    """A LlamaIndex node postprocessor that keeps the nodes which the reranker scores highest, best first.

    Every node is scored, with the metadata that ``metadata_mode`` adds to its text. The score of a long node
    is that of its best part. Nodes with equal logits keep their order. At most ``top_n`` nodes are kept
    (None: all). Nodes with a probability below ``min_score`` (0..1) are left out. The results are new
    ``NodeWithScore`` objects with the probability as their score. It is the probability of
    the pair: the scores of the retriever have no part in it. With ``keep_retrieval_score``, the
    earlier score of a node is written into ``metadata["retrieval_score"]`` of a copy of the node.
    ``timeout_s`` is the maximum time of one call in seconds, None for no maximum. Calls raise RequestError
    when there is no query, DeadlineError when the time passed before all nodes were scored, ScoreError when a
    score is not finite. They issue a PartialAnswerWarning when the model read only the beginning of a node,
    and a UserWarning when it was not trained on the script of the query or of some nodes.

        postprocessor = RerankPostprocessor(reranker=load_reranker(), top_n=3)
        index.as_query_engine(similarity_top_k=50, node_postprocessors=[postprocessor])
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker = Field(exclude=True)
    top_n: Annotated[int, Field(ge=1)] | None = DEFAULT_TOP_N
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    keep_retrieval_score: bool = False
    metadata_mode: MetadataMode = MetadataMode.EMBED
    timeout_s: Annotated[float, Field(gt=0)] | None = None

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows for this component."""
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        if not nodes:
            return []
        self._report_start(nodes, query)
        warn_unread(self.reranker, query, self._texts(nodes))
        reranker, deadline = WholeTexts(self.reranker), deadline_after(self.timeout_s)
        return self._kept(nodes, reranker.score(query, self._texts(nodes), deadline=deadline))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        if not nodes:
            return []
        self._report_start(nodes, query)
        warn_unread(self.reranker, query, self._texts(nodes))
        reranker, deadline = WholeTexts(self.reranker), deadline_after(self.timeout_s)
        return self._kept(nodes, await reranker.ascore(query, self._texts(nodes), deadline=deadline))

    def _report_start(self, nodes: Sequence[NodeWithScore], query: str) -> None:
        top_n = len(nodes) if self.top_n is None else self.top_n
        _dispatcher.event(
            ReRankStartEvent(query=query, nodes=list(nodes), top_n=top_n, model_name=self.reranker.name)
        )

    def _texts(self, nodes: Sequence[NodeWithScore]) -> list[str]:
        return [item.node.get_content(metadata_mode=self.metadata_mode) for item in nodes]

    def _kept(self, nodes: Sequence[NodeWithScore], scores: Scores) -> list[NodeWithScore]:
        kept = [
            self._scored(nodes[i], probability)
            for i, probability in best_first(
                scores, len(nodes), self.top_n, self.min_score, self.reranker.calibration
            )
        ]
        _dispatcher.event(ReRankEndEvent(nodes=kept))
        return kept

    def _scored(self, item: NodeWithScore, probability: float) -> NodeWithScore:
        node = item.node
        if self.keep_retrieval_score:
            node = node.model_copy(update={"metadata": {**node.metadata, "retrieval_score": item.score}})
        return item.model_copy(update={"node": node, "score": probability})


def _query_of(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise RequestError(
            "reranking needs a query and there is none; call postprocess_nodes with query_bundle or query_str"
        )
    return query_bundle.query_str
