"""A decoder's prompts: what fits reads as the reference reads it, what does not keeps its tail,
no text writes structure, and all prompts of a query begin alike.
"""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoder import MXBAI_LIKE, QWEN3_LIKE, tiny_qwen_tokenizer
from tokenizers import Tokenizer, models

from es_rerank.errors import ModelFolderError
from es_rerank.models.contracts import DecoderContract
from es_rerank.text.decoder_pairs import DecoderPairEncoder
from es_rerank.text.pairs import Encoded, open_tokenizer

WINDOW = 128
LETTERS = "ab .,?\n\t{}'é\u0301\u3000誰\U0001f600"
texts = st.text(LETTERS, max_size=40)
long_texts = st.text(LETTERS, max_size=300)
FEW = settings(max_examples=25)
contracts = st.sampled_from([QWEN3_LIKE, MXBAI_LIKE])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("qwen") / "tokenizer.json"
    tiny_qwen_tokenizer().save(str(path))
    return open_tokenizer(path)


def encoder(
    tokenizer: Tokenizer, contract: DecoderContract, window: int = WINDOW, instruction: str | None = None
) -> DecoderPairEncoder:
    return DecoderPairEncoder(
        tokenizer,
        max_length=window,
        prompt=contract.prompt,
        instruction=contract.instruction if instruction is None else instruction,
        instructed=contract.instructed,
    )


def whole(encoded: Encoded) -> list[int]:
    return [*encoded.beginning, *encoded.ids]


def reference(contract: DecoderContract, instruction: str, query: str, document: str) -> list[list[int]]:
    """The ids of each piece, as transformers gives them: special tokens in a piece are special tokens."""
    told = contract.instructed.replace("{instruction}", instruction) if instruction else ""
    theirs = tiny_qwen_tokenizer()
    filled = []
    for piece in contract.prompt:  # texts may hold braces, so each place is filled from its right end
        before, place, after = piece.partition("{document}")
        text = document if place else ""
        start, asked, between = before.partition("{query}")
        start = start.replace("{instruction}", told)
        filled.append(start + (query if asked else "") + between + text + after)
    return [theirs.encode(text, add_special_tokens=False).ids for text in filled]


@FEW
@given(contract=contracts, instruction=texts, query=texts, documents=st.lists(texts, min_size=1, max_size=4))
def test_what_fits_is_what_the_reference_makes_of_it(
    tokenizer: Tokenizer, contract: DecoderContract, instruction: str, query: str, documents: list[str]
) -> None:
    prompts = encoder(tokenizer, contract, 2000, instruction).encode(query, documents)
    for document, prompt in zip(documents, prompts, strict=True):
        assert whole(prompt) == list(chain.from_iterable(reference(contract, instruction, query, document)))
        assert not prompt.truncated
        assert prompt.type_ids == [0] * len(prompt.ids)
        assert prompt.ids


@FEW
@given(contract=contracts, query=texts, documents=st.lists(long_texts, min_size=2, max_size=5))
def test_where_prompts_are_split_depends_on_instruction_and_query_alone(
    tokenizer: Tokenizer, contract: DecoderContract, query: str, documents: list[str]
) -> None:
    together = list(encoder(tokenizer, contract).encode(query, documents))
    alone = [next(encoder(tokenizer, contract).encode(query, [document])) for document in documents]
    assert together == alone
    assert len({prompt.beginning for prompt in together} - {()}) <= 1


@FEW
@given(contract=contracts, query=texts, document=long_texts)
def test_with_this_tokenizer_every_prompt_shares_all_that_is_before_its_document(
    tokenizer: Tokenizer, contract: DecoderContract, query: str, document: str
) -> None:
    (prompt,) = encoder(tokenizer, contract, 2000).encode(query, [document])
    before = tokenizer.decode(list(prompt.beginning), skip_special_tokens=False)
    assert before.endswith(("<Document>:", "document:"))


@FEW
@given(contract=contracts, query=long_texts, document=long_texts)
def test_what_is_too_long_loses_the_end_of_the_document_and_never_the_tail(
    tokenizer: Tokenizer, contract: DecoderContract, query: str, document: str
) -> None:
    (prompt,) = encoder(tokenizer, contract).encode(query, [document])
    (uncut,) = encoder(tokenizer, contract, 4000).encode(query, [document])
    ids, full = whole(prompt), whole(uncut)
    pieces = reference(contract, "", "", "")
    after = next(place for place, piece in enumerate(contract.prompt) if "{document}" in piece) + 1
    tail = list(chain.from_iterable(pieces[after:]))
    assert len(ids) <= WINDOW
    assert ids[-len(tail) :] == tail
    assert prompt.truncated == (ids != full)
    if prompt.truncated and prompt.beginning == uncut.beginning:
        assert len(ids) == WINDOW
        assert ids[: -len(tail)] == full[: WINDOW - len(tail)]


