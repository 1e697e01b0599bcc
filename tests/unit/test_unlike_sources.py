"""What sources state in other ways than most is kept or refused; it never changes scores silently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from hub_stand_in import serving_hub
from onnx import TensorProto, helper
from ready_made import encoder_repository, quantise, repository, with_external_data
from tiny_models import tiny_tokenizer
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from es_rerank import load_reranker
from es_rerank.cli.app import app
from es_rerank.errors import ModelFolderError
from es_rerank.models.load import check_embedder, model_folder
from es_rerank.models.manifest import TOKENIZER, Manifest
from es_rerank.models.ready_made import ImportOptions, graphs
from es_rerank.models.ready_made.graph_file import read_graph
from es_rerank.models.ready_made.graphs import choose
from es_rerank.models.ready_made.importing import import_model
from es_rerank.text.pairs import open_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

POOLING = "sentence_transformers.models.Pooling"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/es-rerank/imported"


def embedder(folder: Path, files: dict[str, Any]) -> Path:
    """A repository of an embedder with further JSON files."""
    repository(folder, "bi-encoder")
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def modules(pooling: str = "1_Pooling") -> list[dict[str, str]]:
    return [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": pooling, "type": POOLING},
    ]


def stated(source: Path, **options: Any) -> Manifest:
    return import_model(str(source), source.with_name("out"), ImportOptions(force=True, **options))


# --- sentence-transformers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "prefixes"),
    [
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, ("q: ", "c: ")),
        ({"prompts": {"query": "q: ", "document": "", "passage": "p: "}}, ("q: ", "p: ")),
        ({"prompts": {"std": "all: "}, "default_prompt_name": "std"}, ("all: ", "all: ")),
        ({"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": "query"}, ("q: ", "")),
        ({"prompts": {"other": "o: "}}, ("", "")),
        ({"prompts": {"query": None}}, ("", "")),
    ],
    ids=str,
)
def test_prompts_are_those_of_sentence_transformers(
    tmp_path: Path, settings: dict[str, Any], prefixes: tuple[str, str]
) -> None:
    source = embedder(tmp_path / "repo", {"config_sentence_transformers.json": settings})
    contract = stated(source).bi_encoder
    assert contract is not None
    assert (contract.query_prefix, contract.passage_prefix) == prefixes


def test_vectors_that_are_cut_are_refused(tmp_path: Path) -> None:
    source = embedder(tmp_path / "repo", {"config_sentence_transformers.json": {"truncate_dim": 4}})
    with pytest.raises(ModelFolderError, match="cut to 4 dimensions"):
        stated(source)


def test_the_pooling_is_read_where_the_modules_say_that_it_lies(tmp_path: Path) -> None:
    files = {"modules.json": modules("2_Pool"), "2_Pool/config.json": {"pooling_mode_cls_token": True}}
    source = embedder(tmp_path / "repo", files)
    contract = stated(source).bi_encoder
    assert contract is not None
    assert contract.pooling == "cls"
    shutil.rmtree(source / "2_Pool")
    with pytest.raises(ModelFolderError, match="keeps its pooling in 2_Pool, which was not fetched"):
        stated(source)


def test_capital_letters_become_small_where_sentence_transformers_makes_them_so(tmp_path: Path) -> None:
    files = {"modules.json": modules(), "sentence_bert_config.json": {"do_lower_case": True}}
    source = embedder(tmp_path / "repo", files)
    tokenizer = tiny_tokenizer()
    tokenizer.normalizer = None
    tokenizer.save(str(source / TOKENIZER))
    for lowers in (True, False):
        (source / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": lowers}))
        stated(source)
        written = open_tokenizer(tmp_path / "out" / TOKENIZER)
        assert (written.encode("ABC").ids == written.encode("abc").ids) is lowers


# --- tokenizers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"a": 0}, unk_token="[UNK]"),
        models.WordPiece({"a": 0}, unk_token="[UNK]"),
        models.Unigram([("a", 0.0)]),
    ],
    ids=["WordLevel", "WordPiece", "Unigram"],
)
def test_a_tokenizer_that_lacks_its_unknown_token_is_refused(tmp_path: Path, model: Any) -> None:
    source = repository(tmp_path / "repo")
    Tokenizer(model).save(str(source / TOKENIZER))
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json cannot read every text"):
        stated(source)


def test_a_tokenizer_at_which_rust_panics_is_no_tokenizer(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    content = json.loads((source / TOKENIZER).read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (source / TOKENIZER).write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="not a tokenizer that can be read"):
        open_tokenizer(source / TOKENIZER)


# --- graphs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("operator", "labels"), [("Sigmoid", 1), ("Softmax", 2), ("LogSoftmax", 2)])
@pytest.mark.parametrize("passed_on", [False, True])
def test_a_graph_that_ends_in_probabilities_is_refused(
    tmp_path: Path, operator: str, labels: Any, passed_on: bool
) -> None:
    source = repository(tmp_path / "repo", labels=labels)
    model = onnx.load(source / "onnx/model.onnx")
    output = model.graph.output[0].name
    (last,) = [node for node in model.graph.node if output in node.output]
    last.output[0] = "bare"
    model.graph.node.append(helper.make_node(operator, ["bare"], ["made" if passed_on else output]))
    if passed_on:
        model.graph.node.append(helper.make_node("Identity", ["made"], [output]))
    onnx.save(model, source / "onnx/model.onnx")
    if operator == "LogSoftmax":
        assert stated(source).kind == "cross-encoder"
        return
    with pytest.raises(ModelFolderError, match=f"ends in {operator}, so that it gives probabilities"):
        stated(source)


def test_a_tensor_of_countless_dimensions_is_refused_at_once(tmp_path: Path) -> None:
    tensor = helper.make_tensor("many", TensorProto.FLOAT, [1], [1.0])
    tensor.dims[:] = [2] * 200_000
    node = helper.make_node("Identity", ["many"], ["out"])
    value = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(helper.make_graph([node], "g", [], [value], [tensor])).SerializeToString()
    )
    with pytest.raises(ModelFolderError, match="more than 64 dimensions"):
        read_graph(path)


def test_graphs_of_two_folders_go_together(tmp_path: Path) -> None:
    source = encoder_repository(tmp_path / "repo")
    quantise(source, "onnx/model_quantized.onnx")
    (source / "onnx/model.onnx").rename(source / "model.onnx")
    manifest = stated(source)
    assert manifest.imported is not None
    assert manifest.imported.graphs == {"fp32": "model.onnx", "int8": "onnx/model_quantized.onnx"}
    both = ["model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx"]
    choice = choose("repo", both, graph=None, only=None)
    assert choice.graphs["fp32"] == "onnx/model.onnx"
    assert any("not taken: model.onnx" in line for line in choice.said)


def test_a_graph_of_any_folder_of_the_model_can_be_named(tmp_path: Path) -> None:
    source = with_external_data(repository(tmp_path / "repo"))
    (source / "onnx").rename(source / "fp32")
    manifest = stated(source, graph="fp32/model.onnx")
    assert sorted(manifest.files) == ["model.onnx", "model.onnx_data", TOKENIZER]


def test_an_embedder_runs_in_one_precision_wherever_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = embedder(tmp_path / "repo", {})
    quantise(source, "onnx/model_quantized.onnx")
    for exact in (True, False):
        for module in (graphs, "es_rerank.models.ready_made.importing"):
            name = f"{getattr(module, '__name__', module)}.adds_bytes_exactly"
            monkeypatch.setattr(name, lambda exact=exact: exact)
        manifest = stated(source)
        assert (manifest.default_variant, sorted(manifest.variants)) == ("fp32", ["fp32", "int8"])


# --- names --------------------------------------------------------------------------------------------------


def test_embedders_of_two_owners_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index records the name, and vectors of another model are worth nothing in it."""
    with serving_hub(monkeypatch, tmp_path / "hub-cache") as hub:
        for owner in ("one", "two"):
            hub.repositories[f"{owner}/small"] = repository(tmp_path / owner, "bi-encoder")
        assert [check_embedder(f"{owner}/small") for owner in ("one", "two")] == ["one/small", "two/small"]


