"""What the tests of clients ask, and how they compare what a client's user gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from client_environments import answer_of

KEY = "key-of-the-tests-of-clients"

NEEDS_KEY = "this path needs a key of the sidecar: send Authorization: Bearer KEY"

NO_QUERY = "[query] must have at least one character"

NO_DOCUMENTS = "[documents] must be a list of texts with at least one entry"

MOST_DOCUMENTS = 60
"""In a request to the sidecar that asks for a key."""

TOO_MANY = "61 documents are more than one request may hold (60, setting max_documents); send them in parts"

QUERY = "What is the capital of the United States?"

DOCUMENTS = (
    "Carson City is the capital city of the American state of Nevada.",
    "Capitalization is the use of a capital letter at the start of a word.",
    "Washington, D.C. is the capital of the United States and the seat of its federal government.",
    "Capital punishment has existed in the United States since before it was a country.",
    "The Northern Mariana Islands are a group of islands in the Pacific Ocean. Their capital is Saipan.",
)

OUTCOMES = dict[str, Any]


def outcomes(environment: str, script: str, open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    """Run all cases of a script in one process: case to what the tool's user got.

    The script gets one JSON: the addresses, the key, the query, the documents, and the most documents.
    """
    told = {
        "open": open_sidecar,
        "keyed": keyed_sidecar,
        "key": KEY,
        "query": QUERY,
        "documents": DOCUMENTS,
        "most": MOST_DOCUMENTS,
    }
    found: OUTCOMES = answer_of(environment, script, json.dumps(told))
    return found


def assert_ranked(
    rows: Sequence[Sequence[Any]], ranking: Sequence[tuple[int, float]], top: int | None = None
) -> None:
    """The (index, score) of a client are those of `/rerank`: in its order, with its scores, from 0 to 1."""
    wanted = list(ranking)[:top]
    assert [row[0] for row in rows] == [index for index, _ in wanted]
    assert [row[1] for row in rows] == pytest.approx([score for _, score in wanted], rel=1e-4, abs=1e-6)
    assert all(0 <= row[1] <= 1 for row in rows)


def scores_of(sidecar: str, texts: Sequence[str], *, raw: bool = False) -> list[tuple[int, float]]:
    """Return what `POST /rerank` says about `QUERY` and texts: (index, score), best first.

    With `raw` the scores are logits.
    """
    asked = {"query": QUERY, "texts": list(texts), "raw_scores": raw}
    answer = httpx.post(f"{sidecar}/rerank", json=asked, timeout=60)
    return [(row["index"], row["score"]) for row in answer.raise_for_status().json()]


def embedder_of(sidecar: str) -> str:
    """Return the name of the sidecar's default embedder."""
    endpoints = httpx.get(f"{sidecar}/_inference", timeout=60).raise_for_status().json()["endpoints"]
    return next(str(each["inference_id"]) for each in endpoints if each["task_type"] == "text_embedding")


def assert_vectors(
    vectors: Sequence[Sequence[float]], sidecar: str, texts: Sequence[str], purpose: str = "ingest"
) -> None:
    """The vectors of a client are those of Elasticsearch's inference API for the same texts.

    With `purpose` "search" the texts are queries.
    """
    path = f"{sidecar}/_inference/text_embedding/{embedder_of(sidecar)}"
    answer = httpx.post(path, json={"input": list(texts), "input_type": purpose}, timeout=60)
    wanted = [row["embedding"] for row in answer.raise_for_status().json()["text_embedding"]]
    assert len(vectors) == len(wanted)
    for vector, other in zip(vectors, wanted, strict=True):
        assert vector == pytest.approx(other, abs=1e-4)


def assert_refused(outcome: Any, kind: str, *said: str, status: int | None = None) -> None:
    """A package raised an exception of this kind, with this status if it tells one, and with these words."""
    assert isinstance(outcome, dict), outcome
    assert kind in outcome.get("raised", ()), outcome
    assert outcome["status"] == status, outcome
    assert all(part in outcome["said"] for part in said), outcome
