"""Torch folders of published architectures with random weights: as fast as the models, and nothing is
fetched.

The tokenizer is the bundled one, so that all architectures read the same token ids.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...extras import missing_extra
from ...models.load import model_folder
from ...models.manifest import TOKENIZER
from ...settings import BUNDLED_RERANKER

MAX_LENGTH = 512
"""Longest pair that every architecture reads, in tokens."""

_ETTIN_POSITIONS = 7_999
"""Positions that the Ettin encoders state; they have no table of them."""

_VOCABULARY = 30_522
"""Number of pieces of the bundled tokenizer."""

_SEED = 20_260_117
_HEAD_GAIN = 4.0
"""The head of BERT and XLM-R reads values between -1 and 1; with this factor its scores differ by about 2."""

_UNUSED = "[unused0]"
"""Piece 1 of the bundled vocabulary, which no text gives: XLM-R counts its positions from padding id 1."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a published reranker, which is called ``published`` on the Hub.

    A ``modernbert`` has the head of modules that the Ettin rerankers have. ``local_attention`` is its alone:
    the width of a local layer's window, in tokens.
    """

    name: str
    published: str
    kind: Literal["bert", "xlm-roberta", "modernbert"]
    layers: int
    hidden: int
    heads: int
    intermediate: int
    local_attention: int = 128

    def multiplications(self, tokens: int) -> int:
        """Return how many multiplications the layers do for one pair of ``tokens`` tokens."""
        gated = 3 if self.kind == "modernbert" else 2
        a_token = 4 * self.hidden**2 + gated * self.hidden * self.intermediate + 2 * tokens * self.hidden
        return self.layers * tokens * a_token


ARCHITECTURES = (
    Architecture("MiniLM-L6", "cross-encoder/ms-marco-MiniLM-L6-v2", "bert", 6, 384, 12, 1536),
    Architecture("Ettin 17m", "cross-encoder/ettin-reranker-17m-v1", "modernbert", 7, 256, 4, 384),
    Architecture("Ettin 32m", "cross-encoder/ettin-reranker-32m-v1", "modernbert", 10, 384, 6, 576),
    Architecture("BGE base", "BAAI/bge-reranker-base", "xlm-roberta", 12, 768, 12, 3072),
)
"""The architectures that are measured, with the sizes in their published config.json.

Only the vocabulary is smaller: it is the bundled tokenizer's. To look up a row takes the same time in a table
of any length.
"""


class _Drawn:
    """Draws the tensors of one folder.

    Their spread keeps activations at one size over the layers, so that the scores of different pairs differ
    by far more than the tolerance.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.tensors: dict[str, npt.NDArray[np.float32]] = {}

    def table(self, name: str, rows: int, columns: int, *, spread: float = 1.0) -> None:
        self.tensors[f"{name}.weight"] = self._normal((rows, columns), spread)

    def linear(self, name: str, inputs: int, outputs: int, *, gain: float = 1.0, bias: bool = True) -> None:
        self.tensors[f"{name}.weight"] = self._normal((outputs, inputs), gain / inputs**0.5)
        if bias:
            self.tensors[f"{name}.bias"] = self._normal((outputs,), 0.1)

    def norm(self, name: str, size: int, *, bias: bool = True) -> None:
        self.tensors[f"{name}.weight"] = np.ones(size, dtype=np.float32)
        if bias:
            self.tensors[f"{name}.bias"] = np.zeros(size, dtype=np.float32)

    def _normal(self, shape: tuple[int, ...], spread: float) -> npt.NDArray[np.float32]:
        return self._random.standard_normal(shape, dtype=np.float32) * np.float32(spread)


