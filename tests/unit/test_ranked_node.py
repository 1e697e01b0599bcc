"""What a hit says of its reranker, when other retrievers stand above."""

from __future__ import annotations

from typing import Any

from es_rerank.retrievers.grammar.parsing import parse
from es_rerank.retrievers.ranking.ranked_node import RankedNode, details
from es_rerank.retrievers.ranking.rerank import Reranked
from es_rerank.retrievers.response.answer import fields_of
from es_rerank.types import Candidate

LEAF: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}


def node(kind: str, ids: str, *children: RankedNode, reranked: dict[str, float] | None = None) -> RankedNode:
    """A retriever that returned these documents; a reranker gave these logits."""
    content: dict[str, Any] = {"retrievers": [{"retriever": LEAF, "weight": 1}]}
    if kind == "text_similarity_reranker":
        content = {"retriever": LEAF, "field": "text", "inference_text": "what"}
    window = tuple(candidate(name) for name in ids)
    said = {
        candidate(name).key: Reranked(candidate(name), logit=logit)
        for name, logit in (reranked or {}).items()
    }
    return RankedNode(parse(LEAF if kind == "standard" else {kind: content}), window, children, reranked=said)


def candidate(name: str) -> Candidate:
    return Candidate("index", name, 1.0, 1)


def reranker(ids: str, logits: dict[str, float], child: RankedNode | None = None) -> RankedNode:
    return node("text_similarity_reranker", ids, child or node("standard", "123"), reranked=logits)


def logits(root: RankedNode) -> dict[str, float | None]:
    return {key[1]: reranked.logit for key, reranked in details(root).items()}


def test_a_document_that_the_reranker_gave_has_what_it_said() -> None:
    below = reranker("12", {"1": 0.5, "2": 0.25})
    assert logits(below) == {"1": 0.5, "2": 0.25}
    assert logits(node("rrf", "123", below, node("standard", "23"))) == {"1": 0.5, "2": 0.25}


def test_a_reranker_says_nothing_of_a_document_below_the_window_of_its_parent() -> None:
    # The parent took one document of the reranker; another leaf brought the second.
    below = reranker("1", {"1": 0.5, "2": 0.25})
    assert logits(node("rrf", "12", below, node("standard", "2"))) == {"1": 0.5}


def test_a_reranker_says_nothing_of_a_document_that_a_minimum_between_left_out() -> None:
    fusion = node("linear", "1", reranker("12", {"1": 0.5, "2": 0.25}))
    assert logits(node("rrf", "12", fusion, node("standard", "2"))) == {"1": 0.5}


def test_an_inner_reranker_says_nothing_of_a_document_that_an_outer_one_left_out() -> None:
    inner = reranker("12", {"1": 0.5, "2": 0.25})
    outer = reranker("1", {"1": 0.75}, inner)
    assert logits(node("rrf", "12", outer, node("standard", "2"))) == {"1": 0.75}


def test_the_reranker_nearest_to_the_root_speaks() -> None:
    inner = reranker("12", {"1": 0.5, "2": 0.25})
    fusion = node("rrf", "12", reranker("1", {"1": 0.75}, inner), inner)
    assert logits(fusion) == {"1": 0.75, "2": 0.25}


def test_a_score_that_the_first_stage_did_not_give_is_left_out() -> None:
    unscored = Candidate("index", "1", float("nan"), 3)
    assert fields_of(Reranked(unscored)) == {"rerank.first_stage_rank": [3]}
    assert fields_of(Reranked(unscored, logit=0.5, probability=0.75)) == {
        "rerank.first_stage_rank": [3],
        "rerank.logit": [0.5],
        "rerank.probability": [0.75],
    }
    assert fields_of(Reranked(candidate("1")))["rerank.first_stage_score"] == [1.0]
