"""A decoder reranks the command's searches and the sidecar's, and reads the instruction that it is given."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from app_client import app_client
from commands import run
from elasticsearch import Elasticsearch
from tiny_decoder import tiny_decoder
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.cli.search_options import open_client, with_instruction
from es_rerank.cli.serve import build_service
from es_rerank.errors import SettingsError
from es_rerank.models.local.decoder import Decoder
from es_rerank.node import Node
from es_rerank.settings import Settings

TEXTS = {
    "peace": "the treaty of peace",
    "bread": "the bread rises",
    "dogs": "dogs and the treaty",
    "none": "the end",
}
QUESTION = "who signed the treaty"
INSTRUCTION = "find envoys"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_decoder(tmp_path_factory.mktemp("decoder")))


@pytest.fixture
def filled(es: Elasticsearch, index: str) -> str:
    es.indices.create(index=index, mappings={"properties": {"content": {"type": "text"}}})
    for identifier, text in TEXTS.items():
        es.index(index=index, id=identifier, document={"content": text}, refresh=True)
    return index


def logits(folder: str, instruction: str | None) -> dict[str, float]:
    with Decoder(folder, instruction=instruction, threads=1) as model:
        values = model.score(QUESTION, list(TEXTS.values())).values.tolist()
    return dict(zip(TEXTS, values, strict=True))


def test_the_command_reranks_with_a_decoder_and_its_instruction(node: Node, filled: str, folder: str) -> None:
    options = ("--first-stage", "bm25", "--elasticsearch-url", node.url, "--json", "--reranker", folder)
    done = run("search", filled, QUESTION, *options, "--instruction", INSTRUCTION)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["rerank"]["status"] == "reranked"
    found = {hit["_id"]: hit["fields"]["rerank.logit"][0] for hit in answer["hits"]["hits"]}
    expected = logits(folder, INSTRUCTION)
    assert found == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx(logits(folder, None), abs=1e-4)


def test_the_command_refuses_an_instruction_to_a_model_that_reads_none(node: Node) -> None:
    told = with_instruction(Settings(), "find")
    with (
        pytest.raises(SettingsError, match="takes no instruction; leave --instruction and ES_RERANK_INSTRUC"),
        open_client(node.url, told, None, None, embeds=False),
    ):
        pass


@pytest.fixture(params=[None, INSTRUCTION])
async def caller(
    request: pytest.FixtureRequest, node: Node, folder: str, tmp_path: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, str | None]]:
    settings = Settings(
        reranker=f"decoder={folder}",
        more_rerankers=(f"encoder={tiny_cross_encoder(tmp_path / 'r')}",),
        embedder=str(tiny_bi_encoder(tmp_path / "e")),
        instruction=request.param,
        log_requests=False,
    )
    async with app_client(build_service(settings, node.url)) as client:
        yield client, request.param


async def test_the_sidecar_reranks_with_a_decoder(
    caller: tuple[httpx.AsyncClient, str | None], filled: str, folder: str
) -> None:
    client, instruction = caller
    expected = logits(folder, instruction)
    match = {"standard": {"query": {"match": {"content": QUESTION}}}}
    ranked = {
        "text_similarity_reranker": {
            "retriever": match,
            "field": "content",
            "inference_text": QUESTION,
            "inference_id": "decoder",
        }
    }
    answer = (await client.post(f"/{filled}/_search", json={"retriever": ranked})).json()
    hits = answer["hits"]["hits"]
    assert {hit["_id"]: hit["fields"]["rerank.logit"][0] for hit in hits} == pytest.approx(expected, abs=1e-4)
    assert [hit["_id"] for hit in hits] == sorted(expected, key=lambda each: -expected[each])
    body = {"model": "decoder", "query": QUESTION, "documents": list(TEXTS.values())}
    results = (await client.post("/v1/rerank", json=body)).json()["results"]
    best = [list(TEXTS)[result["index"]] for result in results]
    assert best == sorted(expected, key=lambda each: -expected[each])


async def test_a_sidecar_without_a_decoder_refuses_an_instruction_before_it_serves(
    node: Node, tmp_path: Path
) -> None:
    settings = Settings(
        reranker=str(tiny_cross_encoder(tmp_path / "r")),
        embedder=str(tiny_bi_encoder(tmp_path / "e")),
        instruction="find",
        elasticsearch_url=node.url,
    )
    with pytest.raises(SettingsError, match="takes no instruction"):
        build_service(settings, node.url)
