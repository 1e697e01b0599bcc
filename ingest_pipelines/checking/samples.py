"""Passages drawn from an index: their texts for queries, and what the embedder makes of them now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from elasticsearch import Elasticsearch

from es_rerank.models import Embedder, room_of
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import TITLE_SHARE, cut_document
from es_rerank.types import FloatArray

from ..mapping import IndexRecipe
from ..patience import Patience

if TYPE_CHECKING:
    from tokenizers import Tokenizer

COMPARED = 20
"""Passages whose vectors are compared with the embedder's."""

_SEED = 20_260_101


class Sample(NamedTuple):
    """A passage of one document.

    ``id`` and ``title`` are the document's; ``place`` is the passage's among its passages. ``alone``: the
    passage is the title itself.
    """

    id: str
    place: int
    title: str
    heading: str
    text: str
    alone: bool


def sampled(client: Elasticsearch, version: str, number: int, patience: Patience) -> list[Sample]:
    """Return the first passage with a vector of ``number`` documents, which are drawn: always the same ones
    of an index that does not change.
    """
    shown = {"size": 1, "_source": [f"passages.{name}" for name in ("text", "heading", "end")]}
    with_vector = {"exists": {"field": "passages.vector"}}
    drawn = {
        "query": {"nested": {"path": "passages", "query": with_vector, "inner_hits": shown}},
        "random_score": {"seed": _SEED, "field": "_seq_no"},
        "boost_mode": "replace",
    }
    answer = patience.call(
        lambda: client.search(
            index=version,
            query={"function_score": drawn},
            size=number,
            source={"includes": ["title"]},
            track_total_hits=False,
            allow_partial_search_results=False,
        )
    )
    return [_sample(hit) for hit in answer["hits"]["hits"]]


def _sample(hit: dict[str, Any]) -> Sample:
    (inner,) = hit["inner_hits"]["passages"]["hits"]["hits"]
    passage, title = inner.get("_source", {}), str(hit.get("_source", {}).get("title") or "")
    text, heading = str(passage.get("text") or ""), str(passage.get("heading") or "")
    return Sample(hit["_id"], inner["_nested"]["offset"], title, heading, text, alone=passage.get("end") == 0)


def vectors_differ(
    samples: Sequence[Sample],
    stored: Sequence[FloatArray | None],
    embedder: Embedder,
    tokenizer: Tokenizer | None,
    recipe: IndexRecipe,
) -> float | None:
    """Return the largest 1 - cosine of a stored vector and one that the embedder makes now.

    ``stored``: the vector of each sample, None where it is not known. None if no passage can be compared.
    """
    texts, vectors = [], []
    for sample, vector in zip(samples, stored, strict=True):
        text = _embedded(sample, embedder, tokenizer, recipe)
        if text is not None and vector is not None and len(vector) == recipe.dims:
            texts.append(text)
            vectors.append(vector)
    if not texts:
        return None
    made = embedder.embed(texts, purpose="passage")
    return float(np.max(1 - np.einsum("ij,ij->i", made, np.stack(vectors))))


def _embedded(
    sample: Sample, embedder: Embedder, tokenizer: Tokenizer | None, recipe: IndexRecipe
) -> str | None:
    """Return the text that the ingest embedded for a passage, None if that is not known."""
    title, room = sample.title.strip(), room_of(embedder)
    if sample.alone or not title + sample.heading:
        return sample.text
    if room is not None:
        if tokenizer is None:
            return None
        chunker = Chunker(tokenizer, size=recipe.size, overlap=recipe.overlap)
        if sample.heading and not chunker.fits(
            f"{title}\n{sample.heading}\n", max(int(room * TITLE_SHARE), 1)
        ):
            return None  # how title and heading share the room depends on the whole document
        if not sample.heading:
            title = cut_document(title, "x", chunker, room).title
    return "\n".join(part for part in (title, sample.heading, sample.text) if part)
