"""Pair encoding: the same ids as Hugging Face where the window cuts, and nothing in a text that breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_t5_tokenizer, tiny_tokenizer
from tokenizers import Encoding, Tokenizer, models, pre_tokenizers, processors

from es_rerank.errors import ModelFolderError
from es_rerank.models.load import model_folder
from es_rerank.settings import BUNDLED_EMBEDDER
from es_rerank.text import pairs
from es_rerank.text.pairs import (
    Encoded,
    PairEncoder,
    TextEncoder,
    longest_first,
    open_tokenizer,
    surely_fits,
    well_formed,
)

lengths = st.integers(0, 60)
windows = st.integers(6, 70)


def words(count: int, letter: str) -> str:
    return " ".join([letter] * count)


def xlm_tokenizer() -> Tokenizer:
    """A tokenizer with XLM-R's layout, <s> q </s></s> p </s>, and its metaspace."""
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((f"▁{c}", -1.0) for c in "ab"),
        *((c, -2.0) for c in "ab</s>"),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


TOKENIZERS = {"bert": tiny_tokenizer, "xlm-roberta": xlm_tokenizer}


def encoded(tokenizer: Tokenizer, query: str, passage: str, **settings: object) -> Encoded:
    (pair,) = PairEncoder(tokenizer, **settings).encode(query, [passage])  # type: ignore[arg-type] # a test's keywords
    return pair


@pytest.mark.parametrize("family", TOKENIZERS)
@given(query=lengths, passage=lengths, window=windows)
def test_longest_first_cuts_as_the_tokenizers_library_does(
    family: str, query: int, passage: int, window: int
) -> None:
    theirs = TOKENIZERS[family]()
    theirs.enable_truncation(window, strategy="longest_first")
    expected = theirs.encode(words(query, "a"), words(passage, "b"))
    pair = encoded(TOKENIZERS[family](), words(query, "a"), words(passage, "b"), max_length=window)
    assert pair.ids == expected.ids
    assert pair.type_ids == expected.type_ids
    assert pair.truncated == bool(expected.overflowing)


@given(length=lengths, window=windows)
def test_a_single_text_is_cut_as_the_tokenizers_library_does(length: int, window: int) -> None:
    theirs = tiny_tokenizer()
    theirs.enable_truncation(window)
    expected = theirs.encode(words(length, "a"))
    assert next(TextEncoder(tiny_tokenizer(), max_length=window).encode([words(length, "a")])) == Encoded(
        expected.ids, expected.type_ids, bool(expected.overflowing)
    )


@given(query=lengths, passage=lengths, window=st.integers(20, 70))
def test_only_second_leaves_the_query_three_quarters_of_the_window(
    query: int, passage: int, window: int
) -> None:
    pair = encoded(
        xlm_tokenizer(), words(query, "a"), words(passage, "b"), max_length=window, strategy="only_second"
    )
    kept = min(query, window * 3 // 4, window - 5)
    assert pair.ids.count(4) == kept
    assert pair.ids.count(5) == min(passage, window - 4 - kept)
    assert pair.truncated == (len(pair.ids) < query + passage + 4)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(2, 99))
def test_longest_first_fills_the_room_and_takes_nothing_away_without_need(
    first: int, second: int, room: int
) -> None:
    one, two = longest_first(first, second, room)
    assert one + two == min(first + second, room)
    assert one <= first
    assert two <= second


@pytest.mark.parametrize(
    ("family", "special"),
    [("bert", "[SEP]"), ("bert", "[CLS]"), ("xlm-roberta", "</s>"), ("xlm-roberta", "<s>")],
)
def test_a_special_token_spelt_out_in_a_text_stays_text(tmp_path: Path, family: str, special: str) -> None:
    TOKENIZERS[family]().save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path / "tokenizer.json")
    plain = encoded(tokenizer, "a", "a", max_length=32)
    spelt = encoded(tokenizer, "a", f"a {special} b", max_length=32)
    number = tokenizer.token_to_id(special)
    assert spelt.ids.count(number) == plain.ids.count(number)


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_at_all_is_encoded(text: str) -> None:
    pair = encoded(tiny_tokenizer(), text, text, max_length=32)
    assert len(pair.ids) == len(pair.type_ids) <= 32


