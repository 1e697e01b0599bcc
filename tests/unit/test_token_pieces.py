"""Long texts are read in pieces, which changes no passage, and work on them ends at a checkpoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_chunking import TEXTS, TOKENIZERS, bundled_tokenizer
from tokenizers import AddedToken, Tokenizer

from es_rerank.models.load import model_folder
from es_rerank.models.manifest import TOKENIZER
from es_rerank.settings import BUNDLED_EMBEDDER
from es_rerank.text import token_pieces
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import cut_document
from es_rerank.text.pairs import open_tokenizer
from es_rerank.text.token_pieces import token_pieces as pieces_of
from es_rerank.text.watch import TimeUpError, Watch

IN_PIECES = ("words", "unigram", "bundled")
"""The tokenizers that split at white space before all else."""

SIGNS = (
    "a", "treaty", "\u0301", "e\u0301", " ", "  ", "\n", "\r", "\t", "\u00a0", "\u200b", "\u3000", "中文。",
    "[SEP]", "[MASK]", "##s", "\u0600", "\u0d4e", "\u200d", "👩", "ß", "Σ", ".", "\x00", "\ufdd0", "▁",
)  # fmt: skip
SPACED = st.lists(st.sampled_from(SIGNS), max_size=80).map("".join)


@given(text=st.one_of(TEXTS, SPACED), name=st.sampled_from(sorted(TOKENIZERS)), size=st.integers(1, 20))
def test_a_text_in_pieces_has_the_passages_of_the_whole(text: str, name: str, size: int) -> None:
    # Passages of one token show each place where a text may be cut.
    chunkers = [Chunker(TOKENIZERS[name], size=each, overlap=each // 2) for each in (1, 2, 5)]
    whole, count = [chunker.chunk(text) for chunker in chunkers], chunkers[0].count(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_pieces, "PIECE", size)
        pieces = list(pieces_of(TOKENIZERS[name], text))
        assert "".join(piece for _, piece in pieces) == text
        assert all(text.startswith(piece, start) for start, piece in pieces)
        assert [chunker.chunk(text) for chunker in chunkers] == whole
        assert chunkers[0].count(text) == count
        assert [chunkers[0].fits(text, most) for most in (1, count)] == [count <= 1, True]


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_only_a_tokenizer_that_splits_at_white_space_gets_pieces(name: str) -> None:
    text = "a treaty, signed. " * 5_000
    pieces = list(pieces_of(TOKENIZERS[name], text))
    assert (len(pieces) > 1) is (name in IN_PIECES)
    assert name not in IN_PIECES or max(len(piece) for _, piece in pieces) < token_pieces.PIECE + 20


def test_a_tokenizer_with_a_token_over_white_space_gets_the_whole() -> None:
    for token in (AddedToken("New York"), AddedToken("<end>", rstrip=True)):
        tokenizer: Tokenizer = bundled_tokenizer()
        tokenizer.add_tokens([token])
        assert len(list(pieces_of(tokenizer, "a New York <end> b. " * 5_000))) == 1


@pytest.mark.parametrize("title", [True, False])
def test_work_on_a_long_text_ends_at_its_deadline_or_when_nobody_waits(title: bool) -> None:
    tokenizer = open_tokenizer(model_folder(BUNDLED_EMBEDDER) / TOKENIZER)
    long, read = "word two " * 20_000, []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer, name)

        def encode(self, text: str, **options: object) -> object:
            read.append(len(text))
            watch.end()
            return tokenizer.encode(text, **options)

        def encode_batch_fast(self, texts: list[str], **options: object) -> object:
            read.append(len(texts[0]))
            watch.end()
            return tokenizer.encode_batch_fast(texts, **options)

    watch = Watch()
    texts = (long, "") if title else ("", long)
    with pytest.raises(TimeUpError):
        cut_document(*texts, Chunker(Counting()), 250, watch)
    assert len(read) == 1
    assert read[0] < token_pieces.PIECE + 20
    with pytest.raises(TimeUpError):
        Chunker(tokenizer).chunk(long, Watch(deadline=0.0))
