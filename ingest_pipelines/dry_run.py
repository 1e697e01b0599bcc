"""Estimates an ingest before it runs: nothing is written to Elasticsearch, and nothing is sent to a service.

What is counted is counted exactly: the documents are read and cut as a run does it. Size and time are
estimates (``SIZE_ERROR``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker

from .mapping import IndexRecipe, recorded_recipe
from .patience import Patience
from .reading.objects import documents_of
from .rejects import Reject
from .seen_ids import SeenIds
from .stages import InFlight, IngestBatch, cut, ingest_batches, without_unchanged
from .vector_options import IndexOptions, named_options, options_by_size

_BATCH_DOCUMENTS, _BATCH_CHARACTERS = 100, 200_000

_MEASURED_S = 1.0
"""How long the embedder of this machine is measured, in seconds."""

_MEASURED_TEXTS = 32
"""Passages of one call while it is measured: enough to keep every core of a small machine busy."""

_TEXT_FACTOR = 2.35
"""Bytes on disk for each byte of text: it is stored whole and as passages, and both are indexed. This figure
and the next two were fitted on English texts of 150 and 2,600 bytes, on Elasticsearch 9.5 without a merge."""

_METADATA_FACTOR = 2.0
"""Bytes on disk for each byte of the metadata's JSON: 0.5 where values repeat, 2.7 where none does."""

_PASSAGE_BYTES = 100
"""Bytes on disk for each passage besides its vector and its text: offsets, and that it is nested."""

_DOCUMENT_BYTES = 155
"""Bytes on disk for each document besides its text: id, hash and time."""

SIZE_ERROR = 0.25
"""The size may be so far off: text in other languages is compressed more or less. Metadata may be further
off."""


def _vector_bytes(kind: str, dims: int) -> float:
    """Return the bytes on disk for one vector: the float32 numbers, and what ``kind`` adds to them."""
    graph = 0 if kind == "flat" else 60  # a guess between small segments, which have none, and large ones
    quantised = {"int8_hnsw": dims + 30, "bbq_hnsw": dims / 8 + 18}.get(kind, 0)
    return 4 * dims + graph + quantised


@dataclass(frozen=True, slots=True)
class PlannedEmbedder:
    """What is known of an embedder before it is asked.

    ``name``: the name that an index records, None if the service has to tell it. ``dims``: of its vectors.
    ``room``: how many tokens of a passage it reads, with ``prefix``, which is put before each passage.
    ``tokenizer``: see ``IndexRecipe``. ``local``: the embedder itself if it runs on this machine, so that it
    can be measured.
    """

    name: str | None
    dims: int | None
    room: int | None
    tokenizer: str | None = None
    local: Embedder | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an ingest would do.

    ``documents``: how many would be embedded and indexed, with ``passages`` of ``tokens`` in all, as the
    tokenizer counts them that cuts them; a service counts a few more for each text. ``unchanged``: how many
    the index holds already. ``failed``: how many cannot be indexed, as far as reading shows it.
    ``megabytes``: of the index, of what would be added, in millions of bytes, without replicas.
    ``minutes``: of the run. ``price``: of the tokens, in the currency of the price that was given. None for
    what cannot be known; ``notes`` say why.
    """

    index: str
    documents: int = 0
    unchanged: int = 0
    duplicates: int = 0
    failed: int = 0
    passages: int = 0
    tokens: int = 0
    megabytes: float | None = None
    minutes: float | None = None
    price: float | None = None
    rejects: tuple[Reject, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as the JSON object that ``es-rerank ingest --dry-run --json`` prints."""
        counts = ("index", "documents", "unchanged", "duplicates", "failed", "passages", "tokens")
        return {
            "dry_run": True,
            **{name: getattr(self, name) for name in counts},
            "megabytes": None if self.megabytes is None else round(self.megabytes, 2),
            "minutes": None if self.minutes is None else round(self.minutes, 2),
            "price": None if self.price is None else round(self.price, 6),
            "rejects": [{"id": each.id, "reason": each.reason} for each in self.rejects],
            "notes": list(self.notes),
        }