def test_a_folder_with_a_long_name_is_imported(tmp_path: Path) -> None:
    for name in ("n" * 245, "名" * 81):
        source = repository(tmp_path / "short").rename(tmp_path / name)
        load_reranker(source).close()


def test_an_import_that_was_damaged_at_the_same_size_says_what_to_delete(tmp_path: Path, cache: Path) -> None:
    source = repository(tmp_path / "repo")
    made = model_folder(source)
    with (made / "model.onnx").open("r+b") as file:
        file.write(b"\0\0\0\0")
    with pytest.raises(
        ModelFolderError, match=rf"checksum of its manifest; delete {made}, and it is imported"
    ):
        load_reranker(source)
    shutil.rmtree(made)
    load_reranker(source).close()


def test_brackets_in_names_are_shown_as_they_are(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    (source / "README.md").write_text("---\nlicense: a[/b]c\n---\n")
    done = CliRunner().invoke(app, ["import", str(source), str(tmp_path / "out"), "--name", "a[/b]:smile:"])
    assert done.exit_code == 0, done.exception
    assert "a[/b]:smile: (cross-encoder" in done.stdout
    assert "licence: a[/b]c" in done.stdout
    assert "warning: a[/b]:smile: puts" in done.stderr


def test_a_password_in_the_source_does_not_reach_the_manifest(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    options = ImportOptions(source="https://me:secret@host/x")
    manifest = import_model(str(source), tmp_path / "out", options)
    assert "secret" not in manifest.model_dump_json()
