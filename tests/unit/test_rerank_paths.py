"""The paths on which other servers' clients ask for scores, over a real model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import httpx
import numpy as np
import pytest
from rerank_paths import OBJECT, QUERY, TEXTS, body_for, scores_in, sidecar
from tiny_models import tiny_cross_encoder
from tokenizers import Tokenizer

from es_rerank.dialects.table import PATHS
from es_rerank.models.load import local_reranker
from es_rerank.models.local.local import LocalReranker
from es_rerank.scores import as_logits, logistic, ranked
from es_rerank.testing import WordOverlapReranker

LONG = " ".join(f"word{number}" for number in range(700))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "first": tiny_cross_encoder(folder / "first"),
        "second": tiny_cross_encoder(folder / "second", seed=5),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> Iterator[dict[str, LocalReranker]]:
    """Two real models, of which the first is the default. A sidecar opens its own from their folders."""
    with local_reranker(folders["first"]) as first, local_reranker(folders["second"]) as second:
        yield {"first": first, "second": second}


@pytest.fixture
async def caller(folders: dict[str, Path]) -> AsyncIterator[httpx.AsyncClient]:
    async with sidecar(folders) as client:
        yield client


async def test_every_format_gives_the_scores_of_the_model_bit_for_bit(
    caller: httpx.AsyncClient, models: dict[str, LocalReranker]
) -> None:
    draw = Random(23)
    for _ in range(6):
        texts = [" ".join(draw.choices(f"{QUERY} it rained".split(), k=draw.randint(0, 9))) for _ in range(7)]
        logits = as_logits(models["first"].score(QUERY, texts))
        for path in PATHS:
            for options, expected in (({}, logistic(logits)), ({"raw_scores": True}, logits)):
                answer = await caller.post(path, json=body_for(path, texts, **options))
                assert answer.status_code == 200, answer.text
                found = scores_in(answer.json(), len(texts))
                values = logits if path == "/v1/ranking" else expected  # NVIDIA's clients get logits always
                assert found == dict(enumerate(values.tolist())), path
                if isinstance(answer.json(), list) or {"results", "rankings"} & set(answer.json()):
                    assert list(found) == ranked(logits), path


async def test_fewer_results_are_the_first_of_all_results(caller: httpx.AsyncClient) -> None:
    for path in ("/rerank", "/v1/ranking", "/infinity/rerank", *OBJECT):
        whole = list(scores_in((await caller.post(path, json=body_for(path, TEXTS))).json(), 5).items())
        for name in ("top_n", "top_k"):
            for most, count in ((1, 1), ("2", 2), (0, 5), (None, 5), (99, 5), (10**30, 5)):
                answer = await caller.post(path, json=body_for(path, TEXTS, **{name: most}))
                assert list(scores_in(answer.json(), 5).items()) == whole[:count], (path, name, most)


async def test_an_object_holds_what_every_client_reads(caller: httpx.AsyncClient) -> None:
    for path in OBJECT:
        answer = (await caller.post(path, json=body_for(path, TEXTS))).json()
        assert {"id", "object", "created", "model", "usage", "meta", "results", "data"} == set(answer)
        assert isinstance(answer["id"], str)
        assert {type(count) for count in answer["usage"].values()} == {int}
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
        assert answer["meta"]["api_version"] == {"version": path[2] if path[1] == "v" else "1"}
        assert [row["document"] for row in answer["results"]] == [
            {"text": TEXTS[row["index"]]} for row in answer["results"]
        ]
    again = (await caller.post("/rerank", json={"query": QUERY, "documents": TEXTS})).json()
    assert again["results"] == answer["results"]
    tei = (await caller.post("/v1/rerank", json={"query": QUERY, "texts": TEXTS})).json()
    assert [row["index"] for row in tei] == [row["index"] for row in answer["results"]]


async def test_usage_counts_the_tokens_that_the_model_read(
    caller: httpx.AsyncClient, folders: dict[str, Path]
) -> None:
    tokenizer = Tokenizer.from_file(str(folders["first"] / "tokenizer.json"))
    for path in ("/v1/rerank", "/score", "/v1/ranking", "/infinity/rerank"):
        answer = await caller.post(path, json=body_for(path, TEXTS[:3]))
        read = sum(len(tokenizer.encode(QUERY, text).ids) for text in TEXTS[:3])
        assert answer.json()["usage"] == {"prompt_tokens": read, "total_tokens": read}
    async with sidecar({"words": WordOverlapReranker()}) as other:  # no model of this process reads tokens
        answer = await other.post("/v1/rerank", json=body_for("/v1/rerank", TEXTS))
        assert answer.json()["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


async def test_the_default_answers_though_another_is_served_under_its_own_name() -> None:
    rerankers = {"mine": WordOverlapReranker("words"), "words": WordOverlapReranker("other")}
    async with sidecar(rerankers) as client:
        for wanted, own in ((None, "words"), ("mine", "words"), ("words", "other"), ("unknown", "words")):
            answer = await client.post("/v1/rerank", json=body_for("/v1/rerank", TEXTS, model=wanted))
            assert answer.headers["x-rerank-model"] == own


async def test_a_name_in_the_body_chooses_a_served_model_and_else_the_default_answers(
    caller: httpx.AsyncClient, models: dict[str, LocalReranker]
) -> None:
    logits = {name: as_logits(model.score(QUERY, TEXTS)).tolist() for name, model in models.items()}
    assert logits["first"] != logits["second"]
    names = [
        *models,
        "rerank-v3.5",
        "BAAI/bge-reranker-base",
        "",
        None,
        ".rerank-v1-elasticsearch",
        "x" * 9_999,
    ]
    for path in PATHS:
        for name in names:
            answer = await caller.post(path, json=body_for(path, TEXTS, model=name, raw_scores=True))
            chosen = name if name in models else "first"
            found = scores_in(answer.json(), 5)
            assert [found[place] for place in range(5)] == logits[chosen], (path, name)
            assert answer.headers["x-rerank-model"] == models[chosen].name
            unknown = bool(name) and name not in (*models, ".rerank-v1-elasticsearch")
            assert ("is not served here" in answer.headers.get("warning", "")) == unknown
            if isinstance(answer.json(), dict) and path not in ("/weaviate/rerank", "/v1/ranking"):
                assert answer.json()["model"] == models[chosen].name


async def test_the_query_parameter_names_a_served_model(
    caller: httpx.AsyncClient, models: dict[str, LocalReranker]
) -> None:
    for path in PATHS:
        answer = await caller.post(
            path, params={"model": "second"}, json=body_for(path, TEXTS, model="first")
        )
        assert answer.headers["x-rerank-model"] == models["second"].name
        none = await caller.post(path, params={"model": ""}, json=body_for(path, TEXTS, model="second"))
        assert none.headers["x-rerank-model"] == models["second"].name
        unknown = await caller.post(path, params={"model": "other"}, json=body_for(path, TEXTS))
        assert unknown.status_code == (422 if path == "/rerank" else 404)
        assert "model [other] is not served here; served rerankers: first, second" in unknown.text


async def test_keys_without_effect_are_named(caller: httpx.AsyncClient) -> None:
    for path in PATHS:
        options = {"instruction": "i", "user": "u", "ключ, x": 1, "max_tokens_per_doc": None}
        answer = await caller.post(path, json=body_for(path, TEXTS, **options))
        named = answer.headers["x-rerank-ignored"]
        assert named == "instruction,user,%D0%BA%D0%BB%D1%8E%D1%87%2C%20x"
        many = {f"{number}{'y' * 5_000}": 1 for number in range(40)}
        assert (
            len((await caller.post(path, json=body_for(path, TEXTS, **many))).headers["x-rerank-ignored"])
            < 1_100
        )
        assert "x-rerank-ignored" not in (await caller.post(path, json=body_for(path, TEXTS))).headers


async def test_a_long_text_is_read_in_parts_unless_it_is_to_be_cut(
    caller: httpx.AsyncClient, models: dict[str, LocalReranker]
) -> None:
    model = models["first"]
    (parts,) = model.cut(QUERY, [("", LONG)])
    logits = as_logits(model.score(QUERY, [part.text for part in parts]))
    (cut,) = as_logits(model.score(QUERY, [LONG]))
    assert len(parts) > 3
    for path in PATHS:
        for options, logit, truncated in (
            ({}, logits[:10].max(), int(len(parts) > 10)),
            ({"truncate": False}, logits.max(), 0),
            ({"max_chunks_per_doc": 2}, logits[:2].max(), 1),
            ({"truncate": True}, cut, 1),
            ({"truncation": True}, cut, 1),
        ):
            answer = await caller.post(path, json=body_for(path, ["short", LONG], raw_scores=True, **options))
            assert scores_in(answer.json(), 2)[1] == float(np.float32(logit)), (path, options)
            assert answer.headers["x-rerank-truncated"] == str(truncated)
            assert answer.headers.get("x-rerank-truncated-at") == ("1" if truncated else None)


async def test_a_text_that_may_not_be_cut_and_is_cut_nevertheless_is_refused(
    caller: httpx.AsyncClient,
) -> None:
    options = {"truncate": False, "max_chunks_per_doc": 1}
    for path in PATHS:
        answer = await caller.post(path, json=body_for(path, ["short", LONG], **options))
        assert answer.status_code == (422 if path == "/rerank" else 400)
        assert "text 1 is longer than the model reads" in answer.text


async def test_the_query_is_named_where_it_is_what_is_too_long(caller: httpx.AsyncClient) -> None:
    for path in PATHS:
        body = json.loads(json.dumps(body_for(path, ["a b"], truncate=False)).replace(QUERY, LONG))
        answer = await caller.post(path, json=body)
        assert answer.status_code == (422 if path == "/rerank" else 400)
        assert "the query is longer than the model reads" in answer.text
    pairs = {"queries": ["short", LONG], "documents": ["a", "b"], "truncate": False}
    assert "the query is longer" in (await caller.post("/score", json=pairs)).text


async def test_pairs_have_the_scores_of_their_own_queries(
    caller: httpx.AsyncClient, models: dict[str, LocalReranker]
) -> None:
    queries = [QUERY, "it rained", QUERY, "who", "it rained"]
    expected = [
        float(as_logits(models["first"].score(query, [text]))[0])
        for query, text in zip(queries, TEXTS, strict=True)
    ]
    for path in ("/score", "/v1/score"):
        body = {"queries": queries, "documents": TEXTS, "use_activation": False}
        answer = (await caller.post(path, json=body)).json()
        assert [row["score"] for row in answer["data"]] == expected
        assert {row["object"] for row in answer["data"]} == {"score"}
        assert answer["usage"]["total_tokens"] > 0


async def test_weaviate_gets_the_scores_in_the_order_of_its_documents(caller: httpx.AsyncClient) -> None:
    body = json.dumps({"query": QUERY, "documents": TEXTS, "property": ""})
    answer = await caller.post("/weaviate/rerank", content=body)  # without a media type, as Weaviate sends it
    assert answer.json()["query"] == QUERY
    assert [row["document"] for row in answer.json()["scores"]] == TEXTS


async def test_infinitys_documents_come_back_as_strings(caller: httpx.AsyncClient) -> None:
    path = "/infinity/rerank"
    plain = (await caller.post(path, json=body_for(path, TEXTS))).json()
    asked = (await caller.post(path, json=body_for(path, TEXTS, return_documents=True))).json()
    assert (plain["object"], {type(count) for count in plain["usage"].values()}) == ("rerank", {int})
    assert {frozenset(row) for row in plain["results"]} == {frozenset({"index", "relevance_score"})}
    assert [row.pop("document") for row in asked["results"]] == [
        TEXTS[row["index"]] for row in plain["results"]
    ]
    assert asked["results"] == plain["results"]


async def test_lists_of_any_length_within_the_limit_are_taken(caller: httpx.AsyncClient) -> None:
    texts = [f"it rained {number}" for number in range(1_000)]
    for path in ("/rerank", "/v1/rerank", "/weaviate/rerank"):
        answer = await caller.post(path, json=body_for(path, texts))
        assert len(scores_in(answer.json(), 1_000)) == 1_000
