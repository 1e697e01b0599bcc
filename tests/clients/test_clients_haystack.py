"""Haystack's rankers and embedders ask the sidecar."""

from __future__ import annotations

import pytest
from asked_by_clients import (
    DOCUMENTS,
    NEEDS_KEY,
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

pytestmark = pytest.mark.long  # its packages are many


@pytest.fixture(scope="module")
def got(open_sidecar: str, keyed_sidecar: str) -> OUTCOMES:
    return outcomes("haystack", "haystack_calls.py", open_sidecar, keyed_sidecar)


@client("Haystack, CohereRanker", "Cohere v2", "cohere-haystack", "haystack")
@pytest.mark.parametrize(("case", "top"), [("cohere", None), ("cohere_top", 2), ("cohere_async", None)])
def test_haystacks_cohere_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


def test_haystacks_fields_are_read_before_the_text(got: OUTCOMES, open_sidecar: str) -> None:
    sent = [f"{place}\n{text}" if place else text for place, text in enumerate(DOCUMENTS)]  # it leaves out 0
    assert_ranked(got["cohere_meta"]["results"], scores_of(open_sidecar, sent))


@client("Haystack, HuggingFaceTEIRanker", "TEI", "huggingface-api-haystack", "haystack")
@pytest.mark.parametrize(
    ("case", "top"),
    [("tei", None), ("tei_top", 2), ("tei_cut", None), ("tei_cut_left", None), ("tei_async", None)],
)
def test_haystacks_tei_ranks(case: str, top: int | None, got: OUTCOMES, ranking: Ranking) -> None:
    assert_ranked(got[case]["results"], ranking, top)
    assert got[case]["pages"] == [place for place, _ in ranking[:top]]


def test_haystacks_tei_gives_logits_when_asked(got: OUTCOMES, open_sidecar: str) -> None:
    logits = scores_of(open_sidecar, DOCUMENTS, raw=True)
    rows = got["tei_raw"]["results"]
    assert [place for place, _ in rows] == [place for place, _ in logits]
    assert [score for _, score in rows] == pytest.approx([score for _, score in logits], abs=1e-4)


@client("Haystack, JinaRanker", "Jina", "jina-haystack", "haystack")
def test_haystacks_jina_ranks(got: OUTCOMES, ranking: Ranking) -> None:
    for case, top in (("jina", None), ("jina_async", 2)):
        assert_ranked(got[case]["results"], ranking, top)
        assert got[case]["pages"] == [place for place, _ in ranking[:top]]
    assert got["jina"]["meta"]["model"]
    assert set(got["jina"]["meta"]["usage"]) == {"prompt_tokens", "total_tokens"}
    assert_ranked(got["jina_above"]["results"], [row for row in ranking if row[1] >= 0.2])
    assert sorted(place for place, _ in got["jina_empty_document"]["results"]) == list(range(6))


@client(
    "Haystack, OpenAITextEmbedder, OpenAIDocumentEmbedder", "OpenAI embeddings", "haystack-ai", "haystack"
)
@client(
    "Haystack, HuggingFaceAPITextEmbedder, HuggingFaceAPIDocumentEmbedder",
    "TEI embeddings",
    "huggingface-api-haystack",
    "haystack",
)
@client(
    "Haystack, CohereTextEmbedder, CohereDocumentEmbedder", "Cohere embeddings", "cohere-haystack", "haystack"
)
@pytest.mark.parametrize("kind", ["openai", "tei", "cohere"])
def test_haystack_embeds(kind: str, got: OUTCOMES, open_sidecar: str) -> None:
    assert_vectors(got[f"{kind}_documents"], open_sidecar, DOCUMENTS)
    assert_vectors(got[f"{kind}_query"], open_sidecar, [QUERY], "search" if kind == "cohere" else "ingest")
    if kind == "cohere":
        assert_vectors(got["cohere_documents_async"], open_sidecar, DOCUMENTS)


def test_haystack_shows_what_the_sidecar_says(got: OUTCOMES) -> None:
    assert_refused(got["cohere_wrong_key"], "UnauthorizedError", NEEDS_KEY, status=401)
    assert_refused(got["cohere_no_query"], "BadRequestError", NO_QUERY, status=400)
    assert_refused(got["cohere_too_many"], "ApiError", TOO_MANY, status=413)
    assert_refused(got["tei_wrong_key"], "RuntimeError", "401", NEEDS_KEY)
    assert_refused(got["tei_no_query"], "RuntimeError", "422", NO_QUERY)
    assert_refused(got["tei_too_many"], "RuntimeError", "413", TOO_MANY)
    assert_refused(got["jina_wrong_key"], "RuntimeError", NEEDS_KEY)
    assert_refused(got["jina_no_query"], "RuntimeError", NO_QUERY)
