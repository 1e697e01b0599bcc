"""Words and the nearest chunks are those of a real Elasticsearch."""
# ruff: noqa: RUF001 signs of many scripts are meant

from __future__ import annotations

import random

from elasticsearch import Elasticsearch

from es_rerank.text.nearest import nearest
from es_rerank.text.strategies import (
    words_of,
)
from es_rerank.types import Passage

SAMPLES = (
    "Hello world, it's 1.5 o’clock (U.S.A., e.g. 10,000.50).",
    "中文字符。Python语言很好，123中45",
    "カタカナとひらがな漢字ABC ｱｲｳ 〇零 𠮷野家",
    "e\u0301te\u0301 Ünïcode ка\u0301к ab\u0301cd \u0301x",
    "नमस्ते दुनिया। สวัสดีครับ ภาษาไทย 한국어 텍스트 ខ្មែរ العَرَبِيَّة שלום",
    "snake_case __init__ a_b _ __ 12_34 1a2b",
    "don't 'quoted' rock'n'roll O'Neil's 'tis x’y",
    "user@example.com http://a.b/c?d=e C++ C# .NET hy-phen a:b a;b 12:30 a·b",
    "x\u00adsoft zero\u200dwidth می\u200cخواهم foo\u200bbar",
    "line1\nline2\r\ntab\tx ＡＢＣ Ａ１",
)


def test_words_are_those_of_elasticsearchs_standard_analyzer(es: Elasticsearch) -> None:
    there = {
        text: [token["token"] for token in es.indices.analyze(analyzer="standard", text=text)["tokens"]]
        for text in SAMPLES
    }
    assert {text: words_of(text) for text in SAMPLES} == there


def test_nearest_are_those_that_elasticsearch_scores_best(es: Elasticsearch, index: str) -> None:
    draw = random.Random(5)
    # From words that stand once to words that stand everywhere.
    lexicon = [f"word{number}" for number in range(30)]
    weights = [1 / (1 + number) for number in range(30)]
    rows = [
        Passage(
            " ".join(draw.choices(lexicon, weights=weights, k=draw.randint(1, 30))),
            10 * number,
            10 * number + 5,
        )
        for number in range(40)
    ]
    es.indices.create(
        index=index,
        mappings={"properties": {"text": {"type": "text"}}},
        settings={"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": -1},
    )
    operations = [
        line
        for number, row in enumerate(rows)
        for line in ({"index": {"_id": str(number)}}, {"text": row.text})
    ]
    assert not es.bulk(index=index, operations=operations, refresh=True)["errors"]
    for _ in range(200):
        query, size = " ".join(draw.choices(lexicon, k=draw.randint(1, 5))), draw.randint(1, 39)
        hits = es.search(index=index, query={"match": {"text": query}}, size=40)["hits"]["hits"]
        scores = {int(hit["_id"]): hit["_score"] for hit in hits}
        found = [rows.index(row) for row in nearest(rows, query, size)]
        assert found == sorted(found)
        # Scores there are float32: those that differ by rounding alone are equal.
        worst, best_left = (
            min(scores.get(i, 0.0) for i in found),
            max(scores.get(i, 0.0) for i in range(40) if i not in found),
        )
        assert worst >= best_left - 1e-6, (query, size)