MOST_REJECTS = 100
"""Most rejects that an estimate names; ``failed`` counts all."""


@dataclass(slots=True)
class _Sum:
    """What is counted so far. ``bytes`` (of titles and texts), ``metadata`` (as JSON) and ``passages``:
    without documents that replace an earlier one.
    """

    bytes: int = 0
    metadata: int = 0
    passages: int = 0
    measured_tokens: int = 0
    measured_s: float = 0.0
    calls: int = 0
    rejects: list[Reject] = field(default_factory=list)


def current_recipe(client: Elasticsearch, index: str) -> tuple[str, IndexRecipe] | None:
    """Return the concrete index that ``index`` names, and how it was made; None if it does not exist.

    Raises IndexMismatchError when es-rerank did not make it, or the name is one of several indices.
    """
    try:
        states = Patience().call(lambda: client.indices.get(index=index)).body
    except NotFoundError:
        return None
    if len(states) != 1:
        raise IndexMismatchError(
            f"{index} is an alias of several indices ({', '.join(sorted(states))}); ingest into one of them",
            index=index,
        )
    ((name, state),) = states.items()
    recipe = recorded_recipe(state["mappings"].get("_meta", {}))
    if recipe is None:
        raise IndexMismatchError(
            f"{index} was not made by es-rerank ingest; choose another name", index=index
        )
    return name, recipe


