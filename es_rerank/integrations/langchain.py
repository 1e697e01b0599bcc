"""Adapters for LangChain: a retriever that searches and reranks, and a document compressor.

Importing this module raises MissingExtraError if langchain-core is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from ..client import AsyncRerankClient, RerankClient
from ..extras import missing_extra
from ..models import Reranker
from ..models.wrappers.whole_texts import WholeTexts
from ..retrievers.grammar.tree import FirstStage, Query
from ..text.hit_fields import field_text
from ..types import Scores
from .order import (
    DEFAULT_TOP_N,
    PartialAnswerWarning,
    best_first,
    deadline_after,
    warn_partial,
    warn_unread,
)

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
except ModuleNotFoundError as error:
    _what = f"the LangChain integration needs {error.name}, which is not installed"
    raise missing_extra(_what, "langchain") from error

__all__ = ["PartialAnswerWarning", "RerankCompressor", "RerankRetriever"]

_CONTENT_FIELDS = ("text", "content", "body")
_CONTEXT_FIELD = "title"
_PASSAGES_FIELD = "passages"

# A list of at least so many numbers is taken for a vector. Embedding models do not make shorter vectors, and
# other fields of a document hardly ever hold so many numbers.
_SHORTEST_VECTOR = 64

_IN_WORDS = {"partial": "partial", "first_stage": "that of the first stage, not reranked"}

# The options of RerankRetriever that it passes to RerankClient.rerank. An option that is None is not passed.
_OPTIONS = ("window", "first_stage", "field", "vector_field", "filter", "inference_id", "timeout_s")


class RerankRetriever(BaseRetriever):
    """A LangChain retriever that searches with ``RerankClient.rerank`` and returns the best ``k`` documents.

    ``async_client`` is used by ``ainvoke`` and the other asynchronous methods. Without it, ``client`` runs in
    a thread. ``index`` and the options from ``window`` to ``timeout_s`` (seconds) are passed to
    ``RerankClient.rerank``. An option that is None takes the default of that method.

    The id of each Document is the ``_id`` of the hit. Its text is the best passage. A hit without a passage
    gives the text of ``content_field``. If ``content_field`` is None, that is the first field with a text
    among ``field``, ``text``, ``content`` and ``body``.

    The metadata of a Document are the ``metadata`` object of the source. A source without such an object
    gives its other fields, without vectors and passages. These keys are added: ``title``, ``_index``,
    ``_id``, ``_score`` (a probability 0..1), ``_status``, and ``start`` and ``end`` of the passage
    (characters). ``_status`` is the status of the answer: ``reranked``, or ``partial`` or ``first_stage`` if
    the reranker was late or failed, or if Elasticsearch searched only a part. In these two cases ``_score``
    may be None or the score of the first stage, ``_reason`` says why, and a PartialAnswerWarning is issued:
    it is seen also where no document was found. ``_warnings`` is a list of what else the answer warns about.
    Raises what ``RerankClient.rerank`` raises.

        client = RerankClient(es, reranker=load_reranker(), embedder=load_embedder())
        RerankRetriever(client=client, index="articles").invoke("who signed the treaty")
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    client: RerankClient
    async_client: AsyncRerankClient | None = None
    index: str | list[str]
    k: Annotated[int, Field(ge=1)] = DEFAULT_TOP_N
    window: Annotated[int, Field(ge=1)] | None = None
    first_stage: FirstStage | None = None
    field: str | list[str] | None = None
    vector_field: str | None = None
    filter: Query | list[Query] | None = None
    inference_id: str | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    content_field: str | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 LangChain's signature
    ) -> list[Document]:
        return self._documents(self.client.rerank(query, **self._arguments()).body)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.async_client is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager)
        return self._documents((await self.async_client.rerank(query, **self._arguments())).body)

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of ``rerank``. They exclude the fields of passages and vectors."""
        options = {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}
        excluded = [name for name in (_PASSAGES_FIELD, self.vector_field) if name]
        return {"index": self.index, "size": self.k, "source": {"excludes": excluded}, **options}

    def _documents(self, answer: Mapping[str, Any]) -> list[Document]:
        contents = [self.content_field] if self.content_field else [*self._fields_read(), *_CONTENT_FIELDS]
        said = answer["rerank"]
        if "reason" in said:
            warn_partial(f"the answer is {_IN_WORDS[said['status']]}: {said['reason']}")
        more = {f"_{key}": said[key] for key in ("reason", "warnings") if key in said}
        return [document_of(hit, contents, said["status"], more) for hit in answer["hits"]["hits"]]

    def _fields_read(self) -> list[str]:
        named = [self.field] if isinstance(self.field, str) else self.field or []
        return [name for name in named if name != _CONTEXT_FIELD]


def document_of(
    hit: Mapping[str, Any], contents: Sequence[str], status: str, more: Mapping[str, Any] | None = None
) -> Document:
    """Return a hit as a LangChain document.

    ``contents`` are the fields that may hold its text. The first of them that has a text is used. ``more`` is
    added to its metadata.
    """
    source = hit.get("_source") or {}
    content = next((name for name in contents if field_text(hit, name)), None)
    passage = (hit.get("fields", {}).get("rerank.passage") or [{}])[0]
    metadata = {
        **_source_metadata(source, content),
        **({_CONTEXT_FIELD: source[_CONTEXT_FIELD]} if _CONTEXT_FIELD in source else {}),
        **{name: passage[name] for name in ("start", "end") if name in passage},
        **{name: hit.get(name) for name in ("_index", "_id", "_score")},
        "_status": status,
        **(more or {}),
    }
    return Document(
        id=hit["_id"],
        page_content=passage.get("text") or (field_text(hit, content) if content else ""),
        metadata=metadata,
    )


def _source_metadata(source: Mapping[str, Any], content: str | None) -> dict[str, Any]:
    own = source.get("metadata")
    if isinstance(own, dict):
        return own
    return {
        name: value
        for name, value in source.items()
        if name not in (content, _PASSAGES_FIELD) and not _is_vector(value)
    }


def _is_vector(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= _SHORTEST_VECTOR
        and all(isinstance(item, int | float) for item in value)
    )


class RerankCompressor(BaseDocumentCompressor):
    """A LangChain document compressor that keeps the documents which the reranker scores highest, best first.

    The ``page_content`` of every document is scored. The score of a long document is that of its best part.
    Documents with equal logits keep their order. At most ``top_n`` documents are kept (None: all). Documents
    with a probability below ``min_score`` (0..1) are left out. The results are copies of the documents with
    the probability in ``metadata["relevance_score"]``. It is the probability of the pair: the
    scores of the retriever have no part in it. ``timeout_s`` is the maximum time of one call in
    seconds, None for no maximum. Calls raise DeadlineError when this time passed before all documents were
    scored, ScoreError when a score is not finite. They issue a UserWarning when the model was not trained on
    the script of the query or of some documents.

        RerankCompressor(reranker=load_reranker(), top_n=3).compress_documents(documents, "who signed the
        treaty")
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker
    top_n: Annotated[int, Field(ge=1)] | None = DEFAULT_TOP_N
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 LangChain's signature
    ) -> list[Document]:
        """Return the documents to keep, best first. Raises DeadlineError and ScoreError."""
        if not documents:
            return []
        warn_unread(self.reranker, query, _contents(documents))
        reranker, deadline = WholeTexts(self.reranker), deadline_after(self.timeout_s)
        return self._kept(documents, reranker.score(query, _contents(documents), deadline=deadline))

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 LangChain's signature
    ) -> list[Document]:
        """Return the same as ``compress_documents`` without blocking the event loop.

        Cancelling the call stops its work in the reranker.
        """
        if not documents:
            return []
        warn_unread(self.reranker, query, _contents(documents))
        reranker, deadline = WholeTexts(self.reranker), deadline_after(self.timeout_s)
        return self._kept(documents, await reranker.ascore(query, _contents(documents), deadline=deadline))

    def _kept(self, documents: Sequence[Document], scores: Scores) -> list[Document]:
        kept = best_first(scores, len(documents), self.top_n, self.min_score, self.reranker.calibration)
        return [
            documents[i].model_copy(
                update={"metadata": {**documents[i].metadata, "relevance_score": probability}}
            )
            for i, probability in kept
        ]


def _contents(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
