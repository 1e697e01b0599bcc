"""Decoders: the promises of every reranker, the same scores whether or not the beginning of the prompts is
shared, and instructions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tiny_decoder import MXBAI_LIKE, QWEN3_LIKE, tiny_decoder
from tiny_models import GRAPH, reseal, tiny_cross_encoder

from es_rerank import load_reranker
from es_rerank.engine.past import Past, PastSession
from es_rerank.engine.pool import Pool
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models import LongTextReranker, Reranker
from es_rerank.models.contracts import DecoderContract
from es_rerank.models.load import instruction_for, served_names
from es_rerank.models.local.decoder import Decoder
from es_rerank.models.manifest import read_manifest
from es_rerank.models.wrappers.cached import ScoreCache
from es_rerank.testing.contract import RerankerContract

QUERY = "who signed the treaty?"
PASSAGES = [
    "envoys of france and sweden",
    "bread rises\nfor an hour",
    "",
    "{query} {document}",
    " . ",
    "sweden",
]
CONTRACTS = {"Qwen3": QWEN3_LIKE, "mxbai": MXBAI_LIKE}


@pytest.fixture(scope="module", params=list(CONTRACTS.values()), ids=list(CONTRACTS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_decoder(tmp_path_factory.mktemp("decoder"), contract=request.param)


class TestDecoder(RerankerContract):
    """With a tolerance of zero: no passage beside another changes a bit of its score."""

    @pytest.fixture(
        scope="class",
        params=[
            pytest.param(QWEN3_LIKE, id="Qwen3"),
            pytest.param(MXBAI_LIKE, id="mxbai", marks=pytest.mark.long),
        ],
    )
    @classmethod
    def reranker(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Reranker]:
        with Decoder(tiny_decoder(tmp_path_factory.mktemp("kit"), contract=request.param)) as model:
            yield model

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Iterator[Reranker]:
        tiny_decoder(tmp_path)
        model = onnx.load(tmp_path / GRAPH)
        for node in model.graph.node:
            node.output[:] = ["sane" if name == "logits" else name for name in node.output]
        nothing = [helper.make_node("Sub", ["sane", "sane"], ["nothing"])]
        model.graph.node.extend([*nothing, helper.make_node("Div", ["nothing", "nothing"], ["logits"])])
        onnx.save(model, tmp_path / GRAPH)
        with Decoder(reseal(tmp_path)) as decoder:
            yield decoder


def test_it_is_what_the_protocols_ask_for(folder: Path) -> None:
    with load_reranker(folder) as model:
        assert isinstance(model, Decoder)
        assert isinstance(model, Reranker)
        assert isinstance(model, LongTextReranker)


def test_scores_are_the_same_with_and_without_a_shared_beginning(folder: Path) -> None:
    passages = [*PASSAGES, "the treaty " * 200]
    with Decoder(folder) as sharing, Decoder(folder, shares=False) as apart:
        found, expected = sharing.score(QUERY, passages), apart.score(QUERY, passages)
    assert np.abs(found.values - expected.values).max() < 1e-4
    assert found.truncated.tolist() == expected.truncated.tolist() == [False] * len(PASSAGES) + [True]


def test_the_logit_is_that_of_true_minus_that_of_false_behind_the_prompt(folder: Path) -> None:
    contract = read_manifest(folder).decoder
    assert contract is not None
    session = PastSession(folder / GRAPH)
    with Decoder(folder) as model:
        told = (
            contract.instructed.replace("{instruction}", contract.instruction) if contract.instruction else ""
        )
        theirs = model.tokenizer
        theirs.encode_special_tokens = False  # as transformers reads a prompt
        filled = [
            piece.replace("{instruction}", told).replace("{query}", QUERY).replace("{document}", PASSAGES[0])
            for piece in contract.prompt
        ]
        ids = [token for text in filled for token in theirs.encode(text, add_special_tokens=False).ids]
        theirs.encode_special_tokens = True
        false, true = session.run([ids], [])[0]
        assert model.score(QUERY, PASSAGES[:1]).values[0] == pytest.approx(true - false, abs=1e-4)


def test_the_beginning_is_computed_once_for_a_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    rests: list[int] = []
    begin, go_on = PastSession.begin, PastSession.go_on

    def count_begin(session: PastSession, ids: list[int]) -> Past:
        begun.append(len(ids))
        return begin(session, ids)

    def count_rest(session: PastSession, past: Past, ids: list[list[int]]) -> Any:
        rests.extend(map(len, ids))
        return go_on(session, past, ids)

    with Decoder(folder) as model:
        monkeypatch.setattr(PastSession, "begin", count_begin)
        monkeypatch.setattr(PastSession, "go_on", count_rest)
        model.score(QUERY, PASSAGES * 20)
        assert len(begun) == 1
        assert len(rests) == 20 * len(PASSAGES)
        model.score(QUERY, [])
        assert len(begun) == 1


def test_sequences_of_equal_length_share_a_run_and_no_bit_changes(folder: Path) -> None:
    passages = [f"the {number}" for number in range(10)]  # as long as each other
    with Decoder(folder, threads=1) as model:
        together = model.score(QUERY, passages).values
        alone = [model.score(QUERY, [passage]).values[0] for passage in passages]
    assert together.tobytes() == np.asarray(alone, dtype=np.float32).tobytes()


def test_a_call_that_is_late_behind_the_beginning_has_no_scores_and_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stage has ended, so it is known which passages are truncated; no pair has begun."""
    clock = _Clock()
    begin = PastSession.begin

    def slow(session: PastSession, ids: list[int]) -> Past:
        clock.now += 60.0
        return begin(session, ids)

    pool = Pool(1, clock=clock)
    with Decoder(folder, pool=pool) as model:
        monkeypatch.setattr(PastSession, "begin", slow)
        scores = model.score(QUERY, [*PASSAGES, "the treaty " * 200], deadline=clock.now + 30.0)
        assert not scores.done.any()
        assert scores.truncated.tolist() == [False] * len(PASSAGES) + [True]
        monkeypatch.undo()
        assert model.score(QUERY, PASSAGES).done.all()
    pool.close()


