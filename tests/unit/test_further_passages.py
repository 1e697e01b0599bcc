"""The passages of a question: several of a long document, in the order of their scores."""

from __future__ import annotations

from typing import Any

from es_rerank.retrievers.planning.further_passages import PER_DOCUMENT, passages_of_question
from es_rerank.types import Scores

FIELDS = ("title", "passages.text")


def hit(name: str, texts: list[str], best: int = 0, *, reranked: bool = True) -> dict[str, Any]:
    """Return a hit with stored passages, of which a reranker named one."""
    stored = [
        {"text": text, "start": 100 * place, "end": 100 * place + len(text)}
        for place, text in enumerate(texts)
    ]
    found: dict[str, Any] = {
        "_index": "manuals",
        "_id": name,
        "_score": 0.5,
        "_source": {"title": name, "passages": stored},
    }
    return found | ({"fields": {"rerank.passage": [stored[best]]}} if reranked else {})


def answer(*hits: dict[str, Any]) -> dict[str, Any]:
    return {"hits": {"hits": list(hits)}}


def test_a_long_manual_gives_several_passages_by_their_scores() -> None:
    rows = [f"impeller of size {size} is part K-{size}" for size in range(100)]
    found = passages_of_question("impeller of size 26", answer(hit("manual", rows, 31)), FIELDS, 10)
    assert len(found.texts) == 41
    assert found.texts[0] == f"manual\n{rows[31]}"
    assert f"manual\n{rows[26]}" in found.texts
    scores = Scores.of([float("K-26" in text) for text in found.texts])
    ranked = found.ranked(scores)
    assert [passage.text for passage in ranked[:2]] == [rows[31], rows[26]]
    assert (ranked[1].start, ranked[1].context, ranked[1].id) == (2600, "manual", "manual")


def test_further_passages_keep_the_order_of_the_documents() -> None:
    found = passages_of_question(
        "q", answer(hit("a", ["a0", "a1", "a2"]), hit("b", ["b0", "b1"]), hit("c", ["c0"])), FIELDS, 2
    )
    assert [text.split("\n")[1] for text in found.texts] == ["a0", "b0", "a1", "a2", "b1"]
    ranked = found.ranked(Scores.of([5, 3, 4, 2, 9]))
    assert [passage.text for passage in ranked] == ["a0", "a1", "b0", "b1", "a2", "c0"]
    assert [passage.text for passage in found.ranked(None)] == ["a0", "b0", "a1", "a2", "b1", "c0"]


def test_one_document_does_not_fill_the_prompt_before_the_others() -> None:
    many = [f"m{number}" for number in range(10)]
    found = passages_of_question("q", answer(hit("many", many), hit("one", ["o0"])), FIELDS, 10)
    ranked = found.ranked(Scores.of([9, 1, *range(9)]))
    assert [passage.id for passage in ranked] == ["many"] * PER_DOCUMENT + ["one"] + ["many"] * 5


def test_what_was_not_reranked_has_all_its_passages_already() -> None:
    found = passages_of_question("q", answer(hit("a", ["a0", "a1"], reranked=False)), FIELDS, 10)
    assert found.texts == []
    assert [passage.text for passage in found.ranked(None)] == ["a0", "a1"]
