"""Patterns that callers write: separators, wildcards and filters. None holds the process,
whatever it and the text are.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import re2
from elasticsearch import AsyncElasticsearch, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank.client import AsyncRerankClient, RerankClient
from es_rerank.errors import DeadlineError, RequestError
from es_rerank.node import Node
from es_rerank.retrievers.execution import run
from es_rerank.retrievers.grammar.wildcards import matches
from es_rerank.retrievers.planning.long_texts import Watch, chunks
from es_rerank.retrievers.response import filter_path
from es_rerank.testing import WordOverlapReranker
from es_rerank.text.separators import GROUPS, LONGEST, MOST, separators_of
from es_rerank.text.strategies import SentenceSettings, cut, strategy_of, words_of

CATASTROPHIC = r"(\w+ ?)+!"
"""Tried one way after another, as ``re`` does, its time doubles with every letter."""

SLOW = r"(?:a|b|ab)*c|[ab]{1,900}c"
"""The same, and one of the slowest that RE2 takes: seconds for each million letters of a and b."""

HANG_S = 240
"""A guard only: what ends in seconds here did not end in hours."""


def recursive(*separators: str, words: int = 10) -> Any:
    return strategy_of({"strategy": "recursive", "max_chunk_size": words, "separators": list(separators)})


def starts(pattern: str, text: str) -> list[int]:
    (separator,) = separators_of([pattern])
    return list(separator.starts(text, 0, len(text), lambda: None))


def ends(script: str) -> None:
    """Run a script in a process of its own, so that one that never ends fails the test alone."""
    subprocess.run(
        [sys.executable, "-c", f"from es_rerank.text.strategies import *\n{script}"],
        check=True,
        timeout=HANG_S,
    )


# --- separators: which are taken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separators", "fault"),
    [
        (
            [r"(?=treaty)"],
            r"holds '\(\?=treaty\)', which is not a regular expression: .*; write it without look-around",
        ),
        ([r"(?<!x)y"], "write it without look-around"),
        ([r"(a)\1"], "write it without look-around, back-references"),
        ([r"a++"], "possessive quantifiers"),
        ([r"(?>a)"], "possessive quantifiers"),
        ([r"\n\n", "(a"], r"holds '\(a', which is not a regular expression: missing \): \(a$"),
        (["a)|(b"], r"unexpected \): a\)\|\(b$"),
        (["x"] * 1_000, f"holds 1000 patterns, at most {MOST} can be tried"),
        (["x" * 1_001], f"holds a pattern of 1001 characters, at most {LONGEST} can be read: 'xxxx"),
        (["((a{100}){100}){10}"], r"which is not a regular expression: .*repetition"),
        ([r"(\pL{1,500}){1,500}"], r"which is not a regular expression: .*repetition"),
        ([r"\pL{100}"], "which is too large; write smaller repetitions"),
        ([r"(?:.?){900}c"], r"too large \(\d+ instructions, at most 5000\)"),
        ([r"\pL+ "] * 5, r"too large \(\d+ instructions, at most 5000\)"),
        (["a\ud800"], r"holds 'a\\ud800', which has half a character"),
        ([3], "should be a valid string"),
        (["(" * 100_000], "holds a pattern of 100000 characters"),
        ("x" * 100_000, r"valid tuple, found \[x{200}…\]$"),
    ],
)
def test_a_separator_that_cannot_be_run_in_linear_time_is_refused(
    separators: Any, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match=rf"^\[chunking_settings\] \[separators\] .*{fault}"):
        strategy_of({"strategy": "recursive", "max_chunk_size": 10, "separators": separators})
    assert capfd.readouterr().err == "", "RE2 writes to the log unless it is told not to"


def test_no_caller_s_pattern_is_kept() -> None:
    recursive(CATASTROPHIC, r"\n#+ ")
    assert re2._Regexp._make.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("pattern", "text", "places"),
    [
        ("\n#+ ", "a\n# b\n### c", [1, 5]),
        ("^# ", "# a\nb\n# c", [6]),
        (";$", "a;\nb;c;", [1, 6]),
        ("(?i)chapter", "x Chapter y CHAPTER", [2, 12]),
        ("。", "中文。字符。", [2, 5]),
        (r"\x{3002}", "𠮷野家。é。", [3, 5]),
        (r"\p{Han}", "é中e\u0301文", [1, 4]),
        (r"a\b", "a ba ab", [3]),
        ("ab|b", "xabb", [1, 3]),
        # A match of no characters separates nothing.
        ("", "abc", []),
        (r"\b", "a b", []),
        (r"\s*", "a  b c", [1, 4]),
        ("(?:x|)", "axbx", [1, 3]),
        # Bytes of one character are not parted, whatever a pattern says of bytes.
        (r"\C", "éa", [1]),
        ("b", "\ud800b\udfffb", [1, 3]),
    ],
)
def test_where_a_separator_stands(pattern: str, text: str, places: list[int]) -> None:
    assert starts(pattern, text) == places


PATTERNS = st.sampled_from(
    ["ab", "a+b?", "b|ab", "[^a]", "a.?b", "é", "[bé]+a", r"a\b", "^a", "a$", "(?:ab)*a"]
)


@given(pattern=PATTERNS, text=st.text("abé \n", max_size=60))
def test_a_separator_stands_where_re_finds_it(pattern: str, text: str) -> None:
    expected = [
        match.start()
        for match in re.finditer(pattern, text, re.MULTILINE | re.ASCII)
        if 0 < match.start() < match.end()
    ]
    assert starts(pattern, text) == expected


def test_a_separator_is_found_over_the_edges_of_what_is_read_at_once() -> None:
    text = "é" * 3_000 + "<" + "x" * 4_000 + ">" + "-" * 9_000 + "<>" + "中" * 5_000 + "<>"
    assert starts("<[^>]*>", text) == [3_000, 16_002, 21_004]
    assert starts("<[^>]*>", "y<" + "x" * 10_000 + ">-<>") == [10_004], "longer than a match may be"


# --- Elasticsearch's own groups -----------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        "",
        "",
        " ",
        "\t",
        "A title",
        "---",
        "-",
        "===",
        "- -",
        "--- ",
        "# One",
        "## Two",
        "####### no",
        "#no",
        "a b c d e f",
        "中文字符。",
        "x " * 12,
        "\u2028",
        "\x1c-",
    ]
)
MARKDOWN = st.lists(LINES, max_size=60).map("\n".join)


@given(
    text=MARKDOWN,
    words=st.integers(10, 30),
    group=st.sampled_from(["plaintext", "markdown"]),
    sign=st.booleans(),
)
def test_a_group_s_patterns_cut_as_the_group_and_as_re(text: str, words: int, group: str, sign: bool) -> None:
    pasted = [pattern.replace(r"\n", "\n", 1) if sign else pattern for pattern in GROUPS[group]]
    found = cut(text, recursive(*pasted, words=words))
    assert found == cut(
        text, strategy_of({"strategy": "recursive", "max_chunk_size": words, "separator_group": group})
    )
    assert [(passage.start, passage.end) for passage in found] == list(
        trimmed(text, by_re(text, 0, len(text), GROUPS[group], words))
    )


def by_re(text: str, start: int, end: int, patterns: tuple[str, ...], words: int) -> list[tuple[int, int]]:
    """Cut as the settings are defined, with the patterns as they are written, in whatever time it takes."""
    if len(words_of(text[start:end])) <= words:
        return [(start, end)]
    if not patterns:
        piece = text[start:end]
        return [
            (start + a, start + b)
            for a, b in SentenceSettings.model_construct(max_chunk_size=words, sentence_overlap=0).spans(
                piece
            )
        ]
    cuts = [
        start,
        *(
            start + match.start()
            for match in re.finditer(patterns[0], text[start:end], re.MULTILINE)
            if match.start()
        ),
        end,
    ]
    joined: list[tuple[int, int]] = []
    for a, b in (
        piece for left, right in pairwise(cuts) for piece in by_re(text, left, right, patterns[1:], words)
    ):
        if joined and len(words_of(text[joined[-1][0] : b])) <= words:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined


def trimmed(text: str, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in spans:
        piece = text[start:end]
        if piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            yield begin, begin + len(piece.strip())


# --- time ---------------------------------------------------------------------------------------------------

FEW = "'w ' * 11 + "
HOSTILE = {
    "words": "'word ' * 20_000",
    "letters": FEW + "'a' * 100_000",
    "newlines": FEW + r"'\n' * 200_000",
    "blank lines": FEW + r"'\n \t' * 70_000",
    "dashes": FEW + r"'\n' + '-' * 200_000",
    "lines of dashes": FEW + r"'\n-' * 100_000",
    "dots": FEW + "'.' * 200_000",
    "quotes": FEW + "'.\"' * 100_000",
    "one word of many": FEW + "'a:' * 100_000",
    "marks": FEW + r"'\u0301' * 200_000",
    "ideographs": "'中' * 50_000",
}
LISTS = [
    [CATASTROPHIC],
    ["(a+)+$", "(?:.*a){30}", "(a|a)*b", "(?:a|ab)*c"],
    ["a", "-", "[^y]*y|z", ""],
    *map(list, GROUPS.values()),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_is_cut_by_any_separators(name: str) -> None:
    ends(f"""
