"""Prompts: what fits reads as Hugging Face reads it, what does not keeps its tail,
and no text writes structure.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_t5_tokenizer
from tokenizers import Tokenizer

from es_rerank.errors import ModelFolderError
from es_rerank.text.pairs import Encoded, open_tokenizer
from es_rerank.text.prompted_pairs import MONOT5_PROMPT, PromptEncoder, PromptTruncation

EOS = 1
WINDOW = 96
PROMPT = len(["▁Query", ":", "▁Document", ":", "▁Relevant", ":", "</s>"])
"""Tokens of the prompt itself; in this vocabulary the space before a letter is a token of its own,
which counts to the text.
"""

texts = st.text("ab .c{}éﬁ\u0301\u3000誰</s>", max_size=150)  # with what the normaliser joins and takes apart
policies: st.SearchStrategy[PromptTruncation] = st.sampled_from(["document", "prompt"])


def written() -> Tokenizer:
    """The tokenizer as Hugging Face calls it: special tokens around the text, none of them cut."""
    return tiny_t5_tokenizer()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("t5") / "tokenizer.json"
    tiny_t5_tokenizer().save(str(path))
    return open_tokenizer(path)


def encoder(
    tokenizer: Tokenizer, truncation: PromptTruncation = "document", window: int = WINDOW
) -> PromptEncoder:
    return PromptEncoder(tokenizer, max_length=window, truncation=truncation)


def one(
    tokenizer: Tokenizer,
    query: str,
    document: str,
    truncation: PromptTruncation = "document",
    window: int = WINDOW,
) -> Encoded:
    (pair,) = encoder(tokenizer, truncation, window).encode(query, [document])
    return pair


def tokens(tokenizer: Tokenizer, pair: Encoded) -> list[str]:
    return [tokenizer.id_to_token(number) for number in pair.ids]


@given(query=st.text("ab{} 誰", max_size=20), document=st.text("ab. {}誰", max_size=25), truncation=policies)
def test_what_fits_is_what_the_tokenizer_makes_of_the_formatted_prompt(
    tokenizer: Tokenizer, query: str, document: str, truncation: PromptTruncation
) -> None:
    pair = one(tokenizer, query, document, truncation)
    assert pair.ids == written().encode("Query: " + query + " Document: " + document + " Relevant:").ids
    assert pair.type_ids == [0] * len(pair.ids)
    assert not pair.truncated


@given(query=texts, document=texts)
def test_both_rules_agree_on_what_fits_and_only_on_that(
    tokenizer: Tokenizer, query: str, document: str
) -> None:
    kept, cut = one(tokenizer, query, document, "document"), one(tokenizer, query, document, "prompt")
    assert kept.truncated == cut.truncated
    assert len(kept.ids) <= WINDOW
    assert len(cut.ids) <= WINDOW
    if not kept.truncated:
        assert kept == cut


@given(query=texts, document=texts)
def test_the_tail_survives_every_cut(tokenizer: Tokenizer, query: str, document: str) -> None:
    assert tokens(tokenizer, one(tokenizer, query, document))[-3:] == ["▁Relevant", ":", "</s>"]


@given(query=st.text("ab{} 誰", max_size=100), document=st.text("ab. {}誰", max_size=100))
def test_the_rule_prompt_cuts_as_a_tokenizer_that_truncates_does(
    tokenizer: Tokenizer, query: str, document: str
) -> None:
    theirs = written()
    theirs.enable_truncation(WINDOW)
    assert (
        one(tokenizer, query, document, "prompt").ids
        == theirs.encode("Query: " + query + " Document: " + document + " Relevant:").ids
    )


def test_a_long_document_loses_its_end_alone(tokenizer: Tokenizer) -> None:
    pair = one(tokenizer, "a b", "c d " * 100 + "e")
    assert pair.truncated
    assert len(pair.ids) == WINDOW
    whole = one(tokenizer, "a b", "c d " * 100 + "e", window=1000)
    assert not whole.truncated
    assert pair.ids[:-3] == whole.ids[: WINDOW - 3]


def test_a_long_query_leaves_a_quarter_of_the_room_to_the_document(tokenizer: Tokenizer) -> None:
    pair = one(tokenizer, "q" * 500, "d" * 500)
    room = WINDOW - PROMPT
    found = tokens(tokenizer, pair)
    assert (1 + found.count("q"), 1 + found.count("d")) == (room * 3 // 4, room - room * 3 // 4)
    assert len(found) == WINDOW


def test_a_long_query_gives_way_only_as_far_as_the_document_needs(tokenizer: Tokenizer) -> None:
    found = tokens(tokenizer, one(tokenizer, "q" * 500, "ddd"))
    assert found.count("d") == 3
    assert len(found) == WINDOW


@given(query=texts)
def test_a_document_of_the_room_beside_the_query_is_read_whole(tokenizer: Tokenizer, query: str) -> None:
    room = encoder(tokenizer).room_beside(query)
    assert room >= 1
    found = tokens(tokenizer, one(tokenizer, query, "d" * (2 * WINDOW)))
    assert 1 + found.count("d") == room
    assert encoder(tokenizer, "prompt").room_beside(query) >= 1


def test_the_room_of_the_rule_prompt_holds_the_tail_too(tokenizer: Tokenizer) -> None:
    room = encoder(tokenizer, "prompt").room_beside("a b")
    assert not one(tokenizer, "a b", "d" * (room - 1), "prompt").truncated
    assert one(tokenizer, "a b", "d" * room, "prompt").truncated


def test_braces_in_a_query_are_text(tokenizer: Tokenizer) -> None:
    found = tokens(tokenizer, one(tokenizer, "{document} {0} {", "}{query}"))
    assert found.count("▁Document") == 1
    assert "".join(found).replace(
        "▁", " "
    ) == "Query: {document} {0} { Document: }{query} Relevant:</s>".replace("Query", " Query")


@pytest.mark.parametrize("spelt", ["</s>", "<pad>", "<extra_id_0>", "\uff1c/s\uff1e", "<\uff0fs>", "<unk>"])
def test_a_special_token_spelt_out_is_never_structure(tokenizer: Tokenizer, spelt: str) -> None:
    special = {
        number for number, token in tokenizer.get_added_tokens_decoder().items() if token.content != "<unk>"
    }
    for query, document in ((spelt, "a"), ("a", f"b {spelt} c"), (spelt, spelt * 60)):
        for pair in (one(tokenizer, query, document, "document"), one(tokenizer, query, document, "prompt")):
            assert pair.ids.index(EOS) == len(pair.ids) - 1
            assert special.isdisjoint(pair.ids[:-1])


def test_an_unknown_character_is_read_as_unknown(tokenizer: Tokenizer) -> None:
    assert "<unk>" in tokens(tokenizer, one(tokenizer, "誰", "a"))


def test_half_a_surrogate_pair_is_read(tokenizer: Tokenizer) -> None:
    halves = one(tokenizer, "\ud800 a", "b \udfff")
    assert halves == one(tokenizer, "\ufffd a", "b \ufffd")
    assert one(tokenizer, "a\ud83d", "\ude00b") == one(
        tokenizer, "a\ufffd", "\ufffdb"
    )  # halves of two texts are not one character


def test_a_prompt_of_ones_own(tokenizer: Tokenizer) -> None:
    own = PromptEncoder(tokenizer, max_length=WINDOW, prompt="{query}|{document}")
    (pair,) = own.encode("ab", ["c" * 200])
    assert "".join(tokens(tokenizer, pair)) == "▁ab|" + "c" * (WINDOW - 5) + "</s>"


@pytest.mark.parametrize("prompt", ["Query: {query}", "Document: {document}", "{document} {query}"])
def test_a_prompt_without_its_places_is_refused(tokenizer: Tokenizer, prompt: str) -> None:
    with pytest.raises(ModelFolderError, match="after it"):
        PromptEncoder(tokenizer, max_length=WINDOW, prompt=prompt)


def test_a_window_that_the_prompt_fills_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelFolderError, match="leaves 7 for query and document"):
        encoder(tokenizer, window=PROMPT + 7)
    with pytest.raises(ModelFolderError, match="leaves 0"):
        encoder(tokenizer, window=4)


@given(query=texts, document=texts)
def test_the_smallest_window_holds_something_of_both(tokenizer: Tokenizer, query: str, document: str) -> None:
    pair = one(tokenizer, "q" + query, "d" + document, window=PROMPT + 8)
    assert len(pair.ids) <= PROMPT + 8
    assert {"q", "d"} <= set(tokens(tokenizer, pair))


def test_the_prompt_is_that_of_the_paper() -> None:
    assert MONOT5_PROMPT == "Query: {query} Document: {document} Relevant:"


def test_documents_are_encoded_as_they_are_asked_for(tokenizer: Tokenizer) -> None:
    documents = iter(["a", "b", "c"])
    next(encoder(tokenizer).encode("q", documents))
    assert list(documents) == ["b", "c"]
