"""The client of infinity's server asks the sidecar, at the address `/infinity`."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
    NO_QUERY,
    OUTCOMES,
    TOO_MANY,
    assert_ranked,
    assert_refused,
    assert_vectors,
    outcomes,
    scores_of,
)
from client_table import client

Ranking = list[tuple[int, float]]


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("infinity", "infinity_calls.py", open_sidecar, keyed_sidecar)


@client("infinity's Python client, rerank", "infinity", "infinity-client", "infinity")
@pytest.mark.parametrize(
    ("case", "top", "documents"),
    [
        ("plain", None, False),
        ("top_with_documents", 2, True),
        ("without_key", None, False),
        ("asynchronous", None, True),
    ],
)
def test_infinitys_client_ranks(
    case: str, top: int | None, *, documents: bool, got: OUTCOMES, ranking: Ranking
) -> None:
    answer = got[case]
    assert_ranked(answer["results"], ranking, top)
    wanted = [DOCUMENTS[place] if documents else None for place, _ in ranking[:top]]
    assert answer["documents"] == wanted
    assert answer["object"] == "rerank"
    assert answer["id"]
    assert answer["usage"][0] == answer["usage"][1] >= 0


def test_infinitys_client_gets_logits_when_asked(got: OUTCOMES, open_sidecar: str) -> None:
    logits = scores_of(open_sidecar, DOCUMENTS, raw=True)
    rows = got["logits"]["results"]
    assert [place for place, _ in rows] == [place for place, _ in logits]
    assert [score for _, score in rows] == pytest.approx([score for _, score in logits], abs=1e-4)


@client("infinity's Python client, embeddings", "OpenAI embeddings", "infinity-client", "infinity")
def test_infinitys_client_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    assert_vectors(got["embed"]["embeddings"], open_sidecar, DOCUMENTS)
    assert got["embed"]["object"] == "list"


def test_infinitys_client_raises_its_own_exceptions(got: OUTCOMES) -> None:
    assert_refused(got["wrong_key"], "UnexpectedStatus", "401", NEEDS_KEY, status=401)
    assert_refused(got["no_query"], "UnexpectedStatus", "400", NO_QUERY, status=400)
    assert_refused(got["too_many"], "UnexpectedStatus", "413", TOO_MANY, status=413)
