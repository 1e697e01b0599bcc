"""The texts that the rerankers of one search read: fetched once, cut into chunks once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...types import Candidate, DocumentKey, Passage
from ..grammar.tree import Retriever, TextSimilarityReranker, nodes_of
from ..planning.documents import candidates_of
from ..planning.index_schema import IndexSchema
from ..planning.text_source import TextSource, text_source_of, texts_body, with_texts
from .commands import ChunkTexts, EsRequest, Steps

MakeRequest = Callable[[str, dict[str, Any]], EsRequest]
"""A function from the stage (see ``EsRequest``) and the body of a search to its request."""


@dataclass(slots=True)
class WindowTexts:
    """The texts of one search.

    ``sources``: the texts that each reranker reads, by Python's ``id`` of its node. ``texts`` and ``chunks``:
    what was fetched or cut already, by (source, text of the query) and document.
    """

    sources: dict[int, TextSource] = field(default_factory=dict)
    texts: dict[tuple[TextSource, str], dict[DocumentKey, Candidate]] = field(default_factory=dict)
    chunks: dict[tuple[TextSource, str], dict[DocumentKey, tuple[Passage, ...]]] = field(default_factory=dict)

    def plan(self, tree: Retriever, schema: IndexSchema) -> None:
        """Decide what each reranker of the tree reads. Raises what ``text_source_of`` raises."""
        for node in nodes_of(tree):
            if isinstance(node, TextSimilarityReranker):
                self.sources[id(node)] = text_source_of(node, schema)

    def read(
        self, window: Sequence[Candidate], node: TextSimilarityReranker, ask: MakeRequest
    ) -> Steps[list[Candidate]]:
        """Return the window with its texts, in the same order. Texts that are stored already are not fetched
        again. ``ask`` returns the request of one search.

        A document that was deleted after the first stage is left out.
        """
        if not window:
            return []
        source, text = self.sources[id(node)], node.inference_text
        kept = self.texts.setdefault((source, text if source.nearest else ""), {})
        missing = [candidate for candidate in window if candidate.key not in kept]
        if missing:
            answer = yield ask("passages", texts_body(source, text, missing))
            self.keep(source, text, missing, candidates_of(answer["hits"]["hits"]))
        pairs = [(candidate, kept.get(candidate.key)) for candidate in window]
        return [
            replace(
                candidate, context=read.context, passages=read.passages, whole=read.whole, capped=read.capped
            )
            for candidate, read in pairs
            if read is not None
        ]

    def keep(
        self, source: TextSource, text: str, wanted: Sequence[Candidate], hits: Sequence[Candidate]
    ) -> None:
        """Store the texts of the ``wanted`` documents that are in ``hits``. ``text`` is the query's text."""
        kept = self.texts.setdefault((source, text if source.nearest else ""), {})
        hits_by_key = {hit.key: hit.hit for hit in hits}
        kept.update(
            {
                candidate.key: with_texts(candidate, hits_by_key[candidate.key], source)
                for candidate in wanted
                if candidate.key in hits_by_key
            }
        )

    def chunked(self, node: TextSimilarityReranker, candidates: list[Candidate]) -> Steps[list[Candidate]]:
        """Return the candidates with the nearest chunks of their texts as passages.

        Without ``chunk_rescorer`` the candidates are returned unchanged. Each text is cut only once for a
        query.
        """
        source, text = self.sources[id(node)], node.inference_text
        if source.chunking is None:
            return candidates
        kept = self.chunks.setdefault((source, text), {})
        missing = [candidate for candidate in candidates if candidate.passages and candidate.key not in kept]
        if missing:
            chunks_of_texts = yield ChunkTexts(
                text,
                [candidate.passages[0].text for candidate in missing],
                source.chunking,
                source.nearest or 1,
            )
            kept.update(
                (candidate.key, tuple(chunks))
                for candidate, chunks in zip(missing, chunks_of_texts, strict=True)
            )
        return [replace(candidate, passages=kept.get(candidate.key, ())) for candidate in candidates]
