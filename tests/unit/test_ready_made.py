"""Import of ready-made ONNX graphs from a folder: what is taken, what is checked, and what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from ready_made import CONFIG, encoder_repository, quantise, repository, with_external_data
from tiny_models import GRAPH, broken_cross_encoder, reseal, tiny_cross_encoder, tiny_tokenizer
from typer.testing import CliRunner

from es_rerank import load_reranker
from es_rerank.cli.app import app
from es_rerank.engine.processor import adds_bytes_exactly
from es_rerank.errors import EsRerankError, ModelFolderError, SettingsError
from es_rerank.export.passes import run_passes
from es_rerank.models.load import load_embedder
from es_rerank.models.manifest import MANIFEST, TOKENIZER, Manifest, read_manifest
from es_rerank.models.ready_made import ImportOptions
from es_rerank.models.ready_made.importing import import_model
from es_rerank.models.ready_made.sense import QUESTIONS
from es_rerank.settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from es_rerank.testing.contract import RerankerContract

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HEAVY = ("torch", "onnx", "transformers", "optimum", "sentence_transformers")
QUERY, PASSAGES = "who built it", ["a keeper built the light", "bread and salt", "who"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an fp32 graph and several int8 ones."""
    folder = encoder_repository(tmp_path_factory.mktemp("encoder") / "repo")
    quantise(folder, "onnx/model_quantized.onnx", reduced=True)
    quantise(folder, "onnx/model_qint8_avx512_vnni.onnx")
    quantise(folder, "onnx/model_quint8_avx2.onnx", unsigned=True)
    for name in ("model_fp16", "model_q4", "model_bnb4", "model_O4"):
        (folder / f"onnx/{name}.onnx").write_bytes(b"not read")
    return folder


def imported(model: Path, out: Path, **options: Any) -> tuple[Manifest, list[str]]:
    """Import and return the manifest, and what was said."""
    said: list[str] = []
    return import_model(str(model), out, ImportOptions(**options), say=said.append), said


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def change_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(folder / "onnx/model.onnx")
    change(model)
    onnx.save(model, folder / "onnx/model.onnx")


def logits(folder: Path, **options: Any) -> list[float]:
    with load_reranker(folder, **options) as model:
        return [float(value) for value in model.score(QUERY, PASSAGES).values]


# --- what is taken and written ------------------------------------------------------------------------------


