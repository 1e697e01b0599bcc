"""The stages of an ingest are functions of a batch, which may be pickled between any two of them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from ingests import chunker

from es_rerank.collection import Document
from es_rerank.errors import ModelError
from es_rerank.models import Vectors
from es_rerank.testing import HashEmbedder
from ingest_pipelines.embedding import embedded_batches
from ingest_pipelines.mapping import IndexRecipe
from ingest_pipelines.metadata import MetadataFields
from ingest_pipelines.rejects import Reject
from ingest_pipelines.stages import EMBEDDED_AT_ONCE, IngestBatch, as_sources, cut, embed, ingest_batches
from ingest_pipelines.vectors import as_numbers

DOCUMENTS: list[Document | Reject] = [
    Document("a", "Westphalia", "The peace ended thirty years of war. It was signed in Osnabrück.", {"y": 1}),
    Document("empty", "", "", {}),
    Reject("no JSON", "{", file="a.jsonl", line=3),
    Document("b", "", "word " * 50, {}),
]
RECIPE = IndexRecipe("hash-64", 64, 8, 2)


def test_a_batch_can_be_pickled_between_any_two_stages() -> None:
    embedder, last = HashEmbedder(), list[IngestBatch]()
    for pickled in (False, True):

        def handed(batch: IngestBatch, pickled: bool = pickled) -> IngestBatch:
            return pickle.loads(pickle.dumps(batch)) if pickled else batch

        (batch,) = ingest_batches(DOCUMENTS, RECIPE, documents=100, characters=1_000)
        batch = handed(cut(handed(batch), chunker(), None))
        embedded = embed(batch, embedder)
        assert embedded is not None
        last.append(handed(as_sources(handed(embedded), as_numbers, "now")))
    assert last[0] == last[1]
    assert last[0].sources["empty"]["passages"] == []
    assert [len(passage["vector"]) for passage in last[0].sources["a"]["passages"]] == [64, 64]


def test_vectors_of_many_calls_are_in_the_order_of_the_passages() -> None:
    documents = [Document(str(number), "", f"text {number}", {}) for number in range(EMBEDDED_AT_ONCE + 9)]
    (batch,) = embedded_batches(documents, HashEmbedder(), chunker(), documents=10_000)
    assert batch.vectors is not None
    assert np.array_equal(batch.vectors, HashEmbedder().embed([document.text for document in documents]))


def test_a_batch_of_one_call_is_finished_and_a_larger_one_is_given_up() -> None:
    for count, finished in ((EMBEDDED_AT_ONCE, True), (EMBEDDED_AT_ONCE + 1, False)):
        documents = [Document(str(number), "", "text", {}) for number in range(count)]
        (batch,) = list(ingest_batches(documents, RECIPE, documents=10_000, characters=10**9))[:1]
        done = embed(cut(batch, chunker(), None), HashEmbedder(), lambda: True)
        assert (done is not None) is finished


class Scaled(HashEmbedder):
    """Gives the vectors of some places another length, or leaves some out."""

    def __init__(self, factors: dict[int, float], most: int | None = None) -> None:
        super().__init__(64)
        self._factors, self._most = factors, most

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        vectors = super().embed(texts, purpose=purpose)
        for place, factor in self._factors.items():
            vectors[place] *= factor
        return vectors[: self._most]


def four() -> IngestBatch:
    documents = [Document(str(number), "", "text", {}) for number in range(4)]
    (batch,) = ingest_batches(documents, RECIPE, documents=100, characters=1_000)
    return cut(batch, chunker(), None)


@pytest.mark.parametrize("most", [1, 3])
def test_an_embedder_must_give_a_vector_for_each_text(most: int) -> None:
    with pytest.raises(ModelError, match=rf"hash-64 returned .* \({most}, 64\) for 4 texts, .* \(4, 64\)"):
        embed(four(), Scaled({}, most))


def test_a_vector_that_cannot_be_compared_is_a_reject_of_its_document() -> None:
    batch = embed(four(), Scaled({0: math.nan, 2: 0.0, 3: 2.0}))
    assert batch is not None
    assert batch.vectors is not None
    assert (list(batch.cut), len(batch.vectors)) == (["1"], 1)
    assert [batch.answers[name]["error"] for name in ("0", "2", "3")] == [
        f"the embedder gives passage 1 of 1 a vector of the length {length}, and not 1; use another embedder"
        for length in ("nan", "0", "2")
    ]


LONG = "x" * 400


@pytest.mark.parametrize(
    "item",
    [
        Document("{}", "", LONG, {}),
        Document("{}", LONG, "x", {}),
        Document("{}", "", "x", {"a": [{"b": LONG}]}),
        Document("{}", "", "x", {LONG: 1}),
        Document("{}", "", "x", {"n": [1.5] * 60}),
        Reject("why", {"a": {"b": LONG}}),
        Reject("why", LONG),
        Document(5, "", "x", {"a": LONG}),  # type: ignore[arg-type]
    ],
)
def test_all_that_an_item_holds_counts_in_the_size_of_a_batch(item: Document | Reject) -> None:
    items = [
        item._replace(id=str(number)) if isinstance(item, Document) and item.id == "{}" else item
        for number in range(6)
    ]
    sizes = [
        (len(batch.documents) + len(batch.rejects), batch.characters() >= 800)
        for batch in ingest_batches(items, RECIPE, documents=100, characters=800)
    ]
    assert sizes == [(2, True)] * 3 + [(0, False)]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document("\ud800", "", "x", {}), "its id cannot be written in UTF-8"),
        (Document("", "", "x", {}), "its id has 0 bytes"),
        (Document(1, "", "x", {}), 'its "id" must be a str, found int'),  # type: ignore[arg-type]
        (Document("1", "", None, {}), 'its "text" must be a str'),  # type: ignore[arg-type]
        (Document("1", None, "x", {}), 'its "title" must be a str'),  # type: ignore[arg-type]
        (Document("1", "", "x", None), 'its "metadata" must be a dict'),  # type: ignore[arg-type]
        (Document("1", "", "x", {}, "html"), 'its "format" must be text or markdown, found'),  # type: ignore[arg-type]
        (Document("1", "x" * 10_000_001, "x", {}), "its title has 10000001 characters, at most 10000000"),
        (Document("1", "", "\ud800", {}), "surrogates not allowed"),
        (Document("1", "", "x", {"n": 10**5000}), "Exceeds the limit"),
    ],
)
def test_a_document_that_cannot_be_stored_is_a_reject(document: Document, reason: str) -> None:
    (batch,) = ingest_batches([document, DOCUMENTS[0]], RECIPE, documents=100, characters=10**8)
    assert list(batch.documents) == ["a"]
    assert reason in batch.rejects[0].reason


def test_nothing_is_said_of_a_field_whose_only_value_is_empty() -> None:
    fields = MetadataFields({})
    metadata = {"note": "", "many": ["", {"of": ""}], "n": 1}
    fields.learn([metadata])
    assert fields.unfit(metadata) == ([], [])


def test_a_number_that_json_does_not_have_becomes_its_name() -> None:
    documents = [
        Document("1", "", "x", {"n": [1e999, {"m": float("nan")}], "k": 1.5}),
        Document("1", "", "x", {"n": ["inf", {"m": "nan"}], "k": 1.5}),
    ]
    first, second = (next(ingest_batches([item], RECIPE, documents=9, characters=800)) for item in documents)
    assert (first.rejects, first.documents["1"].metadata) == ([], documents[1].metadata)
    assert first.hashes == second.hashes
