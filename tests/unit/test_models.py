"""Cross-encoder and bi-encoder: nothing beside a text or a pair changes a bit of what comes out of it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_models import GRAPH, reseal, save_graph, tiny_bi_encoder, tiny_cross_encoder
from watched_graphs import WatchedGraph

from es_rerank.engine import processor
from es_rerank.engine.pool import Pool
from es_rerank.engine.session import CPU
from es_rerank.errors import ModelError, ModelFolderError, ScoreError
from es_rerank.models import Embedder, Reranker
from es_rerank.models.load import load_reranker
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.local.open_model import open_model
from es_rerank.models.manifest import Quantisation

QUERY = "who signed the treaty"
PASSAGES = [
    "envoys of france and sweden",
    "bread rises for an hour",
    "the treaty was signed in 1648",
    "",
    "no",
    "tides come from the moon",
]

texts = st.text("ab c.", max_size=30)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoder]:
    with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("cross"))) as model:
        yield model


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BiEncoder]:
    with BiEncoder(tiny_bi_encoder(tmp_path_factory.mktemp("bi"))) as model:
        yield model


def test_they_are_what_the_protocols_ask_for(model: CrossEncoder, embedder: BiEncoder) -> None:
    assert isinstance(model, Reranker)
    assert isinstance(embedder, Embedder)
    assert (model.name, embedder.name, embedder.dims) == ("tiny-cross-encoder", "tiny-bi-encoder", 8)


def test_scores_are_complete_finite_and_in_order(model: CrossEncoder) -> None:
    scores = model.score(QUERY, PASSAGES)
    assert scores.scale == "logit"
    assert scores.values.dtype == np.float32
    assert scores.done.all()
    assert not scores.truncated.any()
    assert not scores.cached.any()
    assert len(set(scores.values.tolist())) == len(PASSAGES)


@given(order=st.permutations(range(len(PASSAGES))))
def test_the_order_of_passages_does_not_change_a_score(model: CrossEncoder, order: list[int]) -> None:
    shuffled = model.score(QUERY, [PASSAGES[position] for position in order]).values
    assert shuffled.tobytes() == model.score(QUERY, PASSAGES).values[order].tobytes()


@given(query=texts, passages=st.lists(texts, min_size=1, max_size=6))
def test_batch_mates_do_not_change_a_bit(model: CrossEncoder, query: str, passages: list[str]) -> None:
    together = model.score(query, passages).values
    alone = np.concatenate([model.score(query, [passage]).values for passage in passages])
    assert together.tobytes() == alone.tobytes()


def test_concurrent_calls_get_the_bits_of_a_lone_one(model: CrossEncoder) -> None:
    queries = [f"{QUERY} {number}" for number in range(20)]
    alone = [model.score(query, PASSAGES).values.tobytes() for query in queries]
    with ThreadPoolExecutor(8) as threads:
        assert [
            scores.values.tobytes()
            for scores in threads.map(lambda query: model.score(query, PASSAGES), queries)
        ] == alone


async def test_the_asynchronous_twin_gives_the_same_bits(model: CrossEncoder) -> None:
    expected = model.score(QUERY, PASSAGES).values.tobytes()
    several = await asyncio.gather(*(model.ascore(QUERY, PASSAGES) for _ in range(5)))
    assert {scores.values.tobytes() for scores in several} == {expected}


def test_the_segment_ids_reach_the_graph(model: CrossEncoder) -> None:
    assert model.score("a b", ["c"]).values[0] != model.score("a", ["b c"]).values[0]


def test_no_passages_and_one_passage(model: CrossEncoder) -> None:
    assert len(model.score(QUERY, [])) == 0
    assert model.score(QUERY, ["one"]).done.tolist() == [True]
    assert model.score("", [""]).done.tolist() == [True]


def test_a_passage_of_ten_thousand_words_is_marked_as_truncated(model: CrossEncoder) -> None:
    scores = model.score(QUERY, ["word " * 10_000, "word"])
    assert scores.truncated.tolist() == [True, False]
    assert scores.done.all()


def test_surrogates_and_nul_are_scored(model: CrossEncoder) -> None:
    assert model.score("\ud800", ["a\x00b", "\udfff\ud83d", "\x00"]).done.all()


def test_a_deadline_already_past_scores_nothing(model: CrossEncoder) -> None:
    scores = model.score(QUERY, PASSAGES, deadline=time.monotonic() - 1)
    assert not scores.done.any()
    assert len(scores) == len(PASSAGES)


async def test_a_deadline_already_past_scores_nothing_asynchronously(model: CrossEncoder) -> None:
    assert not (await model.ascore(QUERY, PASSAGES, deadline=time.monotonic() - 1)).done.any()


def test_a_deadline_in_the_middle_keeps_what_is_done(model: CrossEncoder, tmp_path: Path) -> None:
    expected = model.score(QUERY, PASSAGES * 5).values
    graph = open_model(tiny_cross_encoder(tmp_path), "cross-encoder", None, CPU)
    deadline, begun = 0.0, count(1)

    def until_the_deadline() -> None:
        if next(begun) > 4:  # the runs before these are done in time
            time.sleep(max(0.0, deadline - time.monotonic()))

    reads = WatchedGraph(graph.session, before=until_the_deadline)
    with CrossEncoder(tmp_path, graph=graph, reads=reads) as slow:
        deadline = time.monotonic() + 3.0
        scores = slow.score(QUERY, PASSAGES * 5, deadline=deadline)
    assert 0 < scores.done.sum() < len(scores)
    assert (scores.values[scores.done] == expected[scores.done]).all()


async def test_cancelling_a_call_frees_its_work(tmp_path: Path) -> None:
    begun, free = threading.Event(), threading.Event()

    def held() -> None:
        begun.set()
        assert free.wait(timeout=10)

    graph = open_model(tiny_cross_encoder(tmp_path), "cross-encoder", None, CPU)
    with (
        closing(Pool()) as pool,
        CrossEncoder(tmp_path, pool=pool, graph=graph, reads=WatchedGraph(graph.session, held)) as model,
    ):
        call = asyncio.create_task(model.ascore(QUERY, ["passage"] * 500))
        assert await asyncio.to_thread(begun.wait, 10)
        assert pool.waiting > 0
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert pool.waiting == 0
        free.set()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_score_that_is_not_finite_is_an_error(tmp_path: Path, value: str) -> None:
    folder = tiny_cross_encoder(tmp_path)
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "bad"], ["logits"]),
    ]
    nodes.insert(0, helper.make_node("Constant", [], ["axes"], value_ints=[1]))
    save_graph(folder, nodes, {"bad": np.asarray(float(value), dtype=np.float32)}, ("logits", ["batch", 1]))
    with CrossEncoder(reseal(folder)) as model, pytest.raises(ScoreError, match="not a finite number"):
        model.score(QUERY, PASSAGES)


def test_two_labels_are_scored_by_their_difference(tmp_path: Path) -> None:
    graph = open_model(tiny_cross_encoder(tmp_path, labels=2), "cross-encoder", None, CPU)
    reads = WatchedGraph(graph.session)
    with CrossEncoder(tmp_path, graph=graph, reads=reads) as model:
        (score,) = model.score(QUERY, PASSAGES[:1]).values
    ((_, ((first, second),)),) = reads.runs
    assert score == np.float32(float(second) - float(first))


def test_only_second_is_taken_from_the_manifest(tmp_path: Path) -> None:
    folder = tiny_cross_encoder(tmp_path, strategy="only_second", max_length=32)
    graph = open_model(folder, "cross-encoder", None, CPU)
    reads = WatchedGraph(graph.session)
    with CrossEncoder(folder, graph=graph, reads=reads) as model:
        assert model.score("a " * 40, ["b " * 40]).truncated.all()
        (((ids,), _),) = reads.runs
        assert ids.count(model.tokenizer.token_to_id("a")) == 24


def test_a_graph_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = tiny_cross_encoder(tmp_path / "cross")
    (folder / GRAPH).write_bytes((tiny_bi_encoder(tmp_path / "bi") / GRAPH).read_bytes())
    with pytest.raises(ModelFolderError, match="exported without its head"):
        CrossEncoder(reseal(folder))


def test_a_manifest_that_counts_labels_or_dimensions_wrongly_is_refused(tmp_path: Path) -> None:
    folder = tiny_cross_encoder(tmp_path / "cross")
    (folder / GRAPH).write_bytes((tiny_cross_encoder(tmp_path / "two", labels=2) / GRAPH).read_bytes())
    with pytest.raises(ModelFolderError, match="gives 2 logits, its manifest says 1"):
        CrossEncoder(reseal(folder))
    folder = tiny_bi_encoder(tmp_path / "bi", dims=8)
    (folder / GRAPH).write_bytes((tiny_bi_encoder(tmp_path / "five", dims=5) / GRAPH).read_bytes())
    with pytest.raises(ModelFolderError, match="gives 5 dimensions, its manifest says 8"):
        BiEncoder(reseal(folder))


def test_vectors_are_unit_vectors_that_depend_on_their_text_alone(embedder: BiEncoder) -> None:
    vectors = embedder.embed(PASSAGES)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors.tobytes() == np.concatenate([embedder.embed([text]) for text in PASSAGES]).tobytes()


def test_no_texts_give_no_vectors(embedder: BiEncoder) -> None:
    assert embedder.embed([]).shape == (0, 8)


def test_more_texts_than_are_queued_at_once_keep_their_order(embedder: BiEncoder) -> None:
    many = [f"text {number}" for number in range(1200)]
    vectors = embedder.embed(many)
    assert vectors[1100].tobytes() == embedder.embed([many[1100]])[0].tobytes()


def test_prefixes_go_before_queries_only_where_stated(tmp_path: Path) -> None:
    with BiEncoder(tiny_bi_encoder(tmp_path, query_prefix="query: ")) as model:
        as_query, as_passage = model.embed(["moon"], purpose="query"), model.embed(["moon"])
        assert as_query.tobytes() == model.embed(["query: moon"]).tobytes()
        assert as_query.tobytes() != as_passage.tobytes()


def test_a_vector_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    folder = tiny_bi_encoder(tmp_path, dims=1)
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[2]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "axes"], ["column"]),
        helper.make_node("Mul", ["column", "bad"], ["last_hidden_state"]),
    ]
    save_graph(
        folder,
        nodes,
        {"bad": np.asarray(np.nan, dtype=np.float32)},
        ("last_hidden_state", ["batch", "tokens", 1]),
    )
    with BiEncoder(reseal(folder)) as model, pytest.raises(ScoreError, match="not finite"):
        model.embed(["text"])


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    with CrossEncoder(tiny_cross_encoder(tmp_path)) as model:
        pass
    with pytest.raises(ModelError, match="closed"):
        model.score(QUERY, PASSAGES)


def test_importing_the_models_loads_no_native_library() -> None:
    code = (
        "import sys, es_rerank.models.load, es_rerank.export\n"
        "loaded = {'torch', 'transformers', 'optimum', 'onnxruntime', 'tokenizers', 'huggingface_hub'}"
        " & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_bundled_model_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with load_reranker() as bundled:
        scores = bundled.score(QUERY, ["the king signed it", "it rained"])
    assert scores.values[0] > scores.values[1]


def test_exporting_without_the_extra_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from es_rerank.errors import MissingExtraError\n"
        "from es_rerank.export import export_model\n"
        "from es_rerank.extras import install_command\n"
        "try: export_model('somebody/something', Path(sys.argv[1]))\n"
        "except MissingExtraError as error: "
        "assert error.extra == 'export' and install_command('export') in error.message\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("reduced", "exact", "warned"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_weights_of_full_range_are_warned_about_where_they_overflow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reduced: bool,
    exact: bool,
    warned: bool,
) -> None:
    scheme = Quantisation(
        operators=("MatMul",), per_channel=True, reduce_range=reduced, made_for="x86-64 with VNNI, or ARM"
    )
    folder = reseal(
        tiny_cross_encoder(tmp_path), variants={"int8": GRAPH}, default_variant="int8", quantisation=scheme
    )
    monkeypatch.setattr("es_rerank.models.local.open_model.adds_bytes_exactly", lambda: exact)
    CrossEncoder(folder).close()
    assert ("tiny-cross-encoder was quantised for x86-64 with VNNI" in caplog.text) == warned


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "exact"),
    [
        ("aarch64", None, True),
        ("x86_64", "flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("x86_64", "flags\t\t: fpu avx2 avx_vnni\n", True),
        ("x86_64", "model name\t: old\nflags\t\t: fpu avx2 avx512f\n", False),
        ("AMD64", None, False),
    ],
)
def test_what_a_processor_adds_up_exactly_is_read_from_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, cpuinfo: str | None, exact: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo, encoding="ascii")
    processor.adds_bytes_exactly.cache_clear()
    assert processor.adds_bytes_exactly() == exact
    processor.adds_bytes_exactly.cache_clear()