def random_folder(sizes: Architecture, out: Path) -> Path:
    """Write a torch folder ``out`` with these sizes and random weights, always the same; return ``out``.

    Raises MissingExtraError when the export extra is not installed.
    """
    try:
        from safetensors.numpy import save_file  # noqa: PLC0415 only the export extra installs it
    except ImportError as error:
        raise missing_extra(f"the bench needs {error.name}, which is not installed", "export") from error

    def save(drawn: _Drawn, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(drawn.tensors, folder / "model.safetensors", metadata={"format": "pt"})

    out.mkdir(parents=True)
    if sizes.kind == "modernbert":
        save(_modernbert(sizes), out)
        _modules(sizes, out, save)
        config = _modernbert_config(sizes)
    else:
        save(_bert(sizes), out)
        config = _bert_config(sizes)
    shutil.copyfile(model_folder(BUNDLED_RERANKER) / TOKENIZER, out / TOKENIZER)
    _write_json(out / "config.json", config)
    _write_json(out / "tokenizer_config.json", _tokenizer_config(sizes))
    return out


def _bert(sizes: Architecture) -> _Drawn:
    """Return the tensors of a BERT or an XLM-R with its classification head."""
    drawn, hidden = _Drawn(_SEED), sizes.hidden
    plain = sizes.kind == "bert"
    root = "bert" if plain else "roberta"
    drawn.table(f"{root}.embeddings.word_embeddings", _VOCABULARY, hidden)
    drawn.table(f"{root}.embeddings.position_embeddings", _positions(sizes), hidden, spread=0.3)
    drawn.table(f"{root}.embeddings.token_type_embeddings", _types(sizes), hidden, spread=0.3)
    drawn.norm(f"{root}.embeddings.LayerNorm", hidden)
    for number in range(sizes.layers):
        layer = f"{root}.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            drawn.linear(f"{layer}.attention.self.{part}", hidden, hidden)
        drawn.linear(f"{layer}.attention.output.dense", hidden, hidden)
        drawn.norm(f"{layer}.attention.output.LayerNorm", hidden)
        drawn.linear(f"{layer}.intermediate.dense", hidden, sizes.intermediate)
        drawn.linear(f"{layer}.output.dense", sizes.intermediate, hidden)
        drawn.norm(f"{layer}.output.LayerNorm", hidden)
    drawn.linear("bert.pooler.dense" if plain else "classifier.dense", hidden, hidden)
    drawn.linear("classifier" if plain else "classifier.out_proj", hidden, 1, gain=_HEAD_GAIN)
    return drawn


def _bert_config(sizes: Architecture) -> dict[str, Any]:
    plain = sizes.kind == "bert"
    return {
        "architectures": [
            "BertForSequenceClassification" if plain else "XLMRobertaForSequenceClassification"
        ],
        "model_type": sizes.kind,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12 if plain else 1e-5,
        "max_position_embeddings": _positions(sizes),
        "type_vocab_size": _types(sizes),
        "pad_token_id": _padding(sizes),
        **_common(sizes),
    }


def _positions(sizes: Architecture) -> int:
    """Return the rows of the table of positions; XLM-R uses those after its padding id, 1."""
    return MAX_LENGTH if sizes.kind == "bert" else MAX_LENGTH + 2


def _types(sizes: Architecture) -> int:
    return 2 if sizes.kind == "bert" else 1


def _padding(sizes: Architecture) -> int:
    return 1 if sizes.kind == "xlm-roberta" else 0


def _common(sizes: Architecture) -> dict[str, Any]:
    return {
        "vocab_size": _VOCABULARY,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }


def _modernbert(sizes: Architecture) -> _Drawn:
    """Return the tensors of a bare ModernBERT: no biases, and no norm before the first attention."""
    drawn, hidden = _Drawn(_SEED), sizes.hidden
    drawn.table("embeddings.tok_embeddings", _VOCABULARY, hidden)
    drawn.norm("embeddings.norm", hidden, bias=False)
    for number in range(sizes.layers):
        layer = f"layers.{number}"
        if number:
            drawn.norm(f"{layer}.attn_norm", hidden, bias=False)
        drawn.linear(f"{layer}.attn.Wqkv", hidden, 3 * hidden, bias=False)
        drawn.linear(f"{layer}.attn.Wo", hidden, hidden, bias=False)
        drawn.norm(f"{layer}.mlp_norm", hidden, bias=False)
        drawn.linear(f"{layer}.mlp.Wi", hidden, 2 * sizes.intermediate, bias=False)
        drawn.linear(f"{layer}.mlp.Wo", sizes.intermediate, hidden, bias=False)
    drawn.norm("final_norm", hidden, bias=False)
    return drawn


def _modernbert_config(sizes: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        "hidden_activation": "gelu",
        "norm_eps": 1e-5,
        "max_position_embeddings": _ETTIN_POSITIONS,
        "local_attention": sizes.local_attention,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160_000.0,
        "local_rope_theta": 160_000.0,
        "pad_token_id": 0,
        "cls_token_id": 101,
        "sep_token_id": 102,
        "bos_token_id": 101,
        "eos_token_id": 102,
        **_common(sizes),
    }


def _modules(sizes: Architecture, out: Path, save: Callable[[_Drawn, Path], None]) -> None:
    """Write the files of sentence-transformers: pooling of the first token, Dense, LayerNorm, Dense."""
    hidden = sizes.hidden
    kinds = {
        "": "base.modules.transformer.Transformer",
        "1_Pooling": "sentence_transformer.modules.pooling.Pooling",
        "2_Dense": "base.modules.dense.Dense",
        "3_LayerNorm": "sentence_transformer.modules.layer_norm.LayerNorm",
        "4_Dense": "base.modules.dense.Dense",
    }
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    drawn = {path: _Drawn(_SEED + number) for number, path in enumerate(kinds)}
    drawn["2_Dense"].linear("linear", hidden, hidden, bias=False)
    drawn["3_LayerNorm"].norm("norm", hidden)
    drawn["4_Dense"].linear("linear", hidden, 1)
    for path in ("2_Dense", "3_LayerNorm", "4_Dense"):
        save(drawn[path], out / path)
    (out / "1_Pooling").mkdir()
    _write_json(
        out / "1_Pooling" / "config.json",
        {"embedding_dimension": hidden, "pooling_mode": "cls", "include_prompt": True},
    )
    _write_json(out / "2_Dense" / "config.json", _dense(hidden, hidden, "activation.GELU", bias=False))
    _write_json(out / "3_LayerNorm" / "config.json", {"dimension": hidden})
    _write_json(
        out / "4_Dense" / "config.json", _dense(hidden, 1, "linear.Identity", output="scores", bias=True)
    )
    _write_json(out / "modules.json", modules)
    _write_json(
        out / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        },
    )
    _write_json(
        out / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "5.7.0"},
            "activation_fn": "torch.nn.modules.linear.Identity",
            "model_type": "CrossEncoder",
            "prompts": {},
        },
    )


def _dense(
    inputs: int, outputs: int, activation: str, *, bias: bool, output: str = "sentence_embedding"
) -> dict[str, Any]:
    return {
        "in_features": inputs,
        "out_features": outputs,
        "bias": bias,
        "activation_function": f"torch.nn.modules.{activation}",
        "module_input_name": "sentence_embedding",
        "module_output_name": output,
    }


def _tokenizer_config(sizes: Architecture) -> dict[str, Any]:
    """Return what transformers needs beside the tokenizer. Only a BERT reads which text a token is in."""
    plain = sizes.kind == "bert"
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_LENGTH,
        "model_input_names": ["input_ids", *(["token_type_ids"] if plain else []), "attention_mask"],
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": _UNUSED if _padding(sizes) else "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
