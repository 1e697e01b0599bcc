"""Passages of any text, in every script and with every kind of tokenizer."""
# ruff: noqa: RUF001 signs of many scripts are meant

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel
from tokenizers.normalizers import NFKC, Nmt
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import (
    ByteLevel,
    Metaspace,
    Sequence,
    Split,
    UnicodeScripts,
    Whitespace,
    WhitespaceSplit,
)

from es_rerank.errors import SettingsError
from es_rerank.models.load import model_folder
from es_rerank.models.manifest import TOKENIZER
from es_rerank.settings import BUNDLED_EMBEDDER
from es_rerank.text.boundaries import ends_clause, ends_sentence, inside_character
from es_rerank.text.chunking import Chunker
from es_rerank.text.pairs import open_tokenizer
from es_rerank.types import Passage


def word_tokenizer() -> Tokenizer:
    """One token per word, punctuation apart."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def byte_tokenizer() -> Tokenizer:
    """One token per byte: several tokens share the span of one character."""
    tokenizer = Tokenizer(
        BPE({token: number for number, token in enumerate(sorted(ByteLevel.alphabet()))}, [])
    )
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def gappy_tokenizer() -> Tokenizer:
    """Drops control characters and commas, as trained tokenizers drop what they do not know."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Sequence(
        [Split(",", "removed"), Split("\x00", "removed"), UnicodeScripts(), Whitespace()]
    )
    return tokenizer


def unigram_tokenizer() -> Tokenizer:
    """XLM-R's kind: normalised, each word marked at its beginning,
    a Chinese sentence one word of many pieces.
    """
    pieces = [
        "▁",
        *"条约签字符中文।नमसतेabcdefghijklmnopqrstuvwxyz.,!?",
        "条约",
        "中文",
        "▁treaty",
        "नम",
        "กา",
    ]
    tokenizer = Tokenizer(
        Unigram([("<unk>", -20.0), *((piece, -3.0 - len(piece) % 2) for piece in pieces)], unk_id=0)
    )
    tokenizer.normalizer = NormalizerSequence([Nmt(), NFKC()])
    tokenizer.pre_tokenizer = Sequence([WhitespaceSplit(), Metaspace()])
    return tokenizer


def bundled_tokenizer() -> Tokenizer:
    """WordPiece of the bundled embedder: what it does not know is [UNK], a word of any length."""
    return open_tokenizer(model_folder(BUNDLED_EMBEDDER) / TOKENIZER)


TOKENIZERS = {
    "words": word_tokenizer(),
    "bytes": byte_tokenizer(),
    "gaps": gappy_tokenizer(),
    "unigram": unigram_tokenizer(),
    "bundled": bundled_tokenizer(),
}
PLAIN = ("treaty", "signed.", "1.5", "a,b", "“Quoted.”", "!?", "x" * 40, "\x00", "\n\n", "\r\n")
FOREIGN = (
    "中文字符。", "「条约？」", "ﾃｽﾄ｡", "조약이 체결되었다.", "Ünïcode", "e\u0301te\u0301",
    "👩\u200d👩\u200d👧", "🇫🇷🇩🇪", "👍🏽", "😀", "𠮷", "\u200b", "नमस्ते।",
    "وُقِّعت؟", "دستخط۔", "הָאֲמָנָה", "\u202bשלום\u202c", "สนธิสัญญากำ", "\u1112\u1161\u11ab", "①½ﬁ", "\ufeff",
)  # fmt: skip
WORDS = st.sampled_from(PLAIN + FOREIGN)
TEXTS = st.one_of(
    st.text(), st.lists(WORDS, max_size=60).map(" ".join), st.lists(WORDS, max_size=30).map("".join)
)
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
def test_passages_move_forward_and_cover_every_visible_character(
    text: str, sizes: tuple[int, int], name: str
) -> None:
    passages = Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text)
    assert all(left.start < right.start and left.end < right.end for left, right in pairwise(passages))
    covered = set[int]().union(*(range(passage.start, passage.end) for passage in passages))
    assert {position for position, character in enumerate(text) if not character.isspace()} <= covered


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_a_passage_holds_at_most_size_tokens_unless_it_cannot_be_cut(
    text: str, sizes: tuple[int, int], name: str
) -> None:
    for passage in Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text):
        held = tokens_between(TOKENIZERS[name], text, passage)
        offsets = TOKENIZERS[name].encode(text, add_special_tokens=False).offsets
        cuts = [
            start
            for start, end in offsets
            if passage.start < start < min(end, passage.end) and not inside_character(text, start)
        ]
        assert held <= sizes[0] or not cuts


