"""Which chunks are nearest to a query: BM25 over the chunks of one document."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from es_rerank.text.nearest import nearest
from es_rerank.types import Passage


def passages(*wordings: str) -> list[Passage]:
    return [Passage(text, 10 * number, 10 * number + 5) for number, text in enumerate(wordings)]


def test_bm25_weighs_rarity_repetition_and_length() -> None:
    # Four passages of 4, 2, 4 and 6 words (mean 4). idf: king (in three) ln(1 + 1.5 / 3.5) = 0.357, treaty
    # (in one) ln(1 + 3.5 / 1.5) = 1.204.
    rows = passages("king king king rain", "king moon", "treaty sun moon rain", "king sun moon rain dog cat")
    # king alone: 3 / (3 + 1.2) = 0.714, 1 / (1 + 0.75) = 0.571, none, 1 / (1 + 1.65) = 0.377 of 0.357.
    assert [nearest(rows, "king", size) for size in (1, 2, 3)] == [
        [rows[0]],
        rows[:2],
        [rows[0], rows[1], rows[3]],
    ]
    # treaty: 1.204 / 2.2 = 0.547, more than three times king: 0.255.
    assert nearest(rows, "the King's treaty, king", 1) == [rows[2]]
    assert nearest(rows, "king treaty", 2) == [rows[0], rows[2]]


def test_a_repeated_word_of_the_query_counts_as_often() -> None:
    rows = passages("king sun moon", "treaty sun rain", "treaty moon rain")
    # idf of king 0.981, of treaty 0.470.
    assert nearest(rows, "king treaty", 1) == [rows[0]]
    assert nearest(rows, "king treaty treaty treaty", 1) == [rows[1]]


def test_equally_near_passages_keep_the_earlier_ones_and_document_order() -> None:
    rows = passages("moon dog", "dog treaty", "treaty sun", "king treaty", "sun moon")
    assert nearest(rows, "treaty", 2) == [rows[1], rows[2]]
    assert nearest(rows, "nothing of it", 3) == rows[:3]
    # Three words each, in another order: equal to the last bit.
    shuffled = passages("x y z", "a b c", "c b a", "b c a", "z y x")
    assert nearest(shuffled, "c a b", 2) == [shuffled[1], shuffled[2]]


def test_few_passages_are_all_near() -> None:
    rows = passages("moon", "treaty")
    assert nearest(rows, "treaty", 2) == nearest(rows, "treaty", 9) == rows
    assert nearest([], "treaty", 1) == []
    assert nearest(passages("!!!", "😀", "…"), "treaty", 1) == passages("!!!")


LEXICON = ["king", "queen", "treaty", "moon", "dog", "river", "stone"]
WORDINGS = st.lists(
    st.lists(st.sampled_from(LEXICON), min_size=1, max_size=9).map(" ".join), min_size=2, max_size=8
)


def place(rows: list[Passage], query: str, number: int) -> int:
    """How many passages are nearer than this one."""
    return next(size for size in range(1, len(rows) + 1) if rows[number] in nearest(rows, query, size)) - 1


@given(wordings=WORDINGS, word=st.sampled_from(LEXICON), times=st.integers(1, 4), data=st.data())
def test_more_of_the_querys_word_never_makes_a_passage_less_near(
    wordings: list[str], word: str, times: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(wordings) - 1))
    more = [text + f" {word}" * times if i == number else text for i, text in enumerate(wordings)]
    assert place(passages(*more), word, number) <= place(passages(*wordings), word, number)


@given(
    wordings=WORDINGS,
    query=st.lists(st.sampled_from([*LEXICON, "archive", "paper"]), min_size=1, max_size=5).map(" ".join),
    data=st.data(),
)
def test_a_passage_without_the_querys_words_is_no_less_near_with_them(
    wordings: list[str], query: str, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(wordings) - 1))
    wordings[number] = "rain night"
    before = place(passages(*wordings), query, number)
    wordings[number] = f"rain night {query}"
    assert place(passages(*wordings), query, number) <= before