def test_a_folder_becomes_a_model_folder_with_the_same_scores(tmp_path: Path) -> None:
    source = repository(tmp_path / "with a space/repo")
    manifest, said = imported(source, tmp_path / "out")
    assert read_manifest(tmp_path / "out") == manifest
    assert (manifest.name, manifest.source, manifest.licence) == ("out", "repo", "apache-2.0")
    assert (manifest.kind, manifest.family, manifest.max_length) == ("cross-encoder", "bert", 128)
    assert manifest.parity is None
    assert manifest.imported is not None
    assert manifest.imported.graphs == {"fp32": "onnx/model.onnx"}
    assert sorted(manifest.files) == ["model.onnx", TOKENIZER]
    assert any("without" in line or "left out" in line for line in said)
    assert logits(tmp_path / "out") == logits(tiny_cross_encoder(tmp_path / "exported"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported", "out", "with a space"]


def test_all_of_it_needs_neither_torch_nor_onnx_nor_transformers(tmp_path: Path) -> None:
    repository(tmp_path / "repo")
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from es_rerank.cli.app import main
from es_rerank import load_reranker
for arguments in (["import", "repo", "out"],):
    sys.argv = ["es-rerank", *arguments]
    try:
        main()
    except SystemExit as done:
        assert not done.code, done.code
with load_reranker("out") as out, load_reranker("repo") as repo:
    assert out.score("a", ["b", "c"]).values.tolist() == repo.score("a", ["b", "c"]).values.tolist()
assert not set({HEAVY}) & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert "the graph passes were left out" in done.stderr
    assert "out (cross-encoder, bert, 128 tokens)" in done.stdout


def test_int8_is_taken_as_it_is_for_this_processor(encoder: Path, tmp_path: Path) -> None:
    manifest, said = imported(encoder, tmp_path / "out")
    best = "model_qint8_avx512_vnni" if adds_bytes_exactly() else "model_quint8_avx2"
    assert manifest.imported is not None
    assert manifest.imported.graphs["int8"] in {f"onnx/{best}.onnx", "onnx/model_quantized.onnx"}
    copied = encoder / manifest.imported.graphs["int8"]
    assert (tmp_path / "out/model_int8.onnx").read_bytes() == copied.read_bytes()
    assert manifest.imported.int8_beside_fp32 is not None
    assert manifest.imported.int8_beside_fp32.agreement > 0.5
    assert not manifest.by_row("int8")
    assert manifest.by_row("fp32")
    (left,) = [line for line in said if "16 and 4 bits" in line]
    assert all(f"onnx/{name}.onnx" in left for name in ("model_fp16", "model_q4", "model_bnb4", "model_O4"))
    assert any("of 3 files, because this processor" in line for line in said)


@pytest.mark.parametrize(
    ("name", "may_overflow", "made_for"),
    [
        ("model_quantized", False, "any x86-64"),
        ("model_qint8_avx512_vnni", True, "x86-64 with VNNI"),
        ("model_quint8_avx2", False, "any x86-64"),
    ],
)
def test_what_is_known_of_int8_is_read_from_the_file(
    encoder: Path, tmp_path: Path, name: str, may_overflow: bool, made_for: str
) -> None:
    manifest, _ = imported(encoder, tmp_path / "out", graph=f"onnx/{name}.onnx")
    assert list(manifest.variants) == ["int8"]
    assert manifest.quantisation is not None
    assert manifest.quantisation.may_overflow is may_overflow
    assert manifest.quantisation.made_for.startswith(made_for)
    assert manifest.quantisation.scheme.endswith("dynamic activations")
    assert manifest.quantisation.per_channel


def test_a_score_of_a_dynamic_graph_depends_on_its_pair_alone(encoder: Path, tmp_path: Path) -> None:
    imported(encoder, tmp_path / "out", only="int8")
    with load_reranker(tmp_path / "out") as model:
        together = model.score(QUERY, ["abc", "xyz", "000"]).values
        alone = [model.score(QUERY, [passage]).values[0] for passage in ("abc", "xyz", "000")]
    assert together.tolist() == alone


def test_graph_passes_run_where_they_hold(encoder: Path, tmp_path: Path) -> None:
    plain, _ = imported(encoder, tmp_path / "plain", only="fp32")
    fast = import_model(str(encoder), tmp_path / "fast", ImportOptions(only="fp32"), rewrite=run_passes)
    assert (plain.passes, fast.passes) == ((), ("attention", "first_row"))
    assert np.allclose(logits(tmp_path / "plain"), logits(tmp_path / "fast"), atol=1e-5)


def test_a_pass_that_fails_leaves_the_graph_as_it_was(encoder: Path, tmp_path: Path) -> None:
    def fails(graph: Path, *_: object) -> Any:
        graph.write_bytes(b"half")
        raise ValueError("of another producer")

    said: list[str] = []
    options = ImportOptions(only="fp32")
    assert import_model(str(encoder), tmp_path / "out", options, rewrite=fails, say=said.append).passes == ()
    assert (tmp_path / "out/model.onnx").read_bytes() == (encoder / "onnx/model.onnx").read_bytes()
    assert any("do not fit this graph" in line for line in said)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "model.onnx", TOKENIZER]


def test_weights_in_a_file_of_their_own_come_along(tmp_path: Path) -> None:
    source = with_external_data(repository(tmp_path / "repo"))
    manifest, _ = imported(source, tmp_path / "out")
    assert sorted(manifest.files) == ["model.onnx", "model.onnx_data", TOKENIZER]
    assert logits(tmp_path / "out") == logits(tiny_cross_encoder(tmp_path / "exported"))
    (source / "onnx/model.onnx_data").unlink()
    with pytest.raises(ModelFolderError, match=r"model\.onnx_data is missing"):
        imported(source, tmp_path / "other")


def test_a_graph_at_the_root_and_a_tokenizer_beside_the_graph_are_found(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", graph="model.onnx")
    assert imported(source, tmp_path / "out")[0].imported.graphs == {"fp32": "model.onnx"}  # type: ignore[union-attr]
    other = repository(tmp_path / "other")
    for name in (TOKENIZER, "config.json"):
        (other / name).rename(other / "onnx" / name)
    assert imported(other, tmp_path / "out2")[0].max_length == 128


def test_a_link_to_a_blob_is_followed(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    (tmp_path / "blob").write_bytes((source / "onnx/model.onnx").read_bytes())
    (source / "onnx/model.onnx").unlink()
    (source / "onnx/model.onnx").symlink_to(tmp_path / "blob")
    imported(source, tmp_path / "out")
    assert not (tmp_path / "out/model.onnx").is_symlink()


def test_inputs_of_32_bits_are_given(tmp_path: Path) -> None:
    def to_int32(model: onnx.ModelProto) -> None:
        for given in model.graph.input:
            given.type.tensor_type.elem_type = TensorProto.INT32

    source = repository(tmp_path / "repo")
    change_graph(source, to_int32)
    imported(source, tmp_path / "out")
    assert logits(tmp_path / "out") == logits(tiny_cross_encoder(tmp_path / "exported"))


def test_truncation_and_padding_of_the_file_are_switched_off(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(source / TOKENIZER))
    imported(source, tmp_path / "out")
    written = json.loads((tmp_path / "out" / TOKENIZER).read_text(encoding="utf-8"))
    assert (written["truncation"], written["padding"]) == (None, None)


def test_an_architecture_that_nobody_listed_is_imported(tmp_path: Path) -> None:
    """Its code lies in the graph; nothing of the repository is run."""
    source = repository(
        tmp_path / "repo",
        config={"architectures": ["JinaBertForSequenceClassification"], "auto_map": {"AutoModel": "x.py"}},
    )
    assert imported(source, tmp_path / "out")[0].family == "unlisted"


def test_a_bi_encoder_states_its_pooling_and_its_prefixes(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", "bi-encoder")
    manifest, said = imported(source, tmp_path / "out", query_prefix="query: ")
    assert manifest.bi_encoder is not None
    assert (manifest.bi_encoder.dims, manifest.bi_encoder.pooling) == (8, "mean")
    assert manifest.bi_encoder.query_prefix == "query: "
    assert any("states how its vectors are pooled" in line for line in said)
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    stated, said = imported(source, tmp_path / "cls")
    assert stated.bi_encoder is not None
    assert stated.bi_encoder.pooling == "cls"
    assert not any("pooled" in line for line in said)
    with load_embedder(tmp_path / "cls") as embedder:
        assert embedder.embed(["a"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("card", "files", "licence"),
    [
        ("---\nlicense: mit\n---\n", {}, "mit"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", {}, "mit, apache-2.0"),
        ("---\nlicense: other\nlicense_name: bespoke  # ours\n---\n", {}, "other (bespoke)"),
        ("license: mit\n", {}, "not stated"),
        ("---\nlicense: mit\n", {}, "not stated"),
        ("", {"LICENSE": "   Apache License\n Version 2.0"}, "apache-2.0"),
        ("", {}, "not stated"),
    ],
)
def test_the_licence_is_the_one_that_the_files_state(
    tmp_path: Path, card: str, files: dict[str, str], licence: str
) -> None:
    source = repository(tmp_path / "repo")
    for name, text in ({"README.md": card} | files).items():
        (source / name).write_text(text)
    assert imported(source, tmp_path / "out")[0].licence == licence


# --- sense --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        pytest.param(BUNDLED_RERANKER, "BertForSequenceClassification"),
        pytest.param(BUNDLED_EMBEDDER, "BertModel", marks=pytest.mark.long),
    ],
)
def test_a_trained_model_orders_all_plain_pairs(tmp_path: Path, name: str, architecture: str) -> None:
    bundled = Path(__file__).parents[2] / "es_rerank/models/bundled" / name
    source = tmp_path / "repo"
    (source / "onnx").mkdir(parents=True)
    shutil.copy(bundled / "model_int8.onnx", source / "onnx/model_quantized.onnx")
    shutil.copy(bundled / TOKENIZER, source)
    stated = {"architectures": [architecture], "hidden_size": 384, "max_position_embeddings": 512}
    (source / "config.json").write_text(json.dumps(CONFIG | stated))
    manifest, said = imported(source, tmp_path / "out")
    assert [(each.language, each.right, each.of) for each in manifest.sense or ()] == [("en", 10, 10)]
    assert not any("plain passages" in line for line in said)
    assert manifest.quantisation is not None
    assert not manifest.quantisation.may_overflow


def test_a_model_without_sense_is_kept_with_a_warning(tmp_path: Path) -> None:
    manifest, said = imported(repository(tmp_path / "repo"), tmp_path / "out")
    (line,) = [line for line in said if "of plain passages in their order" in line]
    assert manifest.sense is not None
    right = manifest.sense[0].right
    assert line.startswith(f"warning: out puts {right} of 10 pairs (en)")
    assert right < 9
    assert all(len(questions) == 10 for questions in QUESTIONS.values())


# --- what is refused ----------------------------------------------------------------------------------------


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / TOKENIZER).unlink()


def no_graph(folder: Path) -> None:
    shutil.rmtree(folder / "onnx")


def half_a_graph(folder: Path) -> None:
    path = folder / "onnx/model.onnx"
    path.write_bytes(path.read_bytes()[:600])


def empty_graph(folder: Path) -> None:
    (folder / "onnx/model.onnx").write_bytes(b"")


def pointer_of_lfs(folder: Path) -> None:
    (folder / "onnx/model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def without_head(folder: Path) -> None:
    repository(folder.with_name("bare"), "bi-encoder")
    shutil.copy(folder.with_name("bare") / "onnx/model.onnx", folder / "onnx/model.onnx")


def three_logits(folder: Path) -> None:
    def widen(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "outer":
                values = np.repeat(numpy_helper.to_array(tensor), 3, axis=1)
                tensor.CopyFrom(numpy_helper.from_array(values, "outer"))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3

    change_graph(folder, widen)


def other_tokenizer(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(50)])
    tokenizer.save(str(folder / TOKENIZER))


def fixed_rows(folder: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        for given in model.graph.input:
            given.type.tensor_type.shape.dim[0].dim_value = 1

    change_graph(folder, fix)


def unknown_input(folder: Path) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1]))

    change_graph(folder, add)


def half_precision_input(folder: Path) -> None:
    def halve(model: onnx.ModelProto) -> None:
        model.graph.input[1].type.tensor_type.elem_type = TensorProto.FLOAT16

    change_graph(folder, halve)


def half_precision_weights(folder: Path) -> None:
    def halve(model: onnx.ModelProto) -> None:
        words = model.graph.initializer[0]
        words.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(words).astype(np.float16), "words16"))
        model.graph.node.insert(0, helper.make_node("Cast", ["words16"], ["words"], to=TensorProto.FLOAT))

    change_graph(folder, halve)