@given(text=TEXTS, sizes=SIZES, name=NAMES)
def test_no_passage_begins_or_ends_inside_a_character(text: str, sizes: tuple[int, int], name: str) -> None:
    for passage in Chunker(TOKENIZERS[name], size=sizes[0], overlap=sizes[1]).chunk(text):
        assert not any(
            0 < at < len(text) and inside_character(text, at) for at in (passage.start, passage.end)
        )


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
    assert Chunker(word_tokenizer()).chunk("  The treaty was signed. ") == [
        Passage("The treaty was signed.", 2, 24)
    ]


def test_a_passage_ends_at_a_sentence_end_of_its_second_half() -> None:
    chunks = Chunker(word_tokenizer(), size=8, overlap=0).chunk(
        "One two three four five. Six seven eight nine ten."
    )
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


# --- every script -------------------------------------------------------------------------------------------

SENTENCES = {
    "Chinese": ("条约已经签署。", "「谁签了约？」", "他说:没有人！", "然后……下雨了。"),
    "Japanese": ("条約は調印された。", "『誰が署名したのか？』", "雨が降った｡"),
    "Korean": ("조약이 체결되었다.", "누가 서명했는가?"),
    "Arabic": ("تم توقيع المعاهدة.", "من وقع عليها؟", "الملك!"),
    "Urdu": ("معاہدے پر دستخط ہوئے۔", "کس نے دستخط کیے؟"),
    "Hebrew": ("האמנה נחתמה.", "מי חתם עליה?"),
    "Hindi": ("संधि पर हस्ताक्षर हुए।", "किसने हस्ताक्षर किए?"),
    "Armenian": ("Պայմանագիրը ստորագրվեց։",),
    "Amharic": ("ውሉ ተፈረመ።", "ማን ፈረመ፧"),
    "Burmese": ("စာချုပ်ချုပ်ဆိုခဲ့သည်။",),
    "Chinese with signs of another script": ("他走了.", "谁签了约?", "「没有人!」"),
    "Chakma": ("𑄃𑄟𑄢𑅁",),
    "Khmer": ("សន្ធិសញ្ញាត្រូវបានចុះហត្ថលេខា។",),
    "Greek": ("Η συνθήκη υπογράφηκε.", "Ο βασιλιάς!"),
}


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize("gap", ["", " "])
def test_sentences_of_every_script_end_where_they_end(script: str, gap: str) -> None:
    """Without a space only where the sign is no part of numbers and names elsewhere."""
    sentences = SENTENCES[script] * 2
    if not gap:
        sentences = tuple(
            sentence for sentence in sentences if sentence[-1] not in ".!?" or script.startswith("Chinese")
        )
    text = gap.join(sentences)
    ends, at = set(), 0
    for sentence in sentences:
        at += len(sentence)
        ends.add(at)
        at += len(gap)
    found = {position for position in range(1, len(text) + 1) if ends_sentence(text, position)}
    assert ends <= found
    assert found <= ends | {end + len(gap) for end in ends}