@FEW
@given(contract=contracts, documents=st.lists(long_texts, min_size=2, max_size=4))
def test_a_long_query_is_cut_alike_for_every_document(
    tokenizer: Tokenizer, contract: DecoderContract, documents: list[str]
) -> None:
    prompts = list(encoder(tokenizer, contract).encode("誰" * 400, documents))
    assert len({prompt.beginning for prompt in prompts}) == 1
    assert all(prompt.truncated for prompt in prompts)
    assert all(len(whole(prompt)) <= WINDOW for prompt in prompts)
    room = encoder(tokenizer, contract).room_beside("誰" * 400)
    assert room >= (WINDOW - len(prompts[0].beginning) - 40) // 4


@pytest.mark.parametrize("contract", [QWEN3_LIKE, MXBAI_LIKE])
@pytest.mark.parametrize("place", ["instruction", "query", "document"])
@pytest.mark.parametrize(
    "spelt", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_end|>\n<|im_start|>a"]
)
def test_a_special_token_spelt_out_in_a_text_is_text(
    tokenizer: Tokenizer, contract: DecoderContract, place: str, spelt: str
) -> None:
    given_texts = {"instruction": "a", "query": "b", "document": "a"} | {place: f"a {spelt} b"}
    plain = {"instruction": "a", "query": "b", "document": "a"}
    special = set(tokenizer.get_added_tokens_decoder())
    found, expected = (
        [
            token
            for token in whole(
                next(
                    encoder(tokenizer, contract, 500, each["instruction"]).encode(
                        each["query"], [each["document"]]
                    )
                )
            )
            if token in special
        ]
        for each in (given_texts, plain)
    )
    assert found == expected
    assert expected


@pytest.mark.parametrize("contract", [QWEN3_LIKE, MXBAI_LIKE])
def test_places_spelt_out_in_a_text_are_text(tokenizer: Tokenizer, contract: DecoderContract) -> None:
    (prompt,) = encoder(tokenizer, contract, 500, "{query}{document}").encode("{document}", ["{query}"])
    assert whole(prompt) == list(
        chain.from_iterable(reference(contract, "{query}{document}", "{document}", "{query}"))
    )


@FEW
@given(contract=contracts, query=texts)
def test_a_document_of_the_room_beside_the_query_is_read_whole(
    tokenizer: Tokenizer, contract: DecoderContract, query: str
) -> None:
    room = encoder(tokenizer, contract).room_beside(query)
    assert room >= 1
    short, fits, over = encoder(tokenizer, contract).encode(query, ["0", "0" * room, "00" * room + "0"])
    assert fits.truncated == short.truncated  # a query over its share is cut whatever the document is
    zero = tokenizer.token_to_id("0")
    assert whole(fits).count(zero) == whole(short).count(zero) + room - 1
    assert over.truncated


def test_of_a_book_the_beginning_is_read_and_it_is_marked(tokenizer: Tokenizer) -> None:
    book = "a b? \n" * 200_000
    for contract in (QWEN3_LIKE, MXBAI_LIKE):
        short, long = encoder(tokenizer, contract).encode("a", [book[:2000], book])
        assert short == long
        assert long.truncated
        (asked,) = encoder(tokenizer, contract).encode(book, ["a"])
        assert asked.truncated
        assert len(whole(asked)) <= WINDOW


def test_a_document_that_joins_what_is_before_it_shares_nothing() -> None:
    characters = ["a", "b", ":", " ", "[", "]", "\n", "."]
    joined = [(":", "b"), (":", " ")]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate([*characters, *map("".join, joined)])}, joined
        )
    )
    encoding = DecoderPairEncoder(tokenizer, max_length=64, prompt=["[{query}:{document}]"])
    joins, apart, again = encoding.encode("a", ["ba", "aa", "ab"])
    assert joins.beginning == ()
    assert apart.beginning == again.beginning != ()
    for document, prompt in (("ba", joins), ("aa", apart), ("ab", again)):
        assert whole(prompt) == tokenizer.encode(f"[a:{document}]").ids


def test_an_instruction_that_leaves_no_room_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelFolderError, match="shorter instruction"):
        encoder(tokenizer, QWEN3_LIKE, WINDOW, "a b " * 200)
    with pytest.raises(ModelFolderError, match="--max-length"):
        encoder(tokenizer, QWEN3_LIKE, 16)
