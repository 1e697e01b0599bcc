"""Chooses how Elasticsearch indexes the vectors, by how many passages an index has, and says why.

A mapping's ``index_options`` can change in one direction while the index is in use: from flat to a graph, and
from a graph to one of smaller vectors. So an index begins with what fits a small one, and an ingest changes
it when there are more passages. Segments that are there keep what they were written with until they are
merged; Elasticsearch searches both. The figures are those of ``es-rerank bench vectors`` in
docs/documents.md. This module does not call Elasticsearch (see ``vector_growth``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from es_rerank.errors import SettingsError

IndexOptions = Literal["auto", "flat", "hnsw", "int8_hnsw", "bbq_hnsw"]

VECTORS = "vectors"
"""Key of ``_meta`` that holds the options and the reason."""

_OVERSAMPLE = {"int8_hnsw": 2.0, "bbq_hnsw": 5.0}
"""How many times ``k`` candidates are compared again with the float vectors: as many as take no longer than a
search of float vectors (recall@10 0.960 and 0.951 of 100,000 passages, 0.963 with float vectors)."""

_BBQ_DIMS = 64
"""Fewest dimensions that Elasticsearch takes for bbq."""

FLAT_UNTIL = 10_000
"""Most passages of an index without a graph: every vector is compared, so nothing is missed."""

INT8_UNTIL = 1_000_000
"""Most passages of an index with vectors of one byte for each dimension."""


@dataclass(frozen=True, slots=True)
class VectorOptions:
    """``index_options`` of the vectors, and why they were chosen.

    ``chosen``: "auto" if by the number of passages, so that an ingest may change them when there are more;
    "given" if somebody named them.
    """

    index_options: Mapping[str, Any]
    chosen: Literal["auto", "given"]
    why: str

    @property
    def type(self) -> str:
        """The type, such as ``int8_hnsw``."""
        return str(self.index_options["type"])

    def without_oversampling(self) -> VectorOptions:
        """Return the options for an Elasticsearch that does not take ``rescore_vector`` in a mapping."""
        kept = {key: value for key, value in self.index_options.items() if key != "rescore_vector"}
        return replace(self, index_options=kept)

    def as_meta(self) -> dict[str, Any]:
        """Return what the mapping's ``_meta`` records."""
        return {"index_options": dict(self.index_options), "chosen": self.chosen, "why": self.why}


class Recorded(NamedTuple):
    """The type of ``index_options`` that a mapping's ``_meta`` records, and how it was chosen."""

    type: str
    chosen: str


def recorded_options(meta: Mapping[str, Any]) -> Recorded | None:
    """Return what a mapping's ``_meta`` records of the options; None for no record, or one of another
    shape.
    """
    record = meta.get(VECTORS)
    options = record.get("index_options") if isinstance(record, Mapping) else None
    kind = options.get("type") if isinstance(options, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(kind, str):
        return None
    return Recorded(kind, str(record.get("chosen")))


EXACT_FLOAT = VectorOptions(
    {"type": "hnsw"}, "given", "float vectors in a graph, as in earlier versions of es-rerank"
)
"""What an index had before there was a choice. The commands that measure quality keep it."""


def named_options(name: str, dims: int, *, oversamples: bool = True) -> VectorOptions:
    """Return the options that somebody named.

    ``oversamples``: whether Elasticsearch takes ``rescore_vector`` in a mapping. Raises SettingsError for an
    unknown name, and for one that does not go with ``dims`` dimensions.
    """
    if name not in get_args(IndexOptions) or name == "auto":
        raise SettingsError(f"{name!r} is none of the index options {', '.join(get_args(IndexOptions))}")
    if name.startswith("bbq") and dims < _BBQ_DIMS:
        raise SettingsError(
            f"{name} needs vectors of at least {_BBQ_DIMS} dimensions, and these have {dims}; "
            "choose int8_hnsw"
        )
    return VectorOptions(_options(name, oversamples=oversamples), "given", "named by the caller")


def options_by_size(passages: int, dims: int, *, oversamples: bool = True) -> VectorOptions:
    """Return the options for an index of so many passages of ``dims`` dimensions."""
    if passages <= FLAT_UNTIL:
        why = f"at most {FLAT_UNTIL:,} passages: every vector is compared, and none is missed"
        return VectorOptions(_options("flat", oversamples=oversamples), "auto", why)
    if passages <= INT8_UNTIL or dims < _BBQ_DIMS or not oversamples:
        why = f"more than {FLAT_UNTIL:,} passages: a graph, in less than a third of float32's memory"
        return VectorOptions(_options("int8_hnsw", oversamples=oversamples), "auto", why)
    why = (
        f"more than {INT8_UNTIL:,} passages: a graph, in a fifteenth of float32's memory; the "
        "best are compared again with the float vectors"
    )
    return VectorOptions(_options("bbq_hnsw", oversamples=oversamples), "auto", why)


def most_passages(kind: str) -> int | None:
    """Return how many passages options of this type are chosen for, None for any number."""
    return {"flat": FLAT_UNTIL, "int8_hnsw": INT8_UNTIL}.get(kind)


def _options(name: str, *, oversamples: bool) -> dict[str, Any]:
    oversample = _OVERSAMPLE.get(name) if oversamples else None
    return {"type": name} | ({"rescore_vector": {"oversample": oversample}} if oversample else {})
