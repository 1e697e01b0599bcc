"""Tiny exported model folders with random weights, made without torch in well under a second."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from es_rerank.models.contracts import (
    BiEncoderContract,
    CalibrationRecord,
    CrossEncoderContract,
    MonoT5Contract,
    Truncation,
)
from es_rerank.models.manifest import (
    MANIFEST,
    TOKENIZER,
    Manifest,
    ModelKind,
    file_record,
    write_manifest,
)
from es_rerank.text.pairs import TruncationStrategy
from es_rerank.text.prompted_pairs import PromptTruncation

GRAPH = "model.onnx"
_WIDTH = 8
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_T5_SPECIALS = ("<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>")
_T5_WORDS = ("▁Query", "▁Document", "▁Relevant", "▁true", "▁false", "▁no", "▁yes", "▁the", "ing", "er")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17
_ARCHITECTURES: dict[ModelKind, str] = {
    "cross-encoder": "BertForSequenceClassification",
    "monot5": "T5ForConditionalGeneration",
    "bi-encoder": "BertModel",
}


def tiny_cross_encoder(
    folder: Path,
    seed: int = 0,
    *,
    labels: Literal[1, 2] = 1,
    max_length: int = 128,
    strategy: TruncationStrategy = "longest_first",
    calibration: CalibrationRecord | None = None,
) -> Path:
    """Write a cross-encoder whose logit depends on every token, its position and its segment;
    return ``folder``.
    """
    contract = CrossEncoderContract(truncation=Truncation(strategy=strategy), labels=labels)
    _write(folder, "cross-encoder", seed, dims=labels, pooled=True)
    return _seal(
        folder,
        Manifest.model_validate(
            {
                **_common(folder, "cross-encoder", max_length),
                "cross_encoder": contract,
                "calibration": calibration,
            }
        ),
    )


def tiny_monot5(
    folder: Path, seed: int = 0, *, max_length: int = 128, truncation: PromptTruncation = "document"
) -> Path:
    """Write a monoT5 whose logits of false and true depend on every token and its position;
    return ``folder``.
    """
    contract = MonoT5Contract(false_token="▁false", true_token="▁true", truncation=truncation)
    _write(folder, "monot5", seed, dims=2, pooled=True)
    return _seal(
        folder, Manifest.model_validate({**_common(folder, "monot5", max_length), "monot5": contract})
    )


def tiny_bi_encoder(
    folder: Path,
    dims: int = 8,
    seed: int = 0,
    *,
    max_length: int = 128,
    query_prefix: str = "",
    passage_prefix: str = "",
) -> Path:
    """Write a bi-encoder with hidden states of ``dims``; return ``folder``."""
    contract = BiEncoderContract(
        dims=dims, pooling="mean", query_prefix=query_prefix, passage_prefix=passage_prefix
    )
    _write(folder, "bi-encoder", seed, dims=dims, pooled=False)
    return _seal(
        folder, Manifest.model_validate({**_common(folder, "bi-encoder", max_length), "bi_encoder": contract})
    )


def tiny_tokenizer() -> Tokenizer:
    """Return a WordPiece tokenizer of letters, digits and punctuation,
    with BERT's special tokens around its texts.
    """
    pieces = string.ascii_lowercase + string.digits
    vocabulary = [*_SPECIALS, *pieces, *(f"##{piece}" for piece in pieces), *string.punctuation]
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: number for number, token in enumerate(vocabulary)},
            unk_token="[UNK]",
            max_input_chars_per_word=100,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(_SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def tiny_t5_tokenizer() -> Tokenizer:
    """Return a unigram tokenizer of T5's kind: ``</s>`` behind a text, special tokens that are pieces as
    well, compatibility forms made one.
    """
    pieces = [*string.ascii_letters, *string.digits, *string.punctuation, "▁", *"áíóúñ¿"]
    scored = [
        *((word, -1.0) for word in _T5_WORDS),
        *((piece, -float(number % 7) - 4) for number, piece in enumerate(pieces)),
    ]
    tokenizer = Tokenizer(
        models.Unigram(
            [*((token, 0.0) for token in _T5_SPECIALS), *scored], unk_id=_T5_SPECIALS.index("<unk>")
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(_T5_SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def reseal(folder: Path, **changes: object) -> Path:
    """Write the manifest anew after a test changed a file on purpose; ``changes`` replace fields of it."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    return _seal(folder, manifest.model_copy(update=changes))


