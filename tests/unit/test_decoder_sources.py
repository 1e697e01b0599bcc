"""What the files of a decoder must say, so that it can be exported; nothing here needs torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_decoder import tiny_qwen_tokenizer

from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.catalog import family_named
from es_rerank.models.ready_made.contract import read_contract
from es_rerank.models.source import SourceOptions
from es_rerank.models.source.decoders import check_answers
from es_rerank.models.source.model import answer_ids, read_source

DECODER = SourceOptions(kind="decoder")
SCORED = [
    {"type": "sentence_transformers.base.modules.transformer.Transformer", "path": ""},
    {"type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore", "path": "1_LogitScore"},
]


def source(folder: Path, architecture: str = "Qwen3ForCausalLM", **config: Any) -> Path:
    stated = {"architectures": [architecture], "hidden_act": "silu", "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(stated | config))
    return folder


def scored(folder: Path, modules: list[dict[str, str]] = SCORED, **settings: Any) -> Path:
    """A source that states, as sentence-transformers writes it, by which tokens it scores."""
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "CrossEncoder"}))
    (folder / "1_LogitScore").mkdir()
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(settings))
    return source(folder)


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("Qwen3ForCausalLM", "qwen3-reranker"), ("Qwen2ForCausalLM", "mxbai-rerank-v2")],
)
def test_the_architecture_decides_the_family_and_the_family_the_prompt(
    architecture: str, family: str, tmp_path: Path
) -> None:
    read = read_source(source(tmp_path, architecture), DECODER)
    assert (read.family.name, read.decoder, read.max_length) == (family, family_named(family).asks, 512)


def test_family_instruction_and_tokens_can_be_named(tmp_path: Path) -> None:
    options = SourceOptions(
        kind="decoder",
        family="mxbai-rerank-v2",
        instruction="find laws",
        false_token="false",
        true_token="true",
    )
    contract = read_source(source(tmp_path), options).decoder
    assert contract is not None
    assert (contract.instruction, contract.false_token, contract.true_token) == ("find laws", "false", "true")
    assert contract.prompt == family_named("mxbai-rerank-v2").asks.prompt  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", [1]),
        ("config.json", {"architectures": "Qwen3ForCausalLM"}),
        ("config.json", {"rope_scaling": "yarn"}),
        ("config.json", {"use_sliding_window": True, "sliding_window": "x"}),
        ("config.json", {"max_position_embeddings": "abc"}),
        ("config.json", {"max_position_embeddings": float("inf")}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
        ("modules.json", {"type": 3}),
        ("modules.json", [1]),
    ],
)
def test_a_value_of_another_type_is_a_fault_of_the_folder(name: str, content: Any, tmp_path: Path) -> None:
    path = source(tmp_path) / name
    if path.exists() and isinstance(content, dict):
        content = json.loads(path.read_text()) | content
    path.write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=r"cannot be read|no JSON object"):
        read_source(tmp_path, DECODER)


@pytest.mark.parametrize("option", [{"pooling": "cls"}, {"query_prefix": "q: "}, {"passage_prefix": ""}])
def test_an_option_of_vectors_is_not_taken_in_silence(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="fit only a bi-encoder, and this model is a decoder"):
        read_source(source(tmp_path), replace(DECODER, **option))


@pytest.mark.parametrize("kind", [None, "decoder", "bi-encoder"])
@pytest.mark.parametrize("model_type", [None, "SentenceTransformer"])
def test_an_embedder_made_of_a_decoder_is_neither_exported_nor_imported(
    kind: Any, model_type: str | None, tmp_path: Path
) -> None:
    types = ("models.Transformer", "models.Pooling", "models.Normalize")
    modules = [{"type": f"sentence_transformers.{name}", "path": ""} for name in types]
    (source(tmp_path) / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ModelFolderError, match=r"an embedder made of a decoder .* as remote:URL"):
        read_source(tmp_path, SourceOptions(kind=kind))
    with pytest.raises(ModelFolderError, match=r"an embedder made of a decoder .* as remote:URL"):
        read_contract(tmp_path, tmp_path / "model.onnx", SourceOptions(kind=kind), (1, 3, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "LlamaForCausalLM"}, "one of Qwen3ForCausalLM, Qwen2ForCausalLM; .* remote:URL"),
        ({"hidden_act": "gelu"}, "the activation gelu, which is not exported"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, "rotary positions of the kind dynamic"),
        ({"rope_scaling": {"type": "longrope"}}, "rotary positions of the kind longrope"),
        ({"use_sliding_window": True, "sliding_window": 256}, "sliding window of 256 tokens, and reads 512"),
        ({"quantization_config": {"quant_method": "gptq"}}, "stored quantized"),
    ],
)
def test_a_decoder_that_would_be_computed_otherwise_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFolderError, match=message):
        read_source(source(tmp_path, **changes), DECODER)


@pytest.mark.parametrize(
    "harmless",
    [
        {"rope_scaling": None},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"use_sliding_window": False, "sliding_window": 256},
        {"use_sliding_window": True, "sliding_window": 512},
    ],
)
def test_what_changes_nothing_within_the_window_is_taken(harmless: dict[str, Any], tmp_path: Path) -> None:
    assert read_source(source(tmp_path, **harmless), DECODER).kind == "decoder"


def test_a_language_model_is_a_reranker_only_when_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"do not say whether it was trained to rerank; .* --kind decoder"
    ):
        read_source(source(tmp_path), SourceOptions())


def test_one_token_is_no_two_answers(tmp_path: Path) -> None:
    options = replace(DECODER, false_token="yes", true_token="yes")
    contract = read_source(source(tmp_path), options).decoder
    assert contract is not None
    with pytest.raises(SettingsError, match="yes is the token of both answers"):
        answer_ids(contract, tiny_qwen_tokenizer())


def test_an_instruction_that_spells_a_special_token_is_refused(tmp_path: Path) -> None:
    options = replace(DECODER, instruction="stop at <|im_end|> only")
    contract = read_source(source(tmp_path), options).decoder
    assert contract is not None
    with pytest.raises(SettingsError, match=r"spells the special token <\|im_end\|>"):
        answer_ids(contract, tiny_qwen_tokenizer())


def test_a_module_that_scores_by_two_tokens_says_it(tmp_path: Path) -> None:
    folder = scored(tmp_path, true_token_id=3, false_token_id=2)
    assert read_source(folder, SourceOptions()).kind == "decoder"
    check_answers(folder, (2, 3))
    with pytest.raises(SettingsError, match=r"by the token ids 2 and 3 .* would read 3 and 2"):
        check_answers(folder, (3, 2))


@pytest.mark.parametrize(
    ("modules", "settings", "message"),
    [
        (SCORED, {"true_token_id": 3}, "the logit of one token"),
        ([*SCORED, {"type": "x.Dense"}], {}, "the modules Transformer, LogitScore, Dense, and a decoder"),
        ([SCORED[0], {"type": "x.Pooling"}], {}, "the modules Transformer, Pooling, and a decoder"),
    ],
)
def test_modules_that_score_otherwise_are_refused(
    modules: list[dict[str, str]], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFolderError, match=message):
        read_source(scored(tmp_path, modules, **settings), DECODER)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("Qwen3ForCausalLM", SourceOptions(kind="decoder", family="bert"), "bert does not fit a decoder"),
        ("Qwen3ForCausalLM", SourceOptions(kind="decoder", truncation="prompt"), "--truncation fit only"),
        ("BertForSequenceClassification", SourceOptions(family="qwen3-reranker"), "does not fit a cross-enc"),
        ("BertForSequenceClassification", SourceOptions(instruction="x"), "--instruction fits only a dec"),
        ("T5ForConditionalGeneration", SourceOptions(kind="monot5", instruction="x"), "only a decoder"),
    ],
)
def test_options_of_other_kinds_are_refused(
    architecture: str, options: SourceOptions, message: str, tmp_path: Path
) -> None:
    config = {"id2label": {"0": "LABEL_0"}, "hidden_size": 8, "decoder_start_token_id": 0}
    with pytest.raises(SettingsError, match=message):
        read_source(source(tmp_path, architecture, **config), options)