for separators in {LISTS!r}:
    strategy = {{"strategy": "recursive", "max_chunk_size": 10, "separators": separators}}
    cut({HOSTILE[name]}, strategy_of(strategy))
""")


def test_chunks_and_a_query_of_many_words_are_compared_once_each() -> None:
    ends("""
from es_rerank.text.nearest import nearest
words = [f"w{number}" for number in range(100_000)]
passages = cut(" ".join(words), strategy_of({"strategy": "word", "max_chunk_size": 10, "overlap": 0}))
assert nearest(passages, " ".join(words[50_000:] + words), 1) == [passages[5_000]]
""")


class Looks:
    """Counts how often work looks up, and ends it after ``most``."""

    def __init__(self, most: int | None = None) -> None:
        self.count = 0
        self._most = most

    def __call__(self) -> None:
        self.count += 1
        if self.count == self._most:
            raise InterruptedError


@pytest.mark.parametrize(
    "settings", [{"strategy": "sentence"}, {"strategy": "word", "max_chunk_size": 10, "overlap": 5}, {}]
)
@pytest.mark.parametrize("text", ["word " * 5, "a", "。", "\n", "\n-", "é. "])
def test_work_looks_up_as_often_as_the_text_is_long(settings: dict[str, Any], text: str) -> None:
    strategy = strategy_of(
        settings
        or {
            "strategy": "recursive",
            "max_chunk_size": 10,
            "separators": ["-", CATASTROPHIC, *GROUPS["markdown"]],
        }
    )
    counts = []
    for length in (100_000, 200_000):
        looks = Looks()
        cut((text * length)[:length], strategy, looks)
        counts.append(looks.count)
    assert 3 < counts[0] <= counts[1] <= 2 * counts[0] + 20
    for most in (1, counts[0] // 2, counts[0]):
        with pytest.raises(InterruptedError):
            cut((text * 100_000)[:100_000], strategy, Looks(most))


def test_a_separator_looks_up_before_every_few_thousand_bytes() -> None:
    (separator,) = separators_of(["[ab]{1,900}c"])
    looks = Looks()
    assert list(separator.starts("ab" * 50_000, 0, 100_000, looks)) == []
    assert 100_000 / 8_192 <= looks.count < 40


# --- a whole search -----------------------------------------------------------------------------------------


def filled(es: Elasticsearch, index: str, *texts: str) -> None:
    es.indices.create(
        index=index,
        mappings={"properties": {"text": {"type": "text"}}},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    for number, text in enumerate(texts):
        es.index(index=index, id=str(number), document={"text": text}, refresh=True)


def tree(*separators: str, **more: Any) -> dict[str, Any]:
    chunking = {"strategy": "recursive", "max_chunk_size": 20, "separators": list(separators)}
    child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
    wanted = {
        "retriever": child,
        "field": "text",
        "inference_text": "who signed the treaty",
        "chunk_rescorer": {"size": 1, "chunking_settings": chunking},
    }
    return {"text_similarity_reranker": wanted | more}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")


def test_a_search_with_a_catastrophic_separator_is_answered(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    filled(es, index, "word " * 20_000 + "The king signed the treaty! " + "word " * 1_000)
    with sidecar(node.url, *models, tmp_path / "log") as (url, process), ThreadPoolExecutor() as threads:
        try:
            for separators in ([CATASTROPHIC], ["(a+)+$"], ["(?:.*a){30}"], [r"(\w+)*\d", r"(\S+\s*)+;"]):
                search = threads.submit(
                    httpx.post,
                    f"{url}/{index}/_search",
                    json={"retriever": tree(*separators)},
                    timeout=HANG_S,
                )
                assert httpx.get(f"{url}/healthz", timeout=HANG_S).status_code == 200
                answer = search.result().json()
                assert answer["rerank"]["status"] == "reranked", answer
                (passage,) = answer["hits"]["hits"][0]["fields"]["rerank.passage"]
                assert "signed the treaty" in passage["text"]
            for separators in (["(?=x)"], ["x"] * 1_000, ["x" * 100_000], [r"(\pL{1,500}){1,500}"]):
                refused = httpx.post(
                    f"{url}/{index}/_search", json={"retriever": tree(*separators)}, timeout=HANG_S
                )
                assert refused.status_code == 400
                assert "[separators]" in refused.json()["error"]["reason"]
        finally:
            if not _answers(url):
                process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_ends_a_sidecar_that_cuts_a_text(
    node: Node, es: Elasticsearch, index: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    filled(es, index, "w " * 30 + "ab" * 1_000_000)
    with sidecar(node.url, *models, tmp_path / "log") as (url, process), ThreadPoolExecutor() as threads:
        headers = {"x-rerank-timeout-ms": "600000"}
        search = threads.submit(
            httpx.post,
            f"{url}/{index}/_search",
            json={"retriever": tree(SLOW)},
            headers=headers,
            timeout=HANG_S,
        )
        while not es.indices.stats(index=index)["indices"][index]["primaries"]["search"]["fetch_total"]:
            assert not search.done(), search.result().text  # the first stage was asked: the text is being cut
        assert httpx.get(f"{url}/healthz", timeout=HANG_S).status_code == 200
        assert not search.done()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)
        assert isinstance(search.exception(), httpx.TransportError) or search.result().status_code >= 500


class Ended(Watch):
    """A deadline that comes after so many looks, whatever the clock says."""

    looks = 0

    def __call__(self) -> None:
        self.looks += 1
        if self.looks > 3:
            self.end()
        super().__call__()


def test_what_the_tree_allows_happens_where_the_deadline_comes_in_the_middle(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "short", "word " * 20_000, "treaty")
    client = RerankClient(es, reranker=WordOverlapReranker())
    monkeypatch.setattr(run, "Watch", Ended)
    with pytest.raises(
        DeadlineError,
        match=r"^the deadline came when \d of 3 texts were cut; allow more time .*or allow_rerank_failures$",
    ) as caught:
        client.search(index=index, retriever=tree(r"\n"))
    assert caught.value.status_code == 504  # type: ignore[attr-defined]
    answer = client.search(index=index, retriever=tree(r"\n", allow_rerank_failures=True))
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["0", "1", "2"]
    assert (answer["rerank"]["status"], answer["rerank"]["capped"]) == ("first_stage", 0)
    assert "texts were cut" in answer["rerank"]["reason"]
    assert all("rerank.passage" not in hit["fields"] for hit in answer["hits"]["hits"])


def test_a_deadline_that_has_passed_and_work_that_nobody_waits_for() -> None:
    strategy = recursive(r"\n")
    assert len(chunks("q", ["a", "b"], strategy, 1, Watch())) == 2
    with pytest.raises(DeadlineError, match="when 0 of 2 texts were cut"):
        chunks("q", ["a", "b"], strategy, 1, Watch(deadline=0.0))
    left = Watch()
    left.end()
    with pytest.raises(DeadlineError, match="when 0 of 1 texts were cut"):
        chunks("q", ["a"], strategy, 1, left)


async def test_cutting_ends_when_the_caller_leaves(
    node: Node, es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "w " * 30 + "ab" * 1_000_000)
    began, over = threading.Event(), threading.Event()

    class Seen(Watch):
        def __call__(self) -> None:
            began.set()
            try:
                super().__call__()
            except Exception:
                over.set()
                raise

    monkeypatch.setattr(run, "Watch", Seen)
    async with AsyncElasticsearch(node.url) as inner:
        client = AsyncRerankClient(inner, reranker=WordOverlapReranker(), timeout_s=600)
        search = asyncio.create_task(client.search(index=index, retriever=tree(SLOW)))
        assert await asyncio.to_thread(began.wait, HANG_S)
        search.cancel()
        assert await asyncio.to_thread(over.wait, HANG_S)
        with pytest.raises(asyncio.CancelledError):
            await search


def test_a_text_is_cut_once_for_two_rerankers_that_read_it_alike(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(es, index, "one", "two " * 30)
    asked: list[int] = []

    def counted(query: str, texts: list[str], *others: Any) -> Any:
        asked.append(len(texts))
        return chunks(query, texts, *others)

    monkeypatch.setattr(run, "chunks", counted)
    first = tree(r"\n")
    answer = RerankClient(es, reranker=WordOverlapReranker()).search(
        index=index, retriever=tree(r"\n", retriever=first)
    )
    assert (answer["rerank"]["status"], asked) == ("reranked", [2])


# --- wildcards and filters ----------------------------------------------------------------------------------


def reference(text: str, pattern: str) -> bool:
    """Say the same by the definition, place by place."""
    reached = {0}
    for sign in pattern:
        if sign == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {place + 1 for place in reached if text[place : place + 1] == sign}
    return len(text) in reached


@given(text=st.text("ab?[.\n", max_size=12), pattern=st.text("ab?[.\n**", max_size=10))
def test_a_star_stands_for_any_signs_and_nothing_else_is_special(text: str, pattern: str) -> None:
    assert matches(text, pattern) == reference(text, pattern)


def test_many_stars_and_long_names_take_no_time() -> None:
    assert not matches("a" * 1_000_000, "**********a*a*a*b")
    assert not matches("a" * 100_000, "*a" * 40_000 + "*b*")
    assert matches("a" * 100_000, "*a" * 50_000)
    assert not matches("ab" * 100_000, "*" + "ab" * 20_000 + "c*")


@pytest.mark.parametrize(
    ("paths", "fault"),
    [
        (".".join(["**"] * 20_000), "has 59999 characters, at most 4096 are read"),
        (",".join(["hits"] * 20_000), "has 99999 characters, at most 4096 are read"),
        (["hits"] * 20_000, "has 80000 characters, at most 4096 are read"),
        (
            [f"*{number}" for number in range(101)],
            "holds 101 different names with wildcards, at most 100 can be tried",
        ),
        (",".join(f"-a.b*{number}" for number in range(101)), "holds 101 different names with wildcards"),
    ],
)
def test_a_filter_that_is_too_large_is_refused(paths: Any, fault: str) -> None:
    with pytest.raises(RequestError, match=rf"^\[filter_path\] {fault}"):
        filter_path.selected({"took": 1}, paths)


def test_each_different_key_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def counted(text: str, pattern: str) -> bool:
        asked.append((text, pattern))
        return matches(text, pattern)

    monkeypatch.setattr(filter_path, "matches", counted)
    hits = [{"_id": str(number), "_source": {"a": {"b": number}}} for number in range(1_000)]
    paths = ["**.b*", "hits.*.a*", *["**"] * 3, "**.**.**._i*", "-**._s*"]
    assert filter_path.selected({"hits": {"hits": hits}}, paths) == {
        "hits": {"hits": [{"_id": hit["_id"]} for hit in hits]}
    }
    assert len(asked) == len(set(asked))


def test_a_long_filter_over_a_deep_answer() -> None:
    deep: dict[str, Any] = {"b": 1}
    for _ in range(400):
        deep = {"a": deep, "c": 2}
    assert filter_path.selected(deep, ",".join([".".join(["**"] * 1_300), "**.b"])) == by_hand(deep)


def by_hand(deep: dict[str, Any]) -> dict[str, Any]:
    return {"a": by_hand(deep["a"])} if "a" in deep else deep