def save_graph(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, npt.NDArray[np.float32]],
    output: tuple[str, list[str | int]],
    inputs: tuple[str, ...] = _INPUTS,
) -> None:
    """Write a graph over ``inputs`` as the folder's fp32 variant."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9),
        folder / GRAPH,
    )


def _write(folder: Path, kind: str, seed: int, *, dims: int, pooled: bool) -> None:
    """Write tokenizer and graph: tanh((word + segment + position * word) W),
    pooled to logits or left as hidden states.

    A monoT5 knows no segments: all its tokens are of the second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs = _INPUTS[:2] if kind == "monot5" else _INPUTS
    tokenizer = tiny_t5_tokenizer() if kind == "monot5" else tiny_tokenizer()
    tokenizer.save(str(folder / TOKENIZER))
    draw = np.random.default_rng([seed, dims, len(kind)])
    constants: dict[str, npt.NDArray[np.float32]] = {
        "words": draw.normal(size=(tokenizer.get_vocab_size(), _WIDTH)).astype(np.float32),
        "segments": draw.normal(size=(2, _WIDTH)).astype(np.float32),
        "inner": draw.normal(size=(_WIDTH, _WIDTH)).astype(np.float32),
        "outer": draw.normal(size=(_WIDTH, dims)).astype(np.float32),
        "step": np.asarray(0.05, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        helper.make_node("Gather", ["segments", inputs[-1]], ["segment"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("CumSum", ["mask", "one"], ["position"]),
        helper.make_node("Mul", ["position", "step"], ["small"]),
        helper.make_node("Unsqueeze", ["small", "two"], ["column"]),
        helper.make_node("Mul", ["word", "column"], ["placed"]),
        helper.make_node("Sum", ["word", "segment", "placed"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "inner"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["hidden"]),
    ]
    nodes.insert(0, helper.make_node("Constant", [], ["two"], value_ints=[2]))
    if pooled:
        nodes += [
            helper.make_node("ReduceMean", ["hidden"], ["pooled"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["pooled", "outer"], ["logits"]),
        ]
        save_graph(folder, nodes, constants, ("logits", ["batch", dims]), inputs)
    else:
        nodes.append(helper.make_node("MatMul", ["hidden", "outer"], ["last_hidden_state"]))
        save_graph(folder, nodes, constants, ("last_hidden_state", ["batch", "tokens", dims]))


def model_options(folder: Path) -> list[str]:
    """Make a cross-encoder and a bi-encoder, and return the options of a command that name them."""
    reranker, embedder = tiny_cross_encoder(folder / "reranker"), tiny_bi_encoder(folder / "embedder")
    return ["--reranker", str(reranker), "--embedder", str(embedder)]


def broken_cross_encoder(folder: Path) -> Path:
    """A cross-encoder whose logit is 0 / 0 for every pair, as weights that were damaged give it."""
    tiny_cross_encoder(folder)
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["mask"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
        helper.make_node("Div", ["nothing", "nothing"], ["logits"]),
    ]
    save_graph(folder, nodes, {}, ("logits", [1, 1]))
    return reseal(folder)


def _common(folder: Path, kind: ModelKind, max_length: int) -> dict[str, object]:
    return {
        "name": f"tiny-{kind}",
        "kind": kind,
        "source": "random weights",
        "licence": "Apache-2.0",
        "attribution": "made by a test",
        "architecture": _ARCHITECTURES[kind],
        "family": "monot5" if kind == "monot5" else "bert",
        "max_length": max_length,
        "files": {name: file_record(folder / name) for name in (GRAPH, TOKENIZER)},
        "variants": {"fp32": GRAPH},
        "default_variant": "fp32",
    }


def _seal(folder: Path, manifest: Manifest) -> Path:
    files = {name: file_record(folder / name) for name in manifest.files}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    return folder
