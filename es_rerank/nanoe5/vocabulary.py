"""XLM-R's tokenizer for the vocabulary of a file, and the part of the vocabulary that texts use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..collection import is_collection, read_corpus, read_jsonl, read_lines, read_queries
from ..text.chunking import Chunker
from ..text.pairs import well_formed

QUERY_PREFIX, PASSAGE_PREFIX = "query: ", "passage: "
"""The prefixes of queries and passages in E5's training
(https://huggingface.co/intfloat/multilingual-e5-small).
"""

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_UNCHANGED = {"\uff5e": "\ufdd0", "\U0001f23b": "\ufdd1"}
"""Characters that XLM-R's normalizer does not change but NFKC would, each with the noncharacter that replaces
it during NFKC.
"""

_SEPARATOR = "丂"
"""An ideograph that is the normal form of no other character."""


def vocabulary_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file or folder; files may be gzipped.

    A BEIR folder gives its documents and queries, a JSONL file its strings, any other file its lines. Raises
    SourceError for a path that cannot be read.
    """
    if is_collection(path):
        yield from (text for document in read_corpus(path) for text in (document.title, document.text))
        yield from read_queries(path).values()
    elif ".jsonl" in path.suffixes:
        yield from (
            text for _, record in read_jsonl(path) for text in record.values() if isinstance(text, str)
        )
    else:
        yield from (line.decode("utf-8", errors="replace") for _, line in read_lines(path))


def tokenizer_of(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """Return XLM-R's tokenizer for pieces with their log-probabilities: ``<s> A </s>``, ``<s> A </s></s> B
    </s>``.
    """
    numbers = {piece: number for number, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=numbers["<unk>"]))
    tokenizer.normalizer = normaliser()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(
        [AddedToken(piece, lstrip=piece == "<mask>", normalized=False) for piece in SPECIALS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(piece, numbers[piece]) for piece in ("<s>", "</s>")],
    )
    return tokenizer


def normaliser() -> Any:  # noqa: ANN401 tokenizers has no types
    """Return XLM-R's normalizer: NFKC and the rules of sentencepiece, except for the characters of
    ``_UNCHANGED``.
    """
    hidden = [normalizers.Replace(character, other) for character, other in _UNCHANGED.items()]
    shown = [normalizers.Replace(other, character) for character, other in _UNCHANGED.items()]
    return normalizers.Sequence([*hidden, normalizers.Nmt(), normalizers.NFKC(), *shown])


def normal_forms(normaliser: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 tokenizers has no types
    """Yield every character with its normal form.

    Surrogates and the noncharacters of ``_UNCHANGED`` are left out.
    """
    # All characters in one call. The ideograph between them composes with no other character.
    characters = [
        chr(code)
        for code in (*range(0xD800), *range(0xE000, 0x110000))
        if chr(code) not in {_SEPARATOR, *_UNCHANGED.values()}
    ]
    yield from zip(
        characters, normaliser.normalize_str(_SEPARATOR.join(characters)).split(_SEPARATOR), strict=True
    )


def kept_pieces(
    pieces: Sequence[tuple[str, float]], tokenizer: Tokenizer, texts: Iterable[str], seen: int
) -> list[int]:
    """Return the numbers of the pieces to keep, ascending.

    These are the pieces that occur ``seen`` times in the texts, pieces of one character, and the special
    pieces.
    """
    kept = {
        number
        for number, (piece, _) in enumerate(pieces)
        if piece in SPECIALS or len(piece.removeprefix("▁")) <= 1
    }
    for prefix in (QUERY_PREFIX, PASSAGE_PREFIX):
        kept.update(tokenizer.encode(prefix, add_special_tokens=False).ids)
    whole: Counter[int] = Counter()
    cut: Counter[int] = Counter()
    for text in map(well_formed, texts):
        whole.update(tokenizer.encode(text, add_special_tokens=False).ids)
        # In a script without spaces, a passage can begin inside a word of the text. Its first piece then
        # differs.
        for passage in Chunker(tokenizer).chunk(text):
            cut.update(tokenizer.encode(passage.text, add_special_tokens=False).ids)
    return sorted(
        kept | {number for counts in (whole, cut) for number, count in counts.items() if count >= seen}
    )