def test_surrogates_are_joined_or_replaced() -> None:
    assert well_formed("a\ud83d\ude00b") == "a😀b"
    assert well_formed("a\ud83db") == "a�b"
    assert well_formed("a\x00b") == "a\x00b"


def test_the_tokenizer_is_not_changed_by_use(tmp_path: Path) -> None:
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = open_tokenizer(tmp_path / "tokenizer.json")
    before = tokenizer.to_str()
    encoded(tokenizer, words(50, "a"), words(50, "b"), max_length=16)
    assert tokenizer.to_str() == before
    assert tokenizer.truncation is None
    assert tokenizer.padding is None


def test_a_bundled_tokenizer_neither_pads_nor_truncates() -> None:
    encoder = TextEncoder(open_tokenizer(model_folder(BUNDLED_EMBEDDER) / "tokenizer.json"), max_length=256)
    assert next(encoder.encode(["lighthouse"])).ids == [101, 10171, 102]
    assert next(encoder.encode([words(300, "lighthouse")])) == Encoded(
        [101, *[10171] * 254, 102], [0] * 256, truncated=True
    )


def test_a_window_without_room_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="leaves 1 for the text"):
        PairEncoder(tiny_tokenizer(), max_length=4)


def test_a_tokenizer_that_swaps_the_texts_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="[CLS] $B $A", special_tokens=[("[CLS]", 2)]
    )
    with pytest.raises(ModelFolderError, match="in order"):
        PairEncoder(tokenizer, max_length=32)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json is not a tokenizer"):
        open_tokenizer(tmp_path / "tokenizer.json")


def byte_level_tokenizer() -> Tokenizer:
    """A tokenizer like RoBERTa's and ModernBERT's, whose vocabulary has single bytes only."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


ALGORITHMS = {
    "WordPiece": tiny_tokenizer(),
    "bundled": open_tokenizer(model_folder(BUNDLED_EMBEDDER) / "tokenizer.json"),
    "Unigram": tiny_t5_tokenizer(),
    "XLM-R": xlm_tokenizer(),
    "byte-level BPE": byte_level_tokenizer(),
}


class Watched:
    """A tokenizer that counts the characters it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.characters = tokenizer, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: list[str], *, add_special_tokens: bool) -> list[Encoding]:
        self.characters += sum(map(len, texts))
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(
            texts, add_special_tokens=add_special_tokens
        )
        return encodings


LONG_TEXTS = {
    "words": "many words of a book that never ends " * 5_000,
    "no spaces": "书中自有黄金屋" * 5_000,
    "one word": "a" * 30_000,
    "blanks": " " * 20_000 + "the end of it" + " " * 20_000,
    "surrogates": "\ud83d\ude00 " * 10_000,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_of_a_long_text_only_the_beginning_is_tokenised_and_nothing_changes(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(tokenizer: Any) -> list[Encoded]:
        return [encoded(tokenizer, query, text, max_length=65) for query in queries]

    beginnings, whole = Watched(ALGORITHMS[name]), Watched(ALGORITHMS[name])
    queries = ["who signed", "who signed the treaty " * 30]
    found = read(beginnings)
    monkeypatch.setattr(pairs, "CHARACTERS", 1_000_000)
    assert found == read(whole)
    if text == LONG_TEXTS["words"]:
        assert beginnings.characters < 40_000
        assert whole.characters > 2 * len(text)


@pytest.mark.parametrize("name", ALGORITHMS)
@given(text=st.text(st.characters(codec="ascii"), max_size=60) | st.text("ab .\n", max_size=60))
def test_a_text_that_surely_fits_has_no_more_tokens(name: str, text: str) -> None:
    size = len(text) + 1
    assert surely_fits(text, size)
    assert len(ALGORITHMS[name].encode(text, add_special_tokens=False).ids) <= size


@pytest.mark.parametrize("text", ["\ufdfa", "é" * 3, "中文"])
def test_a_text_beyond_ascii_is_counted(text: str) -> None:
    assert not surely_fits(text, 1_000)
