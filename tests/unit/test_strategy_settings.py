"""Settings of chunking are read as Elasticsearch reads them, and a fault names its setting."""

from __future__ import annotations

from typing import Any

import pytest

from es_rerank.errors import RequestError
from es_rerank.text.strategies import (
    ChunkingSettings,
    NoneSettings,
    RecursiveSettings,
    SentenceSettings,
    WordSettings,
    strategy_of,
)


@pytest.mark.parametrize(
    ("settings", "strategy"),
    [
        (None, SentenceSettings(max_chunk_size=300, sentence_overlap=0)),
        ({}, SentenceSettings(max_chunk_size=300, sentence_overlap=0)),
        ({"max_chunk_size": 40}, SentenceSettings(max_chunk_size=40, sentence_overlap=0)),
        ({"strategy": "sentence"}, SentenceSettings(max_chunk_size=250, sentence_overlap=1)),
        ({"sentence_overlap": 0}, SentenceSettings(max_chunk_size=250, sentence_overlap=0)),
        (
            {"strategy": "word", "max_chunk_size": 10, "overlap": 5},
            WordSettings(strategy="word", max_chunk_size=10, overlap=5),
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10},
            RecursiveSettings(strategy="recursive", max_chunk_size=10, separator_group="plaintext"),
        ),
        ({"strategy": "none"}, NoneSettings(strategy="none")),
    ],
)
def test_settings_are_read_as_elasticsearch_reads_them(
    settings: dict[str, Any] | None, strategy: ChunkingSettings
) -> None:
    assert strategy_of(settings) == strategy


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"max_chunk_size": 19}, "[max_chunk_size] input should be greater than or equal to 20, found [19]"),
        (
            {"max_chunk_size": "many"},
            (
                "[max_chunk_size] input should be a valid integer, "
                "unable to parse string as an integer, found [many]"
            ),
        ),
        ({"sentence_overlap": 2}, "[sentence_overlap] input should be 0 or 1, found [2]"),
        ({"strategy": "word", "max_chunk_size": 10}, "[overlap] field required"),
        ({"strategy": "word", "overlap": 1}, "[max_chunk_size] field required"),
        (
            {"strategy": "word", "max_chunk_size": 9, "overlap": 1},
            "[max_chunk_size] input should be greater than or equal to 10, found [9]",
        ),
        (
            {"strategy": "word", "max_chunk_size": 11, "overlap": 6},
            "[overlap] must be at most half of [max_chunk_size], found [6] of [11]",
        ),
        (
            {"strategy": "word", "max_chunk_size": 11, "overlap": -1},
            "[overlap] input should be greater than or equal to 0, found [-1]",
        ),
        ({"strategy": "sentence", "overlap": 1}, "[overlap] extra inputs are not permitted, found [1]"),
        (
            {"strategy": "none", "max_chunk_size": 20},
            "[max_chunk_size] extra inputs are not permitted, found [20]",
        ),
        (
            {"strategy": "Paragraph"},
            "[strategy] must be one of sentence, word, recursive, none, found [Paragraph]",
        ),
        ({"strategy": None}, "[strategy] must be one of sentence, word, recursive, none, found [None]"),
        (
            {"strategy": ["word"]},
            "[strategy] must be one of sentence, word, recursive, none, found [['word']]",
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separators": []},
            "[separators] tuple should have at least 1 item after validation, not 0, found [[]]",
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separators": ["[A-Z"]},
            "[separators] holds '[A-Z', which is not a regular expression: missing ]: [A-Z",
        ),
        (
            {
                "strategy": "recursive",
                "max_chunk_size": 10,
                "separators": ["a"],
                "separator_group": "markdown",
            },
            "[separators] and [separator_group] cannot both be given",
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separator_group": "html"},
            "[separator_group] input should be 'plaintext' or 'markdown', found [html]",
        ),
    ],
)
def test_a_fault_names_its_setting_and_what_was_found(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        strategy_of(settings)
    assert caught.value.message == f"[chunking_settings] {fault}"
