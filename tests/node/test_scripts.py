"""Chinese, Japanese, right-to-left and other scripts through a real Elasticsearch: offsets,
highlights and bytes survive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient, load_embedder
from es_rerank.collection import Document
from es_rerank.models import LoadedEmbedder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.node import Node
from es_rerank.retrievers.planning.passages import passages_of
from es_rerank.text.chunking import Chunker
from es_rerank.text.prompt import assemble_prompt
from ingest_pipelines import Ingest

TEXTS = {
    "zh": "条约于一六四八年签署。法国和瑞典的使节签了约。「谁还在场？」没有人知道。😀后来下雨了。" * 6,  # noqa: RUF001 their own signs
    "ja": "条約は一六四八年に調印された。フランスの使節が署名した。『誰がいたのか？』雨が降った。" * 6,  # noqa: RUF001
    "ko": "조약은 1648년에 체결되었다. 프랑스의 사절이 서명했다. 누가 있었는가? 비가 내렸다. " * 6,
    "ar": "وُقِّعت المعاهدة عام 1648. وقّع عليها مبعوثو فرنسا والسويد. من كان حاضرًا؟ هطل المطر. " * 6,
    "he": "האמנה נחתמה בשנת 1648. שליחי צרפת ושוודיה חתמו עליה. מי עוד היה שם? ירד גשם. " * 6,
    "hi": "संधि पर १६४८ में हस्ताक्षर हुए। फ्रांस के दूतों ने हस्ताक्षर किए। और कौन था? बारिश हुई। " * 6,
    "th": "สนธิสัญญาลงนามในปี 1648 ทูตฝรั่งเศสและสวีเดนลงนาม ใครอยู่ที่นั่นอีก ฝนตก " * 6,
    "mixed": "The word معاهدة means treaty 👩\u200d👩\u200d👧; 条约 too. \u202bالنهاية\u202c 🇫🇷 end. " * 6,  # noqa: RUF001
}
QUESTIONS = {
    "zh": "谁签署了条约",
    "ja": "誰が条約に署名した",
    "ko": "조약에 누가 서명했는가",
    "ar": "من وقع المعاهدة",
    "he": "מי חתם על האמנה",
    "hi": "संधि पर किसने हस्ताक्षर किए",
    "th": "ทูตฝรั่งเศสและสวีเดนลงนาม",
    "mixed": "treaty معاهدة",
}


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"))) as model:
        yield model


@pytest.fixture(scope="module")
def embedder() -> Iterator[LoadedEmbedder]:
    """The bundled one: its WordPiece reads a Chinese character as a word,
    and what it does not know as [UNK].
    """
    with load_embedder() as model:
        yield model


@pytest.fixture
def filled(es: Elasticsearch, index: str, embedder: LoadedEmbedder) -> str:
    documents = [Document(name, f"about {name}", text, {}) for name, text in TEXTS.items()]
    assert Ingest(es, embedder, chunker=Chunker(embedder.tokenizer, size=48, overlap=4)).run(
        index, documents
    ).documents == len(TEXTS)
    return index


@pytest.mark.parametrize("script", TEXTS)
def test_a_text_comes_back_whole_and_its_best_passage_where_it_stands(
    es: Elasticsearch, filled: str, reranker: CrossEncoder, embedder: LoadedEmbedder, script: str
) -> None:
    client = RerankClient(es, reranker=reranker, embedder=embedder)
    answer = client.rerank(
        QUESTIONS[script],
        index=filled,
        first_stage="hybrid",
        highlight={"fields": {"text": {"number_of_fragments": 0}}},
    )
    hits = {hit["_id"]: hit for hit in answer["hits"]["hits"]}
    assert hits[script]["_source"]["text"] == TEXTS[script]
    for name, hit in hits.items():
        (passage,) = hit["fields"]["rerank.passage"]
        assert TEXTS[name][passage["start"] : passage["end"]] == passage["text"]
    marked = hits[script]["highlight"]["text"][0]
    assert re.sub("</?em>", "", marked) == TEXTS[script]
    assert re.findall("<em>(.+?)</em>", marked)


@pytest.mark.parametrize("script", [name for name in TEXTS if name not in ("th", "mixed")])
def test_stored_passages_end_with_sentences(es: Elasticsearch, filled: str, script: str) -> None:
    """Thai has none that a sign ends."""
    stored = es.get(index=filled, id=script)["_source"]["passages"]
    assert len(stored) > 2
    ending = [passage for passage in stored[:-1] if passage["text"][-1] in ".?。？؟।」』"]  # noqa: RUF001
    assert len(ending) >= len(stored[:-1]) * 0.8


def test_a_prompt_holds_them_as_they_are(
    es: Elasticsearch, filled: str, reranker: CrossEncoder, embedder: LoadedEmbedder
) -> None:
    answer = RerankClient(es, reranker=reranker, embedder=embedder).rerank(QUESTIONS["zh"], index=filled)
    prompt = assemble_prompt(
        QUESTIONS["zh"], passages_of(answer.body, ["title", "passages.text"]), count=len, budget=20_000
    )
    for numbered in prompt.passages:
        assert (
            TEXTS[numbered.passage.id][numbered.passage.start : numbered.passage.end] == numbered.passage.text
        )
    assert f"Question: {QUESTIONS['zh']}" in prompt.text


JSON_TYPE = {"content-type": "application/json"}


def test_through_the_sidecar(node: Node, tmp_path: Path, reranker: CrossEncoder) -> None:
    models = (tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder"))
    texts, options = [*TEXTS.values()], {"raw_scores": True, "return_text": True, "truncate": True}
    with sidecar(node.url, *models, tmp_path / "log") as (url, _):
        rows: list[dict[str, Any]] = httpx.post(
            f"{url}/rerank",
            json={"query": QUESTIONS["ar"], "texts": texts, **options},
            timeout=60,
        ).json()
        # A client that escapes may send half of a surrogate pair; httpx cannot.
        escaped = b'{"query": "\\u0645\\u0646", "texts": ["%b", "\\ud83d\\ude00"], "raw_scores": true}'
        half, whole = (
            httpx.post(f"{url}/rerank", content=escaped % text, headers=JSON_TYPE, timeout=60)
            for text in (b"lone \\ud83d half", b"lone half")
        )
    assert (half.status_code, half.json()["error_type"]) == (422, "Validation")
    assert "half a surrogate pair" in half.json()["error"]
    assert whole.status_code == 200
    assert {row["index"]: row["text"] for row in rows} == dict(enumerate(texts))
    expected = reranker.score(QUESTIONS["ar"], texts).values
    assert [row["score"] for row in sorted(rows, key=lambda row: row["index"])] == expected.tolist()
