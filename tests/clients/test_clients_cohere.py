"""Cohere's own package asks the sidecar, by its client of version 1 and by that of version 2."""

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
    scores_of,
)
from client_table import client

Ranking = list[tuple[int, float]]


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("apis", "cohere_calls.py", open_sidecar, keyed_sidecar)


@client("Cohere's Python SDK, Client and AsyncClient", "Cohere v1", "cohere", "apis")
@pytest.mark.parametrize("case", ["v1_strings", "v1_without_model", "v1_with_key", "v1_async"])
def test_cohere_v1_ranks_all_documents(case: str, got: OUTCOMES, ranking: Ranking) -> None:
    answer = got[case]
    assert_ranked(answer["results"], ranking)
    assert answer["id"]
    assert answer["meta"]["api_version"] == {"version": "1"}
    assert answer["meta"]["billed_units"] == {"search_units": 1}


def test_cohere_v1_gives_objects_back_as_they_were_sent(got: OUTCOMES, ranking: Ranking) -> None:
    top = got["v1_objects"]
    assert_ranked(top["results"], ranking, 2)
    places = [place for place, _ in ranking]
    assert top["documents"] == [{"text": DOCUMENTS[place], "number": place} for place in places[:2]]
    assert got["v1_async"]["documents"] == [{"text": DOCUMENTS[place], "number": place} for place in places]
    assert got["v1_whole_objects"]["documents"] == [{"text": DOCUMENTS[place]} for place in places]


def test_cohere_v1_ranks_by_the_fields_that_are_named(got: OUTCOMES, open_sidecar: str) -> None:
    wanted = scores_of(open_sidecar, [f"body: {text}" for text in DOCUMENTS])
    assert_ranked(got["v1_rank_fields"]["results"], wanted)
    assert [row["title"] for row in got["v1_rank_fields"]["documents"]] == [
        DOCUMENTS[place][:12] for place, _ in wanted
    ]


@client("Cohere's Python SDK, ClientV2 and AsyncClientV2", "Cohere v2", "cohere", "apis")
@pytest.mark.parametrize(
    ("case", "top"),
    [("v2_strings", None), ("v2_top", 2), ("v2_empty_key", None), ("v2_with_key", None), ("v2_async", 3)],
)
def test_cohere_v2_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    answer = got[case]
    assert_ranked(answer["results"], ranking, top)
    assert answer["id"]
    assert answer["meta"]["api_version"] == {"version": "2"}


def test_cohere_v2_gets_a_score_for_each_of_many_documents(got: OUTCOMES) -> None:
    assert got["v2_many"] == {"count": 100, "indices": list(range(100))}


@client("Cohere's Python SDK, embed of both clients", "Cohere embeddings", "cohere", "apis")
def test_cohere_embeds(got: OUTCOMES, open_sidecar: str) -> None:
    for version in ("v1", "v2"):
        answer = got[f"{version}_embed"]
        assert_vectors(answer["embeddings"], open_sidecar, DOCUMENTS)
        assert answer["texts"] == list(DOCUMENTS)
        assert answer["meta"]["api_version"] == {"version": version[1:]}
    for case in ("v1_embed_query", "v2_embed_async"):
        assert_vectors(got[case]["embeddings"], open_sidecar, [QUERY], "search")
    assert_refused(got["v2_embed_integers"], "BadRequestError", "asks for int8", status=400)
    assert_refused(got["v2_embed_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_cohere_raises_its_own_exceptions(version: str, got: OUTCOMES) -> None:
    assert_refused(got[f"{version}_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)
    assert_refused(got[f"{version}_no_query"], "BadRequestError", f"'message': '{NO_QUERY}'", status=400)
    assert_refused(got[f"{version}_no_documents"], "BadRequestError", NO_DOCUMENTS, status=400)
    assert_refused(got[f"{version}_too_many"], "ApiError", f"'message': '{TOO_MANY}'", status=413)
    assert_refused(got["v2_async_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)
