"""Voyage's own package asks the sidecar for scores and for embeddings."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
    NO_DOCUMENTS,
    NO_QUERY,
    OUTCOMES,
    QUERY,
    TOO_MANY,
    assert_ranked,
    assert_refused,
    assert_vectors,
    outcomes,
)
from client_table import client

Ranking = list[tuple[int, float]]


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("apis", "voyage_calls.py", open_sidecar, keyed_sidecar)


@client("Voyage's Python SDK, rerank", "Voyage", "voyageai", "apis")
@pytest.mark.parametrize(
    ("case", "top"),
    [
        ("rerank", None),
        ("rerank_top", 2),
        ("rerank_at_an_address_with_a_slash", None),
        ("rerank_with_key", None),
        ("rerank_async", 3),
    ],
)
def test_voyage_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    answer = got[case]
    assert_ranked(answer["results"], ranking, top)
    assert answer["documents"] == [DOCUMENTS[place] for place, _ in ranking[:top]]
    assert isinstance(answer["total_tokens"], int)


def test_voyages_long_text_is_read_whole(got: OUTCOMES) -> None:
    """It asks that nothing is cut. The text is longer than the model's window, so it is read in parts."""
    rows = got["rerank_whole"]["results"]
    assert [place for place, _ in rows] == [0]
    assert 0 < rows[0][1] <= 1


def test_voyage_raises_its_own_exceptions(got: OUTCOMES) -> None:
    for case in ("rerank_wrong_key", "rerank_async_wrong_key", "embed_wrong_key"):
        assert_refused(got[case], "AuthenticationError", NEEDS_KEY, status=401)
    assert_refused(got["rerank_no_query"], "InvalidRequestError", NO_QUERY, status=400)
    assert_refused(got["rerank_no_documents"], "InvalidRequestError", NO_DOCUMENTS, status=400)
    assert_refused(got["rerank_too_many"], "APIError", TOO_MANY, status=413)


@client("Voyage's Python SDK, embed", "OpenAI embeddings", "voyageai", "apis")
def test_voyage_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    for case in ("embed_documents", "embed_async"):
        assert_vectors(got[case]["embeddings"], open_sidecar, DOCUMENTS)
        assert got[case]["total_tokens"] > len(DOCUMENTS)
    assert_vectors(got["embed_query"]["embeddings"], open_sidecar, [QUERY], "search")
