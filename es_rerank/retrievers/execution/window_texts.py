"""The texts that the rerankers of one search read: fetched once, cut into chunks once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elasticsearch import ApiError

from ...types import Candidate, DocumentKey, Passage
from ..grammar.tree import Retriever, TextSimilarityReranker, nodes_of
from ..planning.documents import candidates_of
from ..planning.index_schema import IndexSchema
from ..planning.text_source import TextSource, fields_lacking, text_source_of, texts_body, with_texts
from ..planning.values_apart import Apart, apart, apart_body, why_unread, with_apart
from .commands import ChunkTexts, EsRequest, MakeRequest, Steps, index_path

Read = tuple[TextSource, str]
"""What a reranker reads: its source, and the text of the query where that decides which passages are read."""

_LONGEST_PATH = 3_000
"""Most characters of index names in one path. Elasticsearch's default for a whole request line is 4,096."""

_PASSING = 429
"""A refusal that may pass, and every 5xx, are errors of the search. Others leave the mapping unknown."""


@dataclass(slots=True)
class WindowTexts:
    """The texts of one search.

    ``sources``: the texts that each reranker reads, by Python's ``id`` of its node. ``texts`` and ``chunks``:
    what was fetched or cut already, by (source, text of the query) and document. ``lacking``: hits that lack
    a text, until the values apart from ``_source`` are read. ``unread``: why a text could not be read.
    ``indices``: what is known of the indices of such hits.
    """

    sources: dict[int, TextSource] = field(default_factory=dict)
    texts: dict[Read, dict[DocumentKey, Candidate]] = field(default_factory=dict)
    chunks: dict[Read, dict[DocumentKey, tuple[Passage, ...]]] = field(default_factory=dict)
    lacking: dict[Read, dict[DocumentKey, dict[str, Any]]] = field(default_factory=dict)
    unread: dict[Read, dict[DocumentKey, str]] = field(default_factory=dict)
    indices: dict[str, dict[str, Any]] = field(default_factory=dict)

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

        A text that ``_source`` does not have is read where the index keeps it apart. A document that was
        deleted after the first stage is left out.
        """
        if not window:
            return []
        source, text = self.sources[id(node)], node.inference_text
        kept = self.texts.setdefault(self._read(source, text), {})
        missing = [candidate for candidate in window if candidate.key not in kept]
        if missing:
            answer = yield ask("passages", texts_body(source, text, missing))
            self.keep(source, text, missing, candidates_of(answer["hits"]["hits"]))
        if self.lacking.get(self._read(source, text)):
            yield from self._read_apart(source, text, window, ask)
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
        read = self._read(source, text)
        kept, lacking = self.texts.setdefault(read, {}), self.lacking.setdefault(read, {})
        hits_by_key = {hit.key: hit.hit for hit in hits}
        for candidate in wanted:
            if (hit := hits_by_key.get(candidate.key)) is not None:
                kept[candidate.key] = with_texts(candidate, hit, source)
                if fields_lacking(kept[candidate.key], hit, source):
                    lacking[candidate.key] = hit

    @staticmethod
    def _read(source: TextSource, text: str) -> Read:
        return source, text if source.nearest else ""

    def _read_apart(
        self, source: TextSource, text: str, window: Sequence[Candidate], ask: MakeRequest
    ) -> Steps[None]:
        """Read the values that ``_source`` does not have, of the documents of a window that lack a text.

        Asks once for each way in which the indices keep the fields. A text that is still not there and that
        ``_source`` leaves out is noted in ``unread``.
        """
        read = self._read(source, text)
        kept, lacking = self.texts[read], self.lacking[read]
        documents = [candidate for candidate in window if candidate.key in lacking]
        yield from self._look(sorted({candidate.index for candidate in documents}))
        ways: dict[Apart, list[Candidate]] = {}
        for candidate in documents:
            names = fields_lacking(kept[candidate.key], lacking[candidate.key], source)
            way = apart(self.indices.get(candidate.index, {}), names, source)
            ways.setdefault(way, []).append(candidate)
        for way, candidates in ways.items():
            if way:
                answer = yield ask("passages", apart_body(way, source, text, candidates))
                for found in candidates_of(answer["hits"]["hits"]):
                    if found.key in lacking:
                        lacking[found.key] = with_apart(lacking[found.key], found.hit, source)
                        kept[found.key] = with_texts(kept[found.key], lacking[found.key], source)
        for candidate in documents:
            still = fields_lacking(kept[candidate.key], lacking.pop(candidate.key), source)
            why = why_unread(self.indices.get(candidate.index, {}), still) if still else None
            if why is not None:
                self.unread.setdefault(read, {})[candidate.key] = f"[{candidate.index}] {why}"

    def _look(self, names: Sequence[str]) -> Steps[None]:
        """Read the mappings of indices. Those elsewhere, and those that may not be read, are unknown."""
        parameters = {
            "filter_path": "*.mappings,*.settings.index.mapping.source",
            "ignore_unavailable": "true",
        }
        for piece in _pieces([name for name in names if name not in self.indices and ":" not in name]):
            try:
                self.indices |= yield EsRequest("mapping", "GET", index_path(piece), None, parameters)
            except ApiError as error:
                if error.status_code >= 500 or error.status_code == _PASSING:
                    raise

    def without_text(self, node: TextSimilarityReranker, candidates: Sequence[Candidate]) -> str | None:
        """Return what could not be read for a reranker, as one sentence; None if everything was read.

        A document that has no value in a field is read. One whose index does not keep the value is not.
        """
        unread = self.unread.get(self._read(self.sources[id(node)], node.inference_text), {})
        causes = {why: None for candidate in candidates if (why := unread.get(candidate.key)) is not None}
        because = f": index {'; index '.join(causes)}" if causes else ""
        if not any(candidate.has_text for candidate in candidates):
            return (
                f"none of the {len(candidates)} documents of the window has text in [{', '.join(node.field)}]"
                f"{because}; name a field that they have, or index them with [_source]"
            )
        count = sum(candidate.key in unread for candidate in candidates)
        return (
            f"the text of {count} of {len(candidates)} documents cannot be read{because}" if count else None
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


def _pieces(names: Sequence[str]) -> list[str]:
    """Return index names, joined by commas, in pieces that each fit into one path."""
    pieces: list[str] = []
    for name in names:
        if pieces and len(pieces[-1]) + len(name) < _LONGEST_PATH:
            pieces[-1] += f",{name}"
        else:
            pieces.append(name)
    return pieces