@given(
    st.lists(
        st.sampled_from([sentence for each in SENTENCES.values() for sentence in each]),
        min_size=2,
        max_size=30,
    ),
    NAMES,
    st.integers(8, 40),
)
def test_a_passage_ends_with_a_sentence_where_one_ends_in_its_second_half(
    sentences: list[str], name: str, size: int
) -> None:
    text, tokenizer = " ".join(sentences), TOKENIZERS[name]
    passages = Chunker(tokenizer, size=size, overlap=0).chunk(text)
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    for passage, following in pairwise(passages):
        held = [(start, end) for start, end in offsets if passage.start < end and start < following.start]
        # Where a token begins behind more than half of the passage's;
        # the white space before may be a token or not.
        late = [
            held[number][0]
            for number in range(size // 2 + 2, len(held))
            if held[number][0] != held[number - 1][0]
        ]
        ends = [cut for cut in late if not inside_character(text, cut) and ends_sentence(text, cut)]
        assert ends_sentence(text, following.start) or not ends


def test_a_text_of_signs_alone_is_cut_like_any_other() -> None:
    """Without a bound each of its positions would be looked at from each."""
    for sign in (")", "」", "🇫", "。", ". "):
        text = sign * 20_000
        passages = Chunker(TOKENIZERS["bundled"]).chunk(text)
        assert (passages[0].start, passages[-1].end) == (0, len(text.rstrip()))


@pytest.mark.parametrize(
    "text", ["3.14", "３．１４", "v1.0", "Node.js", "www.example.org", "e.g.this", "wait...", "A.B", "«so»"]
)
def test_a_sign_inside_a_word_ends_nothing(text: str) -> None:
    assert not any(ends_sentence(text, position) for position in range(1, len(text)))


def test_closing_quotes_belong_to_the_sentence_before_them() -> None:
    text = "他问：「真的吗？」她笑了。"
    assert [position for position in range(1, len(text) + 1) if ends_sentence(text, position)] == [
        text.index("她"),
        len(text),
    ]
    assert ends_clause("下雨了，天黑了", 4)
    assert not ends_clause("rain, night", 5)


CHARACTERS = (
    "e\u0301",
    "नि",
    "กำ",
    "👩\u200d👩\u200d👧",
    "👍🏽",
    "🇫🇷",
    "\u1112\u1161\u11ab",
    "한",
    "가\u11a8",
    "ی\u200c",
    "中",
    "\u0627\u064e",
    "\r\n",
    "a",
    "ש\u05c1",
    "❤\ufe0f",
)


@given(st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=12))
def test_what_a_reader_sees_as_one_character_is_one(characters: list[str]) -> None:
    text, at, bounds = "".join(characters), 0, {0}
    for character in characters:
        at += len(character)
        bounds.add(at)
    inside = {position for position in range(1, len(text)) if inside_character(text, position)}
    # A mark at the beginning of the next would join the one before; none of these begins with one.
    assert inside == set(range(len(text) + 1)) - bounds


def test_a_long_chinese_text_is_cut_behind_its_sentences_by_a_unigram_tokenizer() -> None:
    """XLM-R's kind: a sentence without spaces is one word, so only signs tell where to cut."""
    pieces = sorted({*"条约已经签署他们在那里等了很久雨下个不停", "条约", "签署", "▁"})
    tokenizer = Tokenizer(
        Unigram([("<unk>", -9.0), *((piece, -1.0 - len(piece) % 2) for piece in pieces)], unk_id=0)
    )
    tokenizer.pre_tokenizer = Metaspace()
    text = "条约已经签署。他们在那里等了很久，雨下个不停。" * 12
    passages = Chunker(tokenizer, size=40, overlap=0).chunk(text)
    assert all(passage.text.endswith("。") for passage in passages)
    assert "".join(passage.text for passage in passages) == text
    clauses = Chunker(tokenizer, size=40, overlap=0).chunk("他们在那里等了很久，雨下个不停，" * 12)
    assert all(passage.text.endswith("，") for passage in clauses)
