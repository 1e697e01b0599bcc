from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split, UnicodeScripts, Whitespace

from es_rerank.errors import SettingsError
from es_rerank.text.chunking import Chunker
from es_rerank.types import Passage


def word_tokenizer() -> Tokenizer:
    """One token per word, punctuation apart."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def byte_tokenizer() -> Tokenizer:
    """One token per byte: several tokens share the span of one character."""
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def gappy_tokenizer() -> Tokenizer:
    """Drops control characters and commas, as trained tokenizers drop what they do not know."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Sequence([Split(",", "removed"), Split("\x00", "removed"), UnicodeScripts(), Whitespace()])
    return tokenizer


TOKENIZERS = {"words": word_tokenizer(), "bytes": byte_tokenizer(), "gaps": gappy_tokenizer()}
PLAIN = ("treaty", "signed.", "1.5", "a,b", "“Quoted.”", "!?", "x" * 40, "\x00", "\n\n", "\r\n")
FOREIGN = ("中文字符。", "Ünïcode", "e\u0301te\u0301", "👩\u200d👩\u200d👧", "\u200b", "नमस्ते")
WORDS = st.sampled_from(PLAIN + FOREIGN)
TEXTS = st.one_of(st.text(), st.lists(WORDS, max_size=60).map(" ".join), st.lists(WORDS, max_size=30).map("".join))
SIZES = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))
NAMES = st.sampled_from(sorted(TOKENIZERS))


def tokens_between(tokenizer: Tokenizer, text: str, passage: Passage) -> int:
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return sum(passage.start < end and start < passage.end for start, end in offsets)


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_a_passage_is_the_stretch_that_its_offsets_name(text: str, sizes: tuple[int, int], name: str) -> None:
    for passage in Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text):
        assert text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_passages_move_forward_and_cover_every_visible_character(text: str, sizes: tuple[int, int], name: str) -> None:
    passages = Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text)
    assert all(left.start < right.start and left.end < right.end for left, right in pairwise(passages))
    covered = set[int]().union(*(range(passage.start, passage.end) for passage in passages))
    assert {position for position, character in enumerate(text) if not character.isspace()} <= covered


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_a_passage_holds_at_most_size_tokens_unless_it_is_one_character(text: str, sizes: tuple[int, int], name: str) -> None:
    for passage in Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text):
        held = tokens_between(TOKENIZERS[name], text, passage)
        assert held <= sizes[0] or len(passage.text) == 1


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_neighbours_share_at_most_the_overlap(text: str, sizes: tuple[int, int], name: str) -> None:
    passages = Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text)
    for left, right in pairwise(passages):
        shared = Passage("", right.start, left.end)
        assert right.start >= left.end or tokens_between(TOKENIZERS[name], text, shared) <= sizes[1]


def test_white_space_has_no_passage() -> None:
    assert Chunker(word_tokenizer()).chunk(" \n\t\u00a0") == []


def test_a_text_that_the_tokenizer_drops_whole_is_still_a_passage() -> None:
    assert Chunker(gappy_tokenizer()).chunk("\x00,\x00") == [Passage("\x00,\x00", 0, 3)]


def test_a_short_text_is_one_passage() -> None:
    assert Chunker(word_tokenizer()).chunk("  The treaty was signed. ") == [Passage("The treaty was signed.", 2, 24)]


def test_a_passage_ends_at_a_sentence_end_of_its_second_half() -> None:
    chunks = Chunker(word_tokenizer(), size=8, overlap=0).chunk("One two three four five. Six seven eight nine ten.")
    assert [passage.text for passage in chunks] == ["One two three four five.", "Six seven eight nine ten."]


def test_chinese_sentences_end_without_a_space() -> None:
    chunks = Chunker(byte_tokenizer(), size=24, overlap=0).chunk("条约已签。谁签了约。")
    assert [passage.text for passage in chunks] == ["条约已签。", "谁签了约。"]


def test_words_are_kept_whole_where_they_can_be() -> None:
    chunks = Chunker(byte_tokenizer(), size=8, overlap=4).chunk("alpha beta gamma")
    assert [passage.text for passage in chunks] == ["alpha", "beta", "gamma"]


def test_a_word_longer_than_a_passage_is_cut() -> None:
    chunks = Chunker(byte_tokenizer(), size=4, overlap=1).chunk("abcdefghij")
    assert [passage.text for passage in chunks] == ["abcd", "defg", "ghij"]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 6), (10, -1)])
def test_impossible_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(SettingsError, match=f"{size} tokens with an overlap of {overlap}"):
        Chunker(word_tokenizer(), size=size, overlap=overlap)
