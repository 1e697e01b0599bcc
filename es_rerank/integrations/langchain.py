"""LangChain's interfaces: a retriever over a reranking search, and a document compressor over any reranker.

Importing this module raises MissingExtraError where langchain-core is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from ..client import AsyncRerankClient, RerankClient
from ..errors import MissingExtraError
from ..models import Reranker
from ..models.wrappers.whole_texts import WholeTexts
from ..retrievers.grammar.tree import FirstStage, Query
from ..types import Scores
from .order import DEFAULT_TOP_N, best_first, deadline_after

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"the LangChain integration needs {error.name}, which is not installed; install the extra with: pip install 'es-rerank[langchain]'",
        extra="langchain",
    ) from error

_CONTENT_FIELDS = ("text", "content", "body")
_CONTEXT_FIELD = "title"
_PASSAGES_FIELD = "passages"

# No embedding model makes shorter vectors, and hardly any other field of a document is a list of so many numbers.
_SHORTEST_VECTOR = 64

# The short form's options that a retriever hands on; those left out take the client's own defaults.
_OPTIONS = ("window", "first_stage", "field", "vector_field", "filter", "inference_id", "timeout_s")


class RerankRetriever(BaseRetriever):
    """Retrieves with ``RerankClient.rerank``: a first stage recalls, the client's reranker orders, the best ``k`` come back.

    ``async_client`` serves ``ainvoke`` and its kin; without it ``client`` does, in a thread. ``index`` and the options
    from ``window`` to ``timeout_s`` (seconds) are those of ``RerankClient.rerank``; None leaves them at its defaults.

    Each Document has the hit's ``_id`` as its id and the best passage as its text, or the text of ``content_field``
    where there is no passage (None: the field that is read, else the first of text, content, body). Its metadata are
    the source's ``metadata`` object, or where it has none the other fields without vectors and passages; and, over
    these, ``title``, ``_index``, ``_id``, ``_score`` (a probability 0..1), ``_status`` and the passage's ``start`` and
    ``end`` (characters). ``_status`` is the answer's: ``reranked``, or ``partial`` or ``first_stage`` where the
    reranker was late or failed; ``_score`` is then None or the first stage's own. Raises what ``RerankClient.rerank``
    raises.

        retriever = RerankRetriever(client=RerankClient(es, reranker=load_reranker(), embedder=load_embedder()), index="articles")
        retriever.invoke("who signed the treaty")
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
        """Return the arguments of ``rerank``; vectors and passages stay in Elasticsearch as far as their names are known."""
        options = {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}
        unread = [name for name in (_PASSAGES_FIELD, self.vector_field) if name]
        return {"index": self.index, "size": self.k, "source": {"excludes": unread}, **options}

    def _documents(self, answer: Mapping[str, Any]) -> list[Document]:
        contents = [self.content_field] if self.content_field else [*self._fields_read(), *_CONTENT_FIELDS]
        return [_document(hit, contents, answer["rerank"]["status"]) for hit in answer["hits"]["hits"]]

    def _fields_read(self) -> list[str]:
        named = [self.field] if isinstance(self.field, str) else self.field or []
        return [name for name in named if name != _CONTEXT_FIELD]


def _document(hit: Mapping[str, Any], contents: Sequence[str], status: str) -> Document:
    """Return a hit as LangChain's document; ``contents`` are the fields that may hold its text, the likeliest first."""
    source = hit.get("_source") or {}
    content = next((name for name in contents if _text(source, name)), None)
    passage = (hit.get("fields", {}).get("rerank.passage") or [{}])[0]
    metadata = {
        **_source_metadata(source, content),
        **({_CONTEXT_FIELD: source[_CONTEXT_FIELD]} if _CONTEXT_FIELD in source else {}),
        **{name: passage[name] for name in ("start", "end") if name in passage},
        **{name: hit.get(name) for name in ("_index", "_id", "_score")},
        "_status": status,
    }
    return Document(
        id=hit["_id"],
        page_content=passage.get("text") or (_text(source, content) if content else ""),
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


def _text(source: Mapping[str, Any], path: str) -> str:
    """Return the text at a dotted path, several values one per line; empty where there is none."""
    value: Any = source
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "\n".join(
        item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)
    )


class RerankCompressor(BaseDocumentCompressor):
    """Keeps the documents that the reranker finds most relevant, best first; equal logits keep the order given.

    Every document's ``page_content`` is scored, a long one by its best part. At most ``top_n`` are kept (None: all), and none whose probability is
    below ``min_score`` (0..1). What comes back are copies with the probability in ``metadata["relevance_score"]``; it
    is the model's own, without a calibration that blends a first stage in. ``timeout_s`` bounds one call in seconds,
    None for no bound. Calls raise DeadlineError when it passed before all documents were scored, ScoreError when a
    score is not finite.

        RerankCompressor(reranker=load_reranker(), top_n=3).compress_documents(documents, "who signed the treaty")
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
        """Return the documents to keep, best first; for none, none. Raises DeadlineError, ScoreError."""
        if not documents:
            return []
        return self._kept(
            documents,
            WholeTexts(self.reranker).score(
                query, _contents(documents), deadline=deadline_after(self.timeout_s)
            ),
        )

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 LangChain's signature
    ) -> list[Document]:
        """Return the same as ``compress_documents`` without blocking the event loop; cancelling it frees the work."""
        if not documents:
            return []
        return self._kept(
            documents,
            await WholeTexts(self.reranker).ascore(
                query, _contents(documents), deadline=deadline_after(self.timeout_s)
            ),
        )

    def _kept(self, documents: Sequence[Document], scores: Scores) -> list[Document]:
        kept = best_first(scores, len(documents), self.top_n, self.min_score)
        return [
            documents[i].model_copy(
                update={"metadata": {**documents[i].metadata, "relevance_score": probability}}
            )
            for i, probability in kept
        ]


def _contents(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
