"""First-stage windows in memory: which documents are searched, what is found, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_bi_encoder

from es_rerank.collection import Document
from es_rerank.errors import SourceError
from es_rerank.models.load import load_embedder
from es_rerank.research.training.calibration_kept import FoundQueries, KeptWindows
from es_rerank.research.training.calibration_windows import (
    CALIBRATION_WINDOW,
    FirstStage,
    FoundQuery,
    Searched,
    drawn_documents,
)
from es_rerank.research.training.recipe import LabelledCollection
from es_rerank.types import FirstStageKind, Scores

KINDS: tuple[FirstStageKind, ...] = ("dense", "bm25", "hybrid")
WORDS = ("river", "mountain", "forest", "desert", "island", "valley", "glacier", "meadow")
DOCUMENTS = [
    Document(f"d{n}", WORDS[n // 8] if n % 2 else "", f"the {WORDS[n % 8]} of {WORDS[n // 8]} number {n}", {})
    for n in range(64)
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    embedder = load_embedder(tiny_bi_encoder(tmp_path_factory.mktemp("models") / "tiny"))
    return Searched(DOCUMENTS, [embedder], KINDS)


def of_kind(found: FoundQuery | None) -> dict[str, list[str]]:
    """The texts of each window, best first, by the kind of first stage."""
    assert found is not None
    return {window.kind: [found.texts[place] for place in window.places] for window in found.windows}


def test_each_first_stage_has_its_own_window_and_each_text_is_there_once(searched: Searched) -> None:
    every = {document.id: 1 for document in DOCUMENTS}
    found = searched.found("q", "a glacier of the desert", every, pooled=False)
    assert found is not None
    assert [FirstStage(window.kind, window.embedder).key for window in found.windows] == [
        f"dense:{found.windows[0].embedder}",
        "bm25",
        f"hybrid:{found.windows[0].embedder}",
    ]
    assert len(set(found.texts)) == len(found.texts)
    for window in found.windows:
        assert len(window.places) == len(set(window.places)) <= CALIBRATION_WINDOW
        assert window.scores == sorted(window.scores, reverse=True)
        assert window.labels == [1] * len(window.places)
    texts = of_kind(found)
    assert set(texts["hybrid"]) <= set(texts["dense"]) | set(texts["bm25"])


def test_bm25_adds_up_title_and_text_and_finds_only_common_words(searched: Searched) -> None:
    texts = of_kind(searched.found("q", "glacier", {d.id: 1 for d in DOCUMENTS}, pooled=False))["bm25"]
    assert all("glacier" in text for text in texts)
    # Every second document of WORDS[6] has the word in its title too.
    assert texts[0].startswith("glacier\n")
    assert len(texts) == sum("glacier" in f"{d.title} {d.text}" for d in DOCUMENTS)


def test_hybrid_is_reciprocal_rank_fusion_of_both_lists(searched: Searched) -> None:
    texts = of_kind(searched.found("q", "a river", {d.id: 1 for d in DOCUMENTS}, pooled=False))
    sums: dict[str, float] = {}
    for kind in ("bm25", "dense"):
        for rank, text in enumerate(texts[kind], 1):
            sums[text] = sums.get(text, 0.0) + 1 / (60 + rank)
    best = sorted(sums.values(), reverse=True)[:CALIBRATION_WINDOW]
    assert [sums[text] for text in texts["hybrid"]] == pytest.approx(best, abs=1e-6)


def test_what_a_pool_does_not_judge_is_unknown_and_elsewhere_irrelevant(searched: Searched) -> None:
    for pooled, other in ((True, None), (False, 0)):
        found = searched.found("q", "glacier", {"d6": 1, "d14": 0}, pooled=pooled)
        assert found is not None
        labels = {
            found.texts[place]: label
            for window in found.windows
            for place, label in zip(window.places, window.labels, strict=True)
        }
        by_number = {int(text.rsplit(" ", 1)[-1]): label for text, label in labels.items()}
        assert (by_number.pop(6), by_number.pop(14)) == (1, 0)
        assert set(by_number.values()) == {other}


def test_a_query_without_a_relevant_hit_teaches_nothing(searched: Searched) -> None:
    assert searched.found("q", "glacier", {"elsewhere": 1}, pooled=False) is None


def collection(folder: Path) -> Path:
    (folder / "facts").mkdir(parents=True)
    lines = [json.dumps({"_id": d.id, "title": d.title, "text": d.text}) for d in DOCUMENTS]
    (folder / "facts" / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_judged_documents_are_searched_and_others_are_drawn_until_there_are_enough(tmp_path: Path) -> None:
    source = LabelledCollection(collection="facts", splits=("train",))
    judged = {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 1}}

    def ids(most: int, queries: tuple[str, ...], *, judged_only: bool = False) -> list[str]:
        own = source.model_copy(update={"judged_only": judged_only})
        documents, of = drawn_documents(own, collection_folder, judged, queries, most, 13)
        assert of == len(DOCUMENTS)
        return [document.id for document in documents]

    collection_folder = collection(tmp_path)
    assert ids(1, ("q1",)) == ["d1", "d2"]
    drawn = ids(20, ("q1", "q2"))
    assert len(drawn) == 20
    assert {"d1", "d2", "d3"} <= set(drawn)
    assert drawn == ids(20, ("q1", "q2"))
    assert len(ids(1_000, ("q1",))) == len(DOCUMENTS)
    assert ids(1_000, ("q1",), judged_only=True) == ["d1", "d2", "d3"]


class Lengths:
    """A reranker whose logit is the length of the passage. It counts its calls."""

    name, calibration, calls = "lengths", None, 0

    def score(self, query: str, passages: list[str]) -> Scores:
        self.calls += 1
        return Scores.of([float(len(passage)) for passage in passages])


def some_found(text: str = "a river", made_by: str = "one") -> FoundQueries:
    query = FoundQuery(id="q", text=text, texts=["a", "bcd"], windows=[])
    return FoundQueries(made_by={"what": made_by}, documents=2, of=2, drawn=1, found=[query, query])


def test_what_is_kept_is_not_made_again_unless_it_is_something_else(tmp_path: Path) -> None:
    kept, made = KeptWindows(tmp_path / "kept"), []

    def make(name: str) -> tuple[FoundQueries, bool]:
        def of() -> FoundQueries:
            made.append(name)
            return some_found(made_by=name)

        return kept.first_stages("facts", {"what": name}, of)

    assert [make(name)[1] for name in ("one", "one", "two")] == [False, True, False]
    assert made == ["one", "two"]


def test_logits_are_kept_for_each_reranker_and_for_the_same_pairs(tmp_path: Path) -> None:
    reranker, kept = Lengths(), KeptWindows(tmp_path / "kept")
    for identity, found, before in (
        ("a", some_found(), False),
        ("a", some_found(), True),
        ("b", some_found(), False),
        ("a", some_found(text="a mountain"), False),
        ("a", some_found(), True),
    ):
        calls = reranker.calls
        logits, was_kept = kept.logits("facts", found, reranker, identity)  # type: ignore[arg-type]
        assert was_kept is before
        assert (reranker.calls == calls) is before
        assert np.array_equal(np.stack(logits), [[1, 3], [1, 3]])


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("[]", encoding="utf-8")
    with pytest.raises(SourceError, match=r"facts\.json has no windows of es-rerank calibrate"):
        KeptWindows(tmp_path).first_stages("facts", {}, some_found)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"something else"])
def test_a_file_of_logits_that_is_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    reranker, kept = Lengths(), KeptWindows(tmp_path)
    kept.logits("facts", some_found(), reranker, "a")  # type: ignore[arg-type]
    (written,) = tmp_path.glob("*.npz")
    written.write_bytes(content)
    with pytest.raises(SourceError, match=r"facts\.\w+\.npz has no logits: .*; delete it"):
        kept.logits("facts", some_found(), reranker, "a")  # type: ignore[arg-type]
