"""Rerank services of every dialect behind ``remote:``, named or found by a trial."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from rerank_answers import LONGEST
from rerank_dialects import MODEL, STAND_INS, Served, serve
from rerank_services import KEY, FakeService, Host

from es_rerank.dialects.asking import BY_NAME, EXAMPLE_TEXTS
from es_rerank.errors import RemoteModelError, SettingsError
from es_rerank.models.access import Access
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.load import load_reranker
from es_rerank.scores import as_logits
from es_rerank.testing import WordOverlapReranker
from es_rerank.testing.contract import RerankerContract
from es_rerank.types import FloatArray, Scores

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]


@pytest.fixture(params=sorted(STAND_INS))
def served(request: pytest.FixtureRequest, host: Host) -> Served:
    return serve(host, request.param)


def _expected(passages: list[str]) -> FloatArray:
    return WordOverlapReranker().score(QUERY, passages).values


def _check(scores: Scores, passages: list[str], *, logits: bool) -> None:
    assert scores.done.all()
    assert scores.scale == ("logit" if logits else "probability")
    if logits:
        assert scores.values.tolist() == _expected(passages).tolist()
    else:
        np.testing.assert_allclose(as_logits(scores), _expected(passages), atol=1e-4)


def test_a_service_whose_dialect_is_named_is_asked_in_it(served: Served) -> None:
    name = f"remote:{served.stand_in.named}:{served.address}"
    with load_reranker(name, access=Access(remote_api_key=SecretStr(KEY))) as loaded:
        for _ in range(2):
            _check(loaded.score(QUERY, PASSAGES), PASSAGES, logits=served.stand_in.logits)
    asked = [path.partition("?")[0] for path in served.service.paths]
    assert set(asked) == {served.stand_in.address or BY_NAME[served.stand_in.named].path}


def test_a_service_is_found_by_one_trial(served: Served) -> None:
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        assert (loaded.dialect, loaded.answers) == (None, None)
        _check(loaded.score(QUERY, PASSAGES), PASSAGES, logits=served.stand_in.logits)
        assert loaded.dialect == served.stand_in.found
        assert loaded.answers == ("logit" if served.stand_in.logits else "probability")
        tried = len(served.service.paths)
        loaded.score(QUERY, PASSAGES)
        assert len(served.service.paths) == tried + 1
    assert tried <= 12


def test_a_list_is_split_as_the_service_allows(served: Served) -> None:
    passages = [f"the treaty {number}" if number % 3 else "who signed" for number in range(260)]
    with RemoteReranker(served.address, dialect=served.stand_in.named, api_key=SecretStr(KEY)) as loaded:
        _check(loaded.score(QUERY, passages), passages, logits=served.stand_in.logits)


@pytest.mark.parametrize("name", ["vllm", "score_of_vllm", "older_vllm"])
def test_a_long_passage_is_cut_where_the_service_has_to_be_told(host: Host, name: str) -> None:
    served = serve(host, name)
    passages = ["who signed the treaty " + "word " * LONGEST, "the treaty"]
    with RemoteReranker(served.address, dialect=served.stand_in.named, api_key=SecretStr(KEY)) as loaded:
        _check(loaded.score(QUERY, passages), passages, logits=served.stand_in.logits)


def test_blank_passages_and_an_empty_query_are_scored(served: Served) -> None:
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        if served.stand_in.named == "cohere":
            with pytest.raises(RemoteModelError, match="400: invalid request: query must not be empty"):
                loaded.score("", PASSAGES)
            return
        scores = loaded.score("", ["", " \n", "treaty"])
        assert scores.done.all()
        assert np.isfinite(as_logits(scores)).all()


@pytest.mark.parametrize(
    ("name", "suffix", "dialect", "path"),
    [
        ("vllm", "/v1", "vllm", "/v1/rerank"),
        ("vllm", "/v2/rerank", "vllm", "/v2/rerank"),
        ("vllm", "/score", "score", "/score"),
        ("voyage", "/v1", "voyage", "/v1/rerank"),
        ("voyage", "/v1/rerank/", "voyage", "/v1/rerank"),
        ("sglang", "/v1/rerank", "sglang", "/v1/rerank"),
        ("llama_cpp", "/v1/reranking", "results", "/v1/reranking"),
        ("llama_cpp", "/reranking", "tei", "/reranking"),
        ("nvidia", "/v1", "nvidia", "/v1/ranking"),
        ("tei", "/v1/rerank", "tei", "/rerank"),
    ],
)
def test_a_path_of_the_address_is_kept(host: Host, name: str, suffix: str, dialect: str, path: str) -> None:
    served = serve(host, name)
    with RemoteReranker(f"{served.url}{suffix}?model={MODEL}", api_key=SecretStr(KEY)) as loaded:
        _check(loaded.score(QUERY, PASSAGES), PASSAGES, logits=served.stand_in.logits)
        assert loaded.dialect == dialect
    assert served.service.paths[-1].partition("?")[0] == path


@pytest.mark.parametrize("name", ["vllm", "voyage", "jina", "cohere", "localai", "nvidia"])
def test_the_model_of_the_address_goes_into_the_body(host: Host, name: str) -> None:
    served = serve(host, name)
    address = f"{served.url}?x=%2F&model={MODEL}"
    with RemoteReranker(address, dialect=served.stand_in.named, api_key=SecretStr(KEY)) as loaded:
        assert loaded.name == f"{MODEL}@{served.url.removeprefix('http://')}"
        loaded.score(QUERY, PASSAGES)
    assert served.service.bodies[-1]["model"] == MODEL
    assert served.service.paths[-1].partition("?")[2] in ("x=%2F", "x=/")


def test_a_named_scale_is_asked_without_an_example(host: Host) -> None:
    served = serve(host, "localai")
    with RemoteReranker(
        served.address, dialect="results", scale="probability", api_key=SecretStr(KEY)
    ) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert [body["documents"] for body in served.service.bodies] == [PASSAGES]


def test_documents_are_not_asked_back_from_jina(host: Host) -> None:
    served = serve(host, "jina")
    with RemoteReranker(served.address, dialect="jina", api_key=SecretStr(KEY)) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert served.service.bodies[0]["return_documents"] is False


@pytest.mark.parametrize(
    ("name", "dialect"), [("sglang", "sglang"), ("llama_cpp", "llamacpp"), ("weaviate", None)]
)
def test_a_service_of_raw_numbers_from_0_to_1_gives_probabilities(
    host: Host, name: str, dialect: str | None
) -> None:
    """Some models of SGLang and llama.cpp answer the probability of a yes: the example tells them apart."""
    served = serve(host, name)
    for named in (dialect, None):
        served.service.spoil = lambda rows: [
            {key: (value + 4) / 8 if "score" in key else value for key, value in row.items()} for row in rows
        ]
        with RemoteReranker(served.address, dialect=named, api_key=SecretStr(KEY)) as loaded:
            scores = loaded.score(QUERY, PASSAGES)
        assert (scores.scale, scores.values.tolist()) == ("probability", [0.75, 0.0, 1.0])


@pytest.mark.parametrize(
    ("dialect", "address", "message"),
    [
        ("vlm", "http://host", "no dialect is called vlm; name one of tei, results, cohere"),
        ("cohere", "http://host", r"need the name of a model; write .* remote:cohere:URL\?model=NAME"),
        ("voyage", "http://host?model=", "need the name of a model"),
        ("elasticsearch", "http://host:9200", "must hold the endpoint; write remote:elasticsearch:http://"),
    ],
)
def test_a_dialect_that_cannot_be_used(dialect: str, address: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RemoteReranker(address, dialect=dialect)


def test_the_readme_names_every_dialect() -> None:
    lines = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith("| `remote:vllm:http://"))
    assert list(dict.fromkeys(re.findall(r"`(\w+)`", row))) == list(BY_NAME)


def test_every_dialect_has_a_stand_in() -> None:
    assert {stand_in.named for stand_in in STAND_INS.values()} == set(BY_NAME)


@pytest.fixture(params=["vllm", "voyage"])
def reranker(request: pytest.FixtureRequest, host: Host) -> Iterator[RemoteReranker]:
    with RemoteReranker(serve(host, request.param).address, api_key=SecretStr(KEY)) as loaded:
        yield loaded


@pytest.fixture
def broken(host: Host) -> Iterator[RemoteReranker]:
    served = serve(host, "vllm")

    def spoil(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        example = len(rows) == len(EXAMPLE_TEXTS)
        return rows if example else [row | {"relevance_score": float("nan")} for row in rows]

    served.service.spoil = spoil
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        yield loaded


class TestServicesOfTwoScales(RerankerContract):
    """One gives logits, the other probabilities through a sigmoid, which rounds."""

    tolerance = 1e-4


@pytest.fixture
def service() -> FakeService:
    """The record that the fixture ``url`` asks for; each test here serves its own."""
    return FakeService()
