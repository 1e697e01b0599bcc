"""A title before each passage: it takes a bounded share of what the embedder reads, and cuts no passage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_bi_encoder
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from es_rerank import load_embedder
from es_rerank.collection import Document, DocumentFormat
from es_rerank.engine.pool import Pool, Rate
from es_rerank.errors import OverloadError
from es_rerank.models import Vectors, room_of
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.sidecar.service import Service
from es_rerank.testing import HashEmbedder, WordOverlapReranker
from es_rerank.text.chunking import Chunker
from es_rerank.text.documents import TITLE_SHARE, CutDocument, cut_document
from ingest_pipelines.stages import IngestBatch, as_sources, embed
from ingest_pipelines.stages import cut as cut_batch

TEXT = " ".join(f"Sentence number {n} tells of the treaty and of the king who signed it." for n in range(60))


def a_title(tokens: int) -> str:
    """A title of so many tokens of the bundled embedder, whose vocabulary holds these words whole."""
    words = ("peace", "war", "king", "city", "river")
    return " ".join(words[n % len(words)] for n in range(tokens))


@pytest.fixture(scope="module")
def embedder() -> Iterator[BiEncoder]:
    with load_embedder() as model:
        assert isinstance(model, BiEncoder)
        yield model


def cut(embedder: BiEncoder, title: str, text: str = TEXT, size: int = 160) -> CutDocument:
    chunker = Chunker(embedder.tokenizer, size=size, overlap=min(32, size // 2))
    return cut_document(title, text, chunker, room_of(embedder))


def tokens(embedder: BiEncoder, text: str) -> int:
    return len(embedder.tokenizer.encode(text, add_special_tokens=False).ids)


def test_a_title_longer_than_the_input_leaves_each_passage_its_own_vector(embedder: BiEncoder) -> None:
    document = cut(embedder, a_title(450))
    assert len(document.passages) > 5
    vectors = embedder.embed(document.embedded())
    likeness = vectors @ vectors.T - np.eye(len(vectors))
    assert likeness.max() < 0.999
    assert document.title_cut


@pytest.mark.parametrize("length", [0, 1, 30, 63, 64, 94, 95, 450])
@pytest.mark.parametrize("size", [8, 160, 250, 4000])
def test_no_title_cuts_a_passage(embedder: BiEncoder, length: int, size: int) -> None:
    assert embedder.room == 254
    title = a_title(length)
    assert tokens(embedder, title) == length
    document = cut(embedder, title, size=size)
    assert document.passages_cut == 0
    assert max(tokens(embedder, text) for text in document.embedded()) <= embedder.room
    assert document.title_cut == (length > embedder.room * TITLE_SHARE)
    assert tokens(embedder, document.title) == min(length, int(embedder.room * TITLE_SHARE))
    assert all(TEXT[start:end] == text for text, start, end, _ in document.passages)
    covered = {place for _, start, end, _ in document.passages for place in range(start, end)}
    assert all(sign == " " or place in covered for place, sign in enumerate(TEXT))


def test_a_title_within_its_share_changes_no_passage(embedder: BiEncoder) -> None:
    assert cut(embedder, a_title(63)).passages == cut(embedder, "").passages


def test_a_long_title_without_text_is_read_whole(embedder: BiEncoder) -> None:
    title = a_title(450)
    document = cut(embedder, title, " ")
    assert (document.title, document.title_cut, document.passages_cut) == ("", False, 0)
    assert {(start, end) for _, start, end, _ in document.passages} == {(0, 0)}
    assert max(tokens(embedder, text) for text in document.embedded()) <= embedder.room
    words = [word for passage in document.passages for word in passage.text.split()]
    assert words[0] == title.split()[0]
    assert words[-5:] == title.split()[-5:]
    assert len(words) >= 450


def test_a_character_that_no_passage_can_hold_is_counted() -> None:
    """Twenty marks over one letter are one character of 41 bytes, which is never cut."""
    alphabet = {token: number for number, token in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(alphabet, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    document = cut_document("T", "one e" + "\u0301" * 20 + " two", Chunker(tokenizer, size=8, overlap=0), 12)
    assert [text for text, _, _, _ in document.passages] == ["one", "e" + "\u0301" * 20, "two"]
    assert document.passages_cut == 1


@settings(max_examples=60)
@given(
    title=st.text("ab .。中文\n", max_size=80),
    text=st.text("ab .。中文\n\u0301", max_size=300),
    size=st.integers(1, 40),
)
def test_every_passage_is_read_to_its_end(model: BiEncoder, title: str, text: str, size: int) -> None:
    chunker = Chunker(model.tokenizer, size=size, overlap=size // 4)
    document = cut_document(title, text, chunker, room_of(model))
    long = [piece for piece in document.embedded() if tokens(model, piece) > model.room]
    assert len(long) == document.passages_cut
    assert all(text[start:end] == piece for piece, start, end, _ in document.passages if end)
    covered = {place for _, start, end, _ in document.passages for place in range(start, end)}
    if text.strip():
        assert all(sign.isspace() or place in covered for place, sign in enumerate(text))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BiEncoder]:
    folder: Path = tiny_bi_encoder(tmp_path_factory.mktemp("embedder"), max_length=24)
    with BiEncoder(folder) as model:
        yield model


def test_an_embedder_that_does_not_say_how_much_it_reads_gets_the_title_whole() -> None:
    assert room_of(HashEmbedder()) is None


def test_the_prefix_of_passages_takes_its_part(tmp_path: Path) -> None:
    with (
        BiEncoder(tiny_bi_encoder(tmp_path / "plain")) as plain,
        BiEncoder(tiny_bi_encoder(tmp_path / "prefixed", passage_prefix="passage: ")) as prefixed,
    ):
        assert prefixed.room == plain.room - tokens(plain, "passage: ")


async def test_the_processor_of_the_plugin_cuts_as_the_ingest_does(model: BiEncoder) -> None:
    """It asks the sidecar for passages and vectors."""
    signed = "The peace was signed in the city by the river. "
    texts: dict[DocumentFormat, list[str]] = {
        "text": [signed * 4, "# no heading " + signed, "", "和平条约在河边的城市签署。" * 9, signed * 90],
        "markdown": [
            f"# War\n{signed * 4}\n## Peace\n| a | b |\n|---|---|\n" + "| river | city |\n" * 9,
            f"```\n{signed}\n```\n",
            "",
            "# 和平\n条约在河边的城市签署。",
            f"{signed * 9}\n# War\n" * 9,
        ],
    }
    documents = [
        Document(f"{kind} {len(title)} {number}", title, text, {}, kind)
        for kind, some in texts.items()
        for number, text in enumerate(some)
        for title in ("", a_title(60))
    ]
    models = {"word-overlap": WordOverlapReranker()}, model
    async with app_client(
        Service(AsyncElasticsearch("http://127.0.0.1:9", max_retries=0), lambda: models)
    ) as caller:
        body = {"documents": [{"title": d.title, "text": d.text, "format": d.format} for d in documents]}
        answer = await caller.post("/_rerank/v1/passages", json=body)
    batch = IngestBatch({document.id: document for document in documents})
    batch.hashes = dict.fromkeys(batch.documents, "")
    made = embed(cut_batch(batch, Chunker(model.tokenizer), model.room), model)
    assert made is not None
    as_sources(made, lambda vector: vector.tolist(), "now")
    ours = [batch.sources[name]["passages"] for name in batch.documents]
    assert answer.json()["documents"] == ours
    assert sum("heading" in passage for passages in ours for passage in passages) > 9
    assert not any(
        "heading" in passage for passages in ours[: 2 * len(texts["text"])] for passage in passages
    )


async def test_documents_whose_embedding_would_be_late_are_not_cut(tmp_path: Path) -> None:
    """Cutting and embedding are admitted as one."""
    pool, begun = Pool(1), list[str]()
    started, release = Event(), Event()
    with BiEncoder(tiny_bi_encoder(tmp_path / "model"), pool=pool) as model:
        vars(model)["_runs"].rate.learn(1.0, 100.0)  # seconds for each token

        def made(text: str) -> tuple[str, list[str]]:
            begun.append(text)
            return text, [text]

        async def ask(within_s: float) -> Vectors:
            options: Any = {"length": len, "rate": Rate(), "expected": ["peace " * 9]}
            deadline = time.monotonic() + within_s
            found, vectors = await model.aembed_made(["peace"], made, deadline=deadline, **options)
            assert found == ["peace"]
            return vectors

        def wait(_: int) -> None:
            started.set()
            release.wait()

        running = asyncio.create_task(pool.arun(wait, [0], length=lambda _: 1))
        await asyncio.to_thread(started.wait)
        with pytest.raises(OverloadError):
            await ask(60.0)
        assert begun == []
        release.set()
        await running
        assert np.array_equal(await ask(1e6), model.embed(["peace"]))
    pool.close()
