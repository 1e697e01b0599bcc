"""Chunks of a plain field, for any text."""
# ruff: noqa: RUF001 signs of many scripts are meant

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.text.strategies import (
    ChunkingSettings,
    NoneSettings,
    RecursiveSettings,
    SentenceSettings,
    WordSettings,
    cut,
    sentences,
    words_of,
)
from es_rerank.types import Passage

PLAIN = (
    "treaty",
    "signed.",
    "1.5",
    "(a,b)",
    "“Quoted.”",
    "!?",
    "x" * 400,
    "\x00",
    "\n",
    "\n\n",
    "\r\n",
    "\n# ",
    "rock'n'roll",
    "don’t",
    "snake_case",
    "__",
)
FOREIGN = (
    "中文字符。", "谁签了约？」", "カタカナ", "ひらがな", "Python语言", "Ünïcode", "e\u0301te\u0301",
    "नमस्ते", "العَرَبِيَّة", "สวัสดี", "👩\u200d👩\u200d👧", "😀", "\u200b", "𠮷野家",
)  # fmt: skip
PIECES = st.sampled_from(PLAIN + FOREIGN)
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=150).map(" ".join), st.lists(PIECES, max_size=80).map("".join)
)

SENTENCES = st.builds(
    SentenceSettings, max_chunk_size=st.integers(20, 45), sentence_overlap=st.sampled_from([0, 1])
)
WORD_RUNS = st.integers(10, 25).flatmap(
    lambda size: st.builds(
        WordSettings,
        strategy=st.just("word"),
        max_chunk_size=st.just(size),
        overlap=st.integers(0, size // 2),
    )
)
RECURSIVE = st.builds(
    RecursiveSettings,
    strategy=st.just("recursive"),
    max_chunk_size=st.integers(10, 30),
    separator_group=st.sampled_from(["plaintext", "markdown"]),
)
OWN_SEPARATORS = st.builds(
    RecursiveSettings,
    strategy=st.just("recursive"),
    max_chunk_size=st.integers(10, 30),
    separators=st.lists(
        st.sampled_from([r"\n\n", "。", r"\btreaty", r"[aeiou]", r"\s*", "", r"(?<!\n)\n(?!\n)"]),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
SIZED = st.one_of(SENTENCES, WORD_RUNS, RECURSIVE, OWN_SEPARATORS)
ANY: st.SearchStrategy[ChunkingSettings] = st.one_of(SIZED, st.just(NoneSettings(strategy="none")))
# --- cutting ------------------------------------------------------------------------------------------------


@given(text=TEXTS, strategy=ANY)
def test_a_chunk_is_the_stretch_that_its_offsets_name(text: str, strategy: ChunkingSettings) -> None:
    for passage in cut(text, strategy):
        assert text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""


@given(text=TEXTS, strategy=ANY)
def test_chunks_move_forward_and_cover_every_visible_sign(text: str, strategy: ChunkingSettings) -> None:
    passages = cut(text, strategy)
    assert all(left.start < right.start and left.end < right.end for left, right in pairwise(passages))
    covered = set[int]().union(*(range(passage.start, passage.end) for passage in passages))
    assert {position for position, sign in enumerate(text) if not sign.isspace()} <= covered


@given(text=TEXTS, strategy=SIZED)
def test_a_chunk_holds_at_most_as_many_words_as_it_may(text: str, strategy: Any) -> None:
    assert all(len(words_of(passage.text)) <= strategy.max_chunk_size for passage in cut(text, strategy))


@given(text=TEXTS, strategy=st.one_of(SENTENCES, WORD_RUNS, RECURSIVE))
def test_no_word_is_cut_and_without_overlap_none_comes_twice(text: str, strategy: Any) -> None:
    overlaps = getattr(strategy, "overlap", 0) or getattr(strategy, "sentence_overlap", 0)
    chunks = [words_of(passage.text) for passage in cut(text, strategy)]
    if not overlaps:
        assert [word for chunk in chunks for word in chunk] == words_of(text)
    else:
        assert {word for chunk in chunks for word in chunk} == set(words_of(text))


@given(text=TEXTS, strategy=WORD_RUNS)
def test_runs_of_words_are_full_and_share_exactly_the_overlap(text: str, strategy: WordSettings) -> None:
    chunks = [words_of(passage.text) for passage in cut(text, strategy)]
    assert all(len(chunk) == strategy.max_chunk_size for chunk in chunks[:-1])
    for left, right in pairwise(chunks):
        assert left[len(left) - strategy.overlap :] == right[: strategy.overlap]
    assert [word for chunk in chunks[:1] for word in chunk] + [
        word for chunk in chunks[1:] for word in chunk[strategy.overlap :]
    ] == words_of(text)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    strategy=SENTENCES,
    space=st.sampled_from([" ", "  ", "\n", " \n\n "]),
)
def test_chunks_of_sentences_are_whole_full_and_overlap_where_two_fit(
    lengths: list[int], strategy: SentenceSettings, space: str
) -> None:
    whole = [sentence(f"s{number}", length) for number, length in enumerate(lengths)]
    next_first = 0
    for passage in (chunks := cut(space.join(whole), strategy)):
        first = int(words_of(passage.text)[0].removeprefix("s"))
        last = first + passage.text.count(".")
        assert passage.text == space.join(whole[first:last])
        assert first == next_first
        if last < len(whole):
            assert sum(lengths[first : last + 1]) > strategy.max_chunk_size
            next_first = (
                last - 1
                if strategy.sentence_overlap and sum(lengths[last - 1 : last + 1]) <= strategy.max_chunk_size
                else last
            )
    assert chunks[-1].text.endswith(whole[-1])


@given(strategy=ANY, blank=st.text(" \n\t\r\u00a0\u3000"))
def test_white_space_has_no_chunk(strategy: ChunkingSettings, blank: str) -> None:
    assert cut(blank, strategy) == []


@given(strategy=ANY, length=st.integers(1, 5000))
def test_one_endless_word_is_one_chunk(strategy: ChunkingSettings, length: int) -> None:
    word = "z" * length
    assert cut(f" {word}\n", strategy) == [Passage(word, 1, 1 + length)]


def sentence(name: str, words: int) -> str:
    return " ".join([name.capitalize()] + ["word"] * (words - 1)) + "."


def texts(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def test_sentences_are_packed_and_neighbours_share_the_last_one() -> None:
    a, b, c, d = (sentence(name, 8) for name in "abcd")
    text = f"{a} {b}  {c}\n{d}"
    assert texts(cut(text, SentenceSettings(max_chunk_size=20, sentence_overlap=0))) == [
        f"{a} {b}",
        f"{c}\n{d}",
    ]
    assert texts(cut(text, SentenceSettings(max_chunk_size=20, sentence_overlap=1))) == [
        f"{a} {b}",
        f"{b}  {c}",
        f"{c}\n{d}",
    ]
    assert texts(cut(text, SentenceSettings(max_chunk_size=32))) == [text]


def test_a_sentence_that_the_next_does_not_fit_beside_is_not_repeated() -> None:
    a, b, c = sentence("a", 5), sentence("b", 15), sentence("c", 10)
    assert texts(cut(f"{a} {b} {c}", SentenceSettings(max_chunk_size=20))) == [f"{a} {b}", c]


def test_a_sentence_longer_than_a_chunk_is_cut_between_words() -> None:
    words = [f"w{i}" for i in range(50)]
    text = " ".join(words)
    expected = [" ".join(words[:20]), " ".join(words[20:40]), " ".join(words[40:])]
    assert texts(cut(text, SentenceSettings(max_chunk_size=20, sentence_overlap=0))) == expected


@pytest.mark.parametrize(
    "whole",
    [
        ["One two. ", "Three four! ", "Five?\t", "Six… ", "Seven"],
        ["He said “No.” ", 'She said "Yes!" ', "(They left.) ", "Then"],
        ["Version 1.5 of a.b runs ?! ", "So it does... ", "End."],
        ["条约已签。", "谁签了约？」", "国王！！", "条约"],
        ["A title\n", "A text\r\n\r\n", "Another"],
        ["... and so on. ", "__init__"],
    ],
)
def test_where_sentences_end(whole: list[str]) -> None:
    # With so many words before each, no two fit into one chunk.
    long = [f"{'word ' * 18}{text}" for text in whole]
    assert texts(cut("".join(long), SentenceSettings(max_chunk_size=28, sentence_overlap=0))) == [
        text.strip() for text in long
    ]


@pytest.mark.parametrize(
    "whole",
    [
        ["『誰？』", "雨｡", "雪。"],
        ["تم. ", "من؟ ", "الملك! ", "نعم؟", "لا"],
        ["کس نے کیے؟", "ہوئے۔", "جی۔"],
        ["हुए।", "किसने? ", "किए॥", "अब।"],
        ["ստորագրվեց։", "Ով"],
        ["ውሉ።", "ማን፧", "ሰው፨"],
        ["ချုပ်၏။", "သူ၊", "မ"],
        ["ត្រូវ។", "នាម៕", "ក"],
        ["ᠪᠣᠯ᠃", "ᠨᠢ"],
        ["𑄃𑁇𑁈", "क"],
        ["他走了.", "谁来?」", "没有!", "条约ok.”", "终わり．", "次の３．１４です"],
        ["他v1.0.", "版3.5"],
        ["好。》", "好！）", "他"],
        ["然后……下雨了。", "foo。 ", "bar"],
        ["x\u2028", "y\u2029", "z\u0085", "w"],
    ],
)
def test_sentences_of_other_scripts_end_where_icu_ends_them(whole: list[str]) -> None:
    """What ICU 77 says, by which Elasticsearch 9.5 cuts."""
    text = "".join(whole)
    assert [text[start:end] for start, end in sentences(text, 0, len(text))] == whole


def test_rows_of_one_sign_take_no_time() -> None:
    # Tried from each of 100 000 signs anew, one of these would outlast the test run.
    for sign in "._!。．？」ー\u0301 \n-#":
        cut(sign * 100_000, SentenceSettings())
        cut(sign * 100_000, WordSettings(strategy="word", max_chunk_size=10, overlap=5))


def test_signs_between_two_runs_of_words_go_with_the_word_that_they_touch() -> None:
    text = "“" + " ".join(["one"] * 9) + " end.) «two" + " two" * 8 + " 😀"
    runs = WordSettings(strategy="word", max_chunk_size=10, overlap=0)
    assert texts(cut(text, runs)) == ["“" + "one " * 9 + "end.)", "«two" + " two" * 8 + " 😀"]
    assert texts(cut("!!! 😀", runs)) == ["!!! 😀"]


def test_chinese_is_counted_by_signs() -> None:
    text = "条约已签字的国王在城里" + "Python" + "语言"
    assert texts(cut(text, WordSettings(strategy="word", max_chunk_size=10, overlap=0))) == [
        text[:10],
        text[10:],
    ]


def test_paragraphs_are_kept_whole_where_they_fit_else_split_by_line_then_sentence() -> None:
    small, lines = "p q\n\nr s", f"{'a ' * 8}\n{'b ' * 8}"
    long = f"{sentence('c', 6)} {sentence('d', 6)}"
    text = f"{small}\n\n{lines}\n\n{long}"
    recursive = RecursiveSettings(strategy="recursive", max_chunk_size=10)
    assert texts(cut(text, recursive)) == [
        small,
        *(line.strip() for line in lines.split("\n")),
        sentence("c", 6),
        sentence("d", 6),
    ]
    assert texts(cut(text, RecursiveSettings(strategy="recursive", max_chunk_size=20))) == [
        f"{small}\n\n{lines.strip()}",
        long,
    ]


def test_headings_begin_a_chunk_of_markdown() -> None:
    text = f"intro {'a ' * 6}\n# One\n{'b ' * 7}\n## Deep\n{'c ' * 8}\n# Two\n{'d ' * 5}"
    chunks = texts(
        cut(text, RecursiveSettings(strategy="recursive", max_chunk_size=10, separator_group="markdown"))
    )
    assert [chunk.split("\n")[0].strip() for chunk in chunks] == [
        f"intro {'a ' * 6}".strip(),
        "# One",
        "## Deep",
        "# Two",
    ]


def test_own_separators_begin_the_piece_behind_them() -> None:
    text = "a b c d e f;g h i j k l;m n"
    assert texts(
        cut(text, RecursiveSettings(strategy="recursive", max_chunk_size=10, separators=(";",)))
    ) == ["a b c d e f", ";g h i j k l;m n"]


# --- words --------------------------------------------------------------------------------------------------


def test_signs_of_their_own_are_no_words() -> None:
    assert words_of("😀 👩\u200d👩\u200d👧 !? … __ \u0301 «»") == []
