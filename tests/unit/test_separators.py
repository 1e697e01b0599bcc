"""Separators that callers write: which are taken, where they stand, and that none holds the process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import DeadlineError, RequestError
from es_rerank.retrievers.planning.long_texts import chunks
from es_rerank.text.separators import GROUPS, MAX_PATTERN_CHARACTERS, MAX_PATTERNS, separators_of
from es_rerank.text.strategies import SentenceSettings, cut, strategy_of, words_of
from es_rerank.text.watch import Watch

CATASTROPHIC = r"(\w+ ?)+!"
"""Tried one way after another, as ``re`` does, its time doubles with every letter."""

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
        (["x"] * 1_000, f"holds 1000 patterns, at most {MAX_PATTERNS} can be tried"),
        (
            ["x" * 1_001],
            f"holds a pattern of 1001 characters, at most {MAX_PATTERN_CHARACTERS} can be read: 'xxxx",
        ),
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
    assert re2._Regexp._make.cache_info().currsize == 0  # noqa: SLF001 re2 shows its cache nowhere else


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


def test_a_deadline_that_has_passed_and_work_that_nobody_waits_for() -> None:
    strategy = recursive(r"\n")
    assert len(chunks("q", ["a", "b"], strategy, 1, Watch())) == 2
    with pytest.raises(DeadlineError, match="when 0 of 2 texts were cut"):
        chunks("q", ["a", "b"], strategy, 1, Watch(deadline=0.0))
    left = Watch()
    left.end()
    with pytest.raises(DeadlineError, match="when 0 of 1 texts were cut"):
        chunks("q", ["a"], strategy, 1, left)
