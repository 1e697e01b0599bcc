"""Counts what became of the documents of one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from es_rerank.text.scripts import other_scripts

from .flow import Flow
from .rejects import Reject, rejected
from .stages import InFlight, IngestBatch, Misfits

_CONFLICTS = ("document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception")
"""Types of errors of a document whose fields do not fit the mapping. Their reason names field and value."""


@dataclass(slots=True)
class Tally:
    """The counts of a batch, as in ``IngestReport``, and its rejects. It can be pickled, and is small."""

    documents: int = 0
    passages: int = 0
    skipped: int = 0
    duplicates: int = 0
    titles_cut: int = 0
    passages_cut: int = 0
    rejects: list[Reject] = field(default_factory=list)
    unfit: list[Misfits] = field(default_factory=list)
    other_scripts: Counter[str] = field(default_factory=Counter)


class Running(Protocol):
    """A run at work: the counts of its batches, each when it was written. To be used in a ``with`` block."""

    @property
    def cut_short(self) -> bool:
        """Whether documents were left out because ``finish`` was called."""

    def finish(self) -> None:
        """Begin nothing more, and end when what was begun is written. Any thread may call it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Tally]: ...


class CountedFlow:
    """The run of a ``Flow`` in this process. ``known``: see ``tally_of``."""

    def __init__(self, flow: Flow[IngestBatch], in_flight: InFlight, known: Collection[str] | None) -> None:
        self._flow, self._in_flight, self._known = flow, in_flight, known

    @property
    def cut_short(self) -> bool:
        """Whether documents were left out because ``finish`` was called."""
        return self._flow.cut_short

    def finish(self) -> None:
        """Embed nothing more; write what is embedded."""
        self._flow.finish()

    def __enter__(self) -> Self:
        self._flow.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._flow.__exit__(*error)

    def __iter__(self) -> Iterator[Tally]:
        for batch in self._flow:
            tally = tally_of(batch, self._known)
            self._in_flight.leave(batch.documents)
            yield tally


def tally_of(batch: IngestBatch, known: Collection[str] | None) -> Tally:
    """Return the counts of a batch that was written. ``known``: the scripts that the embedder was trained on,
    None if it does not say that.
    """
    tally = Tally(skipped=batch.skipped, duplicates=batch.duplicates, rejects=batch.rejects)
    written: list[str] = []
    for identifier, info in batch.answers.items():
        if "error" in info:
            tally.rejects.append(rejected(batch.documents[identifier], reason_of(info)))
            continue
        written.append(identifier)
        if identifier in batch.unfit:
            tally.unfit.append(batch.unfit[identifier])
        # If the earlier document with this id failed, this one is new in the index and not a duplicate.
        replaced = identifier in batch.again and info.get("result") == "updated"
        tally.duplicates += replaced
        tally.documents += not replaced
        cut = batch.cut[identifier]
        tally.passages += len(cut.passages)
        tally.titles_cut += cut.title_cut
        tally.passages_cut += cut.passages_cut
    if known:
        tally.other_scripts = other_scripts(
            (batch.documents[identifier].text for identifier in written), known
        )
    return tally


def reason_of(info: dict[str, Any]) -> str:
    """Return why a document was refused, with the cause that Elasticsearch reports."""
    status, error = info["status"], info["error"]
    if not isinstance(error, dict):
        return str(error) if status is None else f"{status}: {error}"
    cause = error.get("caused_by") or {}
    because = f" ({cause['reason']})" if cause.get("reason") else ""
    conflict = error.get("type") in _CONFLICTS
    remedy = "; correct the value, or index with --rebuild, which maps all fields anew" if conflict else ""
    return f"{status} {error.get('type')}: {error.get('reason')}{because}{remedy}"