class DryRun:
    """Reads and cuts documents as an ingest would, and counts them.

    ``price``: of a million tokens. ``tokens_per_minute``: how fast a service takes them. ``index_options``:
    see ``Ingest``.
    """

    def __init__(
        self,
        client: Elasticsearch,
        embedder: PlannedEmbedder,
        *,
        chunker: Chunker,
        index_options: IndexOptions | None = None,
        price: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._client, self._embedder, self._chunker = client, embedder, chunker
        self._options, self._price, self._rate = index_options, price, tokens_per_minute
        self._before = chunker.count_before(embedder.prefix)
        self._room = None if embedder.room is None else max(embedder.room - self._before, 1)

    def run(self, index: str, documents: Iterable[Any], *, rebuild: bool = False) -> Estimate:
        """Return what an ingest of ``documents`` into ``index`` would do.

        Raises IndexMismatchError when the index does not fit, SourceError when a source is damaged.
        """
        current = current_recipe(self._client, index)
        recipe, notes = self._recipe(index, current, rebuild=rebuild)
        version = current[0] if current is not None and not rebuild else None
        so_far, sums = Estimate(index), _Sum()
        with SeenIds() as seen:
            for batch in self._batches(documents, recipe, version, seen):
                so_far = self._counted(batch, so_far, sums)
        dims = self._embedder.dims or recipe.dims
        megabytes = self._megabytes(so_far, sums, dims) if dims else None
        if megabytes is None:
            notes.append(
                "megabytes: the dimensions of the service's vectors are not known before it is asked; state "
                "them by ?dims="
            )
        minutes, why = self._minutes(so_far, sums)
        notes += [why] if why else []
        price = None if self._price is None else so_far.tokens / 1e6 * self._price
        if price is None and self._embedder.local is None:
            notes.append("price: give the price of a million tokens by --price")
        return replace(
            so_far,
            megabytes=megabytes,
            minutes=minutes,
            price=price,
            rejects=tuple(sums.rejects),
            notes=tuple(notes),
        )

    def _recipe(
        self, index: str, current: tuple[str, IndexRecipe] | None, *, rebuild: bool
    ) -> tuple[IndexRecipe, list[str]]:
        """Return the recipe of the run as far as it is known, and what is taken for granted."""
        planned = self._embedder
        recorded = current[1] if current is not None else None
        known = recorded if recorded is not None and not rebuild else None
        recipe = IndexRecipe(
            planned.name or (known.embedder if known else ""),
            planned.dims or (known.dims if known else 0),
            self._chunker.size,
            self._chunker.overlap,
            tokenizer=planned.tokenizer,
        )
        if known is None:
            return recipe, []
        if recipe != known:
            raise IndexMismatchError(
                f"{index} was made with {known}; this run uses {recipe}. Use the same settings, or --rebuild "
                "to make a new version of the index and switch to it",
                index=index,
            )
        if planned.name is None:
            return recipe, [
                f"it is taken for granted that the service has the index's model {known.embedder}"
            ]
        return recipe, []

    def _batches(
        self, documents: Iterable[Any], recipe: IndexRecipe, version: str | None, seen: SeenIds
    ) -> Iterator[IngestBatch]:
        patience = Patience()
        for batch in ingest_batches(
            documents_of(documents), recipe, documents=_BATCH_DOCUMENTS, characters=_BATCH_CHARACTERS
        ):
            before = seen.among(batch.hashes)
            seen.add(batch.hashes)
            repeated = {key: batch.documents.pop(key) for key in list(batch.documents) if key in before}
            if version is not None:
                without_unchanged(batch, self._client, [version], patience, (), InFlight())
            for key, document in repeated.items():
                if before[key] == batch.hashes[key]:
                    batch.duplicates += 1  # the run finds it in the index, unchanged
                else:
                    batch.documents[key] = document
                    batch.again.add(key)
            yield cut(batch, self._chunker, self._room)

    def _counted(self, batch: IngestBatch, so_far: Estimate, sums: _Sum) -> Estimate:
        # Without their records, of which each may have 64 MB.
        named = batch.rejects[: MOST_REJECTS - len(sums.rejects)]
        sums.rejects += [reject._replace(document=None) for reject in named]
        for key, document in batch.documents.items():
            if key not in batch.again:
                sums.bytes += _bytes_of(document)
                sums.metadata += len(json.dumps(document.metadata, ensure_ascii=False).encode())
                sums.passages += len(batch.cut[key].passages)
        texts = [text for document in batch.cut.values() for text in document.embedded()]
        tokens = [self._before + self._chunker.count(text) for text in texts]
        self._measure(texts, tokens, sums)
        return replace(
            so_far,
            documents=so_far.documents + len(batch.documents) - len(batch.again),
            unchanged=so_far.unchanged + batch.skipped,
            duplicates=so_far.duplicates + batch.duplicates + len(batch.again),
            failed=so_far.failed + len(batch.rejects),
            passages=so_far.passages + len(texts),
            tokens=so_far.tokens + sum(tokens),
        )

    def _measure(self, texts: list[str], tokens: list[int], sums: _Sum) -> None:
        """Embed some of the passages here, until a second has passed."""
        local = self._embedder.local
        if local is None:
            return
        for start in range(0, len(texts), _MEASURED_TEXTS):
            if sums.measured_s >= _MEASURED_S:
                return
            some = slice(start, start + _MEASURED_TEXTS)
            began = time.monotonic()
            local.embed(texts[some])
            if sums.calls == 1:  # the first call is slower than the others
                sums.measured_s, sums.measured_tokens = 0.0, 0
            sums.measured_s += time.monotonic() - began
            sums.measured_tokens += sum(tokens[some])
            sums.calls += 1

    def _minutes(self, so_far: Estimate, sums: _Sum) -> tuple[float | None, str]:
        if self._rate is not None:
            return so_far.tokens / self._rate, ""
        if self._embedder.local is None:
            return None, "minutes: nothing is sent to the service; state its rate by --tokens-per-minute"
        if not sums.measured_tokens:
            return None, "minutes: there is no passage to measure the embedder with"
        return so_far.tokens / (sums.measured_tokens / sums.measured_s) / 60, ""

    def _megabytes(self, so_far: Estimate, sums: _Sum, dims: int) -> float:
        options = (
            options_by_size(sums.passages, dims)
            if self._options in (None, "auto")
            else named_options(self._options, dims)
        )
        each = _vector_bytes(options.type, dims) + _PASSAGE_BYTES
        text = (
            sums.bytes * _TEXT_FACTOR + sums.metadata * _METADATA_FACTOR + so_far.documents * _DOCUMENT_BYTES
        )
        return (sums.passages * each + text) / 1e6


def _bytes_of(document: Document) -> int:
    return len(document.title.encode("utf-8", "replace")) + len(document.text.encode("utf-8", "replace"))