def not_a_number(folder: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "outer":
                values = numpy_helper.to_array(tensor) * np.float32("nan")
                tensor.CopyFrom(numpy_helper.from_array(values, "outer"))

    change_graph(folder, spoil)


def data_elsewhere(folder: Path) -> None:
    with_external_data(folder)
    path = folder / "onnx/model.onnx"
    path.write_bytes(path.read_bytes().replace(b"model.onnx_data", b"../../etc/data/"))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (no_config, r"has no config\.json"),
    "no tokenizer": (no_tokenizer, r"has no tokenizer\.json.*es-rerank export"),
    "no graph": (no_graph, "has no ready-made ONNX graph.*es-rerank export"),
    "half a graph": (half_a_graph, "not an ONNX graph that can be read.*cut off"),
    "an empty graph": (empty_graph, "not an ONNX graph that can be read"),
    "a pointer of Git LFS": (pointer_of_lfs, "not an ONNX graph that can be read"),
    "hidden states": (without_head, r"shape \(1, 3, 8\).*exported without its head"),
    "three labels": (three_logits, "gives 3 logits for a pair.*classifier"),
    "another tokenizer": (other_tokenizer, "does not know the token 1[0-9]+, the last one"),
    "a fixed batch": (fixed_rows, "does not run on two sequences at once.*fixed sizes"),
    "an unknown input": (unknown_input, "asks for inputs that are not known here: pixel_values"),
    "an input in fp16": (half_precision_input, r"attention_mask as tensor\(float16\)|can load"),
    "weights in fp16": (half_precision_weights, "weights of 16 bits"),
    "weights without a number": (not_a_number, "numbers that are not finite"),
    "data in another folder": (data_elsewhere, "have to lie beside it"),
    "a configuration that is a list": (
        lambda folder: (folder / "config.json").write_text("[]"),
        r"is no JSON object",
    ),
    "a configuration that is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        r"config\.json is not JSON",
    ),
    "positions in words": (
        lambda folder: change_config(folder, max_position_embeddings="many"),
        "has a value that cannot be read",
    ),
    "two labels stated": (
        lambda folder: change_config(folder, id2label={"0": "a", "1": "b"}),
        "gives 1 logit and .* states 2 labels",
    ),
    "a decoder": (
        lambda folder: change_config(folder, architectures=["Qwen3ForCausalLM"]),
        "scores by its next token",
    ),
    "an encoder and decoder": (
        lambda folder: change_config(folder, architectures=["T5ForConditionalGeneration"]),
        "es-rerank export MODEL OUT --kind monot5",
    ),
    "an activation that is no probability": (
        lambda folder: change_config(folder, sbert_ce_default_activation_function="torch.nn.Tanh"),
        "scores by torch.nn.Tanh",
    ),
    "a tokenizer that is none": (
        lambda folder: (folder / TOKENIZER).write_text("{}"),
        "not a tokenizer that can be read",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    change, expected = REFUSED[what]
    source = repository(tmp_path / "repo")
    change(source)
    with pytest.raises((ModelFolderError, SettingsError), match=rf"(?s){expected}"):
        imported(source, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_two_labels_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", labels=2)
    assert imported(source, tmp_path / "out")[0].cross_encoder.labels == 2  # type: ignore[union-attr]
    change_config(source, id2label={"0": "relevant", "1": "irrelevant"})
    with pytest.raises(ModelFolderError, match="first label relevant"):
        imported(source, tmp_path / "other")


def test_two_graphs_of_one_precision_are_told(encoder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(encoder, tmp_path / "repo")
    for path in source.glob("onnx/model_*.onnx"):
        path.unlink()
    shutil.copy(source / "onnx/model.onnx", source / "onnx/model_int8.onnx")
    with pytest.raises(ModelFolderError, match="are both in fp32"):
        imported(source, tmp_path / "out")


def test_a_window_that_does_not_run_is_shortened_or_refused(tmp_path: Path) -> None:
    def positions(model: onnx.ModelProto) -> None:
        """Let the model have a position embedding of 64 rows, fewer than its configuration states."""
        table = np.zeros((64, 8), dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(table, "positions"))
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(1, dtype=np.int64), "first"))
        (gather,) = [node for node in model.graph.node if list(node.output) == ["word"]]
        place = list(model.graph.node).index(gather)
        gather.output[0] = "bare"
        model.graph.node.insert(place + 1, helper.make_node("Add", ["bare", "read"], ["word"]))
        model.graph.node.insert(place + 1, helper.make_node("Gather", ["positions", "counted"], ["read"]))
        model.graph.node.insert(place + 1, helper.make_node("Sub", ["ones", "attention_mask"], ["counted"]))
        model.graph.node.insert(place + 1, helper.make_node("CumSum", ["attention_mask", "first"], ["ones"]))

    source = repository(tmp_path / "repo")
    change_graph(source, positions)
    manifest, said = imported(source, tmp_path / "out")
    assert manifest.max_length == 64
    assert any("runs 64 tokens" in line for line in said)
    with pytest.raises(SettingsError, match="--max-length 100 is more than the 64 tokens"):
        imported(source, tmp_path / "other", max_length=100)


def test_out_is_replaced_with_force_and_never_the_model_itself(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("kept")
    with pytest.raises(SettingsError, match="exists already"):
        imported(source, tmp_path / "out")
    assert (tmp_path / "out/mine").read_text() == "kept"
    imported(source, tmp_path / "out", force=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "model.onnx", TOKENIZER]
    for out in (source, tmp_path):
        with pytest.raises(SettingsError, match="holds the model that is imported"):
            imported(source, out, force=True)


def test_the_command_prints_the_manifest(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    done = CliRunner().invoke(app, ["import", str(source), str(tmp_path / "out"), "--json", "--name", "mine"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["name"] == "mine"
    failed = CliRunner().invoke(app, ["import", str(source), str(tmp_path / "out")])
    assert isinstance(failed.exception, EsRerankError)


# --- the contract of rerankers ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["fp32", "int8"])
def reranker(request: pytest.FixtureRequest, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("contract") / request.param
    import_model(str(encoder), out, ImportOptions(only=request.param), rewrite=run_passes)
    with load_reranker(out) as model:
        yield model


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An imported reranker whose weights were damaged afterwards."""
    home = tmp_path_factory.mktemp("broken")
    import_model(str(repository(home / "repo")), home / "out")
    graph = (broken_cross_encoder(home / "nan") / GRAPH).read_bytes()
    (home / "out" / GRAPH).write_bytes(graph)
    with load_reranker(reseal(home / "out")) as model:
        yield model


class TestAnImportedReranker(RerankerContract):
    """Fp32 with graph passes, and int8 with dynamic activations."""