def test_an_error_in_the_beginning_is_the_callers_and_the_model_stays_usable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(session: PastSession, ids: list[int]) -> Past:
        raise RuntimeError("no memory")

    with Decoder(folder) as model:
        with monkeypatch.context() as patched:
            patched.setattr(PastSession, "begin", fails)
            with pytest.raises(RuntimeError, match="no memory"):
                model.score(QUERY, PASSAGES)
        assert model.score(QUERY, PASSAGES).done.all()


def test_calls_with_different_queries_at_once_do_not_disturb_each_other(folder: Path) -> None:
    queries = [f"query {number} " * number for number in range(1, 6)]
    with Decoder(folder, threads=2) as model:
        expected = {query: model.score(query, PASSAGES).values.tobytes() for query in queries}
        found: dict[str, bytes] = {}

        def ask(query: str) -> None:
            found[query] = model.score(query, PASSAGES).values.tobytes()

        threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == expected


def test_a_long_text_is_cut_into_passages_that_fit(folder: Path) -> None:
    text = "the treaty was signed. " * 100
    with Decoder(folder) as model:
        (passages,) = model.cut(QUERY, [("", text)])
        assert len(passages) > 1
        assert not model.score(QUERY, [passage.text for passage in passages]).truncated.any()


def test_the_time_that_is_expected_counts_the_beginning_once(folder: Path) -> None:
    with Decoder(folder, threads=1) as model:
        for _ in range(3):
            model.score(QUERY, PASSAGES)
        one, ten = model.expected_s(QUERY, ["sweden"]), model.expected_s(QUERY, ["sweden"] * 10)
        assert 0 < one < ten < 10 * one


def test_an_instruction_changes_scores_and_what_they_are_remembered_by(folder: Path) -> None:
    cache = ScoreCache(100)
    own = read_manifest(folder).decoder
    assert own is not None
    with (
        load_reranker(folder, cache=cache) as plain,
        load_reranker(folder, cache=cache, instruction="find bread") as told,
        load_reranker(folder, cache=cache, instruction=own.instruction) as same,
    ):
        first = plain.score(QUERY, PASSAGES)
        other = told.score(QUERY, PASSAGES)
        assert not first.cached.any()
        assert not other.cached.any()
        assert (first.values != other.values).any()
        again = same.score(QUERY, PASSAGES)
        assert again.cached.all()
        assert again.values.tobytes() == first.values.tobytes()


def test_a_reranker_that_takes_no_instruction_refuses_it(folder: Path, tmp_path: Path) -> None:
    encoder = str(tiny_cross_encoder(tmp_path / "encoder"))
    for model in (
        encoder,
        "cohere:rerank-v3.5",
        "remote:http://127.0.0.1:9",
        f"cascade:0.5+{encoder}+{encoder}",
    ):
        with pytest.raises(
            SettingsError, match="takes no instruction; leave --instruction and ES_RERANK_INSTR"
        ):
            load_reranker(model, instruction="find bread")
        assert instruction_for(model, "find bread") is None
    with pytest.raises(SettingsError, match="takes no instruction"):
        served_names([encoder, f"other={encoder}"], None, "find bread")
    assert len(served_names([encoder, f"other={folder}"], None, "find bread")) == 2


def test_in_a_cascade_the_decoder_gets_the_instruction(folder: Path, tmp_path: Path) -> None:
    encoder = tiny_cross_encoder(tmp_path / "encoder")
    name = f"cascade:0.9+{encoder}+{folder}"
    with load_reranker(name) as plain, load_reranker(name, instruction="find bread") as told:
        assert plain.name == told.name
        assert (plain.score(QUERY, PASSAGES).values != told.score(QUERY, PASSAGES).values).any()


def _without_head(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["hidden_logits" if name == "logits" else name for name in node.output]
    model.graph.output[0].name = "hidden_logits"


def _without_presents(model: onnx.ModelProto) -> None:
    kept = [output for output in model.graph.output if output.name != "present_1_value"]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _with_open_heads(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "heads"


def _with_a_mask(model: onnx.ModelProto) -> None:
    model.graph.input.append(
        helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, ["a", "b"])
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_without_head, "is not the graph of a decoder with a past"),
        (_without_presents, "asks for past_1_value"),
        (_with_open_heads, "asks for past_0_key as tensor"),
        (_with_a_mask, "asks for attention_mask"),
    ],
)
def test_another_graph_is_refused(tmp_path: Path, change: Any, fault: str) -> None:
    tiny_decoder(tmp_path)
    model = onnx.load(tmp_path / GRAPH)
    change(model)
    onnx.save(model, tmp_path / GRAPH)
    with pytest.raises(ModelFolderError, match=fault):
        Decoder(reseal(tmp_path))


def test_a_cross_encoders_graph_in_a_decoders_folder_is_refused(tmp_path: Path) -> None:
    encoder = tiny_cross_encoder(tmp_path / "encoder")
    decoder = tiny_decoder(tmp_path / "decoder")
    (decoder / GRAPH).write_bytes((encoder / GRAPH).read_bytes())
    with pytest.raises(ModelFolderError, match="es-rerank export"):
        Decoder(reseal(decoder))


def test_a_prompt_without_a_place_for_the_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="once, in this order"):
        DecoderContract(prompt=("{document}",), instruction="", false_token="no", true_token="yes")


class _Clock:
    """A clock that stands still, near that of the machine, because deadlines are moments of that one."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now
