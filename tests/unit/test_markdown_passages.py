"""Passages of Markdown: the headings above each, what stays whole, and that nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from es_rerank.collection import Document
from es_rerank.text import markdown
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import TITLE_SHARE, CutDocument, cut_document
from es_rerank.text.markdown import blocks_of
from es_rerank.text.watch import TimeUpError, Watch
from ingest_pipelines.mapping import IndexRecipe, content_hash

SIZE = 24
"""Tokens of a passage here: words and signs."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return made


@pytest.fixture(scope="module")
def chunker(tokenizer: Tokenizer) -> Chunker:
    return Chunker(tokenizer, size=SIZE, overlap=4)


def cut(chunker: Chunker, text: str, title: str = "", room: int | None = None) -> CutDocument:
    return cut_document(title, text, chunker, room, format="markdown")


def headings(text: str) -> dict[str, str]:
    """The headings above each word of the blocks that are no heading."""
    return {
        word: " > ".join(block.path)
        for block in blocks_of(text, lambda: None)
        if block.kind != "heading"
        for word in text[block.start : block.end].split()
    }


WORDS = "one two three four five six seven eight nine ten eleven twelve"


@pytest.mark.parametrize(
    ("text", "word", "heading"),
    [
        ("# A\n## B ##\nhere\n", "here", "A > B"),
        ("# A\n## B\n# C\nhere", "here", "C"),
        ("A *b*\n===\nC\n---\nhere", "here", "A b > C"),
        ("# [Guide](http://x) and `code`\n## C\\# {#id}\nhere", "here", "Guide and code > C#"),
        ("A\r\n===\r\n\r\nhere\r\n", "here", "A"),
        ("# A\rhere", "here", "A"),
        ("# A\n```sh\n# B\n```\nhere", "here", "A"),
        ("# A\n~~~\n# B\n\nhere", "here", "A"),
        ("# A\n\n    # B\n\nhere", "here", "A"),
        ("# A\n- item\n\n  # B\n\nhere", "here", "A"),
        ("# A\n> # B\n\nhere", "here", "A"),
        ("# A\n<!--\n# B\n-->\n\nhere", "here", "A"),
        ("---\ntitle: T\n# no\n---\nhere", "here", ""),
        ("---\ntitle: T\n---\n# A\nhere", "here", "A"),
        ("\ufeff---\r\ntitle: T\r\n---\r\n# A\r\nhere", "here", "A"),
        ("---\n\n# A\nhere\n\n---\n", "here", "A"),
        ("#A\n####### B\nhere", "here", ""),
        ("# A\n#\nhere", "here", ""),
        ("### A\n# B\n### C\nhere", "here", "B > C"),
        ("# " + "A" * 1000 + "\nhere", "here", "A" * 200),
        ("# 安装\n## 第一步\n这里", "这里", "安装 > 第一步"),
    ],
)
def test_the_headings_above_a_text_are_those_of_the_document(text: str, word: str, heading: str) -> None:
    assert headings(text)[word] == heading


def test_a_passage_ends_at_a_heading_where_both_sides_are_of_useful_length(chunker: Chunker) -> None:
    made = cut(chunker, f"# A\n{WORDS}\n## B\n{WORDS}\n# C\n{WORDS}")
    assert [(passage.heading, passage.text.split()[1]) for passage in made.passages] == [
        ("A", "A"),
        ("A > B", "B"),
        ("C", "C"),
    ]


def test_short_sections_below_one_heading_share_a_passage(chunker: Chunker) -> None:
    made = cut(chunker, "# A\n## B\none\n## C\ntwo\n# D\nthree\n## E\n" + WORDS)
    assert [passage.heading for passage in made.passages] == ["A", "D"]
    alone = cut(chunker, f"# A\n## B\n### C\n{WORDS}\n")
    assert [(passage.heading, passage.start) for passage in alone.passages] == [("A > B > C", 0)]


@pytest.mark.parametrize(
    "block",
    ["| a | b |\n|---|---|\n| 1 | 2 |\n", "```\none. two. three.\n\nfour. five.\n```\n"],
    ids=["table", "code"],
)
def test_a_block_that_fits_is_in_one_passage(chunker: Chunker, block: str) -> None:
    for before in range(SIZE + 1):
        made = cut(chunker, "# A\n" + " ".join(["word."] * before) + f"\n\n{block}\n{WORDS}\n")
        assert any(block.strip() in passage.text for passage in made.passages), before


def test_the_parts_of_a_long_table_have_its_header_row(chunker: Chunker) -> None:
    rows = [f"| {n} | value of {n} |" for n in range(20)]
    text = "# Prices\n\n| No | Value |\n|----|-------|\n" + "\n".join(rows) + "\n"
    first, *others = cut(chunker, text).passages
    assert first.heading == "Prices"
    assert {passage.heading for passage in others} == {"Prices\n| No | Value |"}
    for passage in (first, *others):
        assert all(line in text.splitlines() for line in passage.text.splitlines()), "cut between rows"


MARKDOWN = st.lists(
    st.sampled_from(
        ["# A\n", "## B\n", "C\n---\n", "one two. three\n", "\n", "```\n", "| a | b |\n", "|---|---|\n",
         "- x\n", "  y\n", "> z\n", "\r\n", "\r", "\t", " ", "    code\n", "<div>\n", "---\n", "a: b\n",
         "e\u0301",         "\u2028", "\x00", "\ufeff", "word " * 40, "|" * 30 + "\n", "中文。" * 9]
    )
    | st.text(max_size=8),
    max_size=40,
).map("".join)  # fmt: skip


def blocks(text: str, piece: int) -> list[tuple[str, str, tuple[str, ...]]]:
    """The headings, tables and code blocks of a text that is parsed in pieces of so many characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markdown, "_PIECE", piece)
        found = blocks_of(text, lambda: None)
    assert "".join(text[block.start : block.end] for block in found) == text
    return [
        (block.kind, text[block.start : block.end], block.path) for block in found if block.kind != "text"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# A\n| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 50 + "\n# B\n| c |\n|---|\n| 3 |\n",
        "# A\n~~~~py\n" + "# no\n```\n\n" * 50 + "~~~~\n# B\nb\n",
        "# A\n" + "text\n\n" * 50 + "B\n===\n" + "more\n" * 9,
        "# A\n- x\n" + "  # no\n\n" * 50 + "\n# B\nb",
        "# A\n<!--\n" + "# no\n" * 50 + "-->\n# B\nb",
        "# A\n    # no\n" * 50,
    ],
)
@pytest.mark.parametrize("piece", [1, 17, 64, 200])
def test_a_text_that_is_parsed_in_pieces_has_the_same_blocks(text: str, piece: int) -> None:
    assert blocks(text, piece) == blocks(text, len(text))


@given(text=MARKDOWN, piece=st.integers(1, 60))
@settings(deadline=None, max_examples=100)
def test_nothing_is_lost_between_pieces(text: str, piece: int) -> None:
    blocks(text, piece)


@given(
    text=MARKDOWN, size=st.integers(1, 40), room=st.none() | st.integers(4, 60), title=st.text(max_size=30)
)
@example(text="# \n", size=1, room=4, title="")
@settings(deadline=None, max_examples=150)
def test_nothing_is_lost_and_each_passage_stands_in_the_text(
    tokenizer: Tokenizer, text: str, size: int, room: int | None, title: str
) -> None:
    chunker = Chunker(tokenizer, size=size, overlap=size // 4)
    made = cut(chunker, text, title, room)
    if not text.strip():
        return
    for passage in made.passages:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert chunker.fits(passage.text, size) or len(passage.text) == 1 or "\u0301" in passage.text
    assert [p.start for p in made.passages] == sorted({p.start for p in made.passages})
    covered = {place for passage in made.passages for place in range(passage.start, passage.end)}
    assert all(sign.isspace() or place in covered for place, sign in enumerate(text))
    if room is not None and not made.passages_cut:
        assert all(chunker.fits(embedded, room) for embedded in made.embedded())


def test_title_and_heading_share_a_quarter_of_the_room(chunker: Chunker) -> None:
    room, share = 40, int(40 * TITLE_SHARE)
    text = "# Install it\n## On the first of many machines\n### Linux\n" + WORDS
    (passage,) = cut(chunker, text, "Guide", room).passages
    for title in ("", "Guide", WORDS):
        made = cut(chunker, text, title, room)
        (embedded,) = made.embedded()
        assert chunker.count(embedded.removesuffix(passage.text)) <= share
        assert embedded.endswith(f"Linux\n{made.passages[0].text}")
        assert made.title_cut == (title == WORDS)
        assert made.passages[0].heading == "Install it > On the first of many machines > Linux", (
            "stored whole"
        )


@pytest.mark.parametrize(
    "text", ["- a\n* b\n" * 2000, "> a\n" + "b\n" * 9000, "|a|\n|-|\n" * 2000, "# a\n" * 4000]
)
def test_the_work_on_a_hostile_text_ends_when_its_caller_has_left(chunker: Chunker, text: str) -> None:
    watch, calls = Watch(), 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 100:
            watch.end()
        watch()

    with pytest.raises(TimeUpError):
        cut_document("", text, chunker, 254, checkpoint, format="markdown")
    assert calls == 100


def test_the_hash_of_a_text_is_what_it_was_and_that_of_markdown_is_another() -> None:
    recipe = IndexRecipe("hash", 8, 160, 32)
    plain = Document("1", "T", "# x", {"a": 1})
    assert content_hash(plain, recipe) == content_hash(plain._replace(format="text"), recipe)
    assert content_hash(plain, recipe) == "c35d9b6e2537ed2e58d77a6e7cb15a41d1dea27c00026b3596f93c5f6683bc50"
    assert content_hash(plain._replace(format="markdown"), recipe) != content_hash(plain, recipe)
