"""The folder that every system of the bench starts from: a torch cross-encoder as transformers stores it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...extras import missing_extra
from ...models.load import model_folder
from ...models.manifest import TOKENIZER, read_manifest
from ...models.ready_made.hub import faults, hub_fault
from ...settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER

if TYPE_CHECKING:
    import onnx

Tensors = dict[str, npt.NDArray[np.float32]]

_HEAD_SIZE = 32
"""Hidden units per attention head of the bundled model, as in every MiniLM.

The graph does not say it any more. A test compares the folder's logits with the graph's.
"""

_TOKENIZER_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json", TOKENIZER)
_SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}


def bundled_weights(out: Path) -> Path:
    """Write the bundled cross-encoder as a torch folder ``out``, and return ``out``.

    The package holds only the int8 graph. The weights are those of that graph, written as fp32, so they lie
    almost exactly on its int8 grid. Raises MissingExtraError when the export extra is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 only the export extra installs it
        from safetensors.numpy import save_file  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(f"the bench needs {error.name}, which is not installed", "export") from error
    folder = model_folder(BUNDLED_RERANKER)
    manifest = read_manifest(folder, kind="cross-encoder")
    tensors = dequantised(onnx.load(folder / manifest.variant("int8")))
    config = _config(tensors)
    out.mkdir(parents=True, exist_ok=True)
    return _torch_folder(out, folder, manifest.max_length, tensors, config, save_file)


def bundled_embedder_weights(out: Path) -> Path:
    """Write the bundled embedder as a torch folder ``out``, and return ``out``; see ``bundled_weights``."""
    try:
        import onnx  # noqa: PLC0415 only the export extra installs it
        from safetensors.numpy import save_file  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(f"the bench needs {error.name}, which is not installed", "export") from error
    folder = model_folder(BUNDLED_EMBEDDER)
    manifest = read_manifest(folder, kind="bi-encoder")
    tensors = dequantised(onnx.load(folder / manifest.variant("int8")))
    config = _config({f"bert.{name}": value for name, value in tensors.items()})
    config["architectures"] = ["BertModel"]
    return _torch_folder(out, folder, manifest.max_length, tensors, config, save_file)


def _torch_folder(
    out: Path,
    folder: Path,
    max_length: int,
    tensors: Tensors,
    config: dict[str, Any],
    save_file: Callable[..., None],
) -> Path:
    """Write a torch folder ``out`` with the tokenizer of ``folder``, and return ``out``.

    ``save_file`` is that of safetensors, which its callers import, because only an extra installs it.
    """
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(folder / TOKENIZER, out / TOKENIZER)
    files = {
        "config.json": config,
        "tokenizer_config.json": _tokenizer_config(max_length),
        "special_tokens_map.json": _SPECIAL_TOKENS,
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return out


def dequantised(model: onnx.ModelProto) -> Tensors:
    """Return the weights of a BERT graph that ``export.static_int8`` wrote, with the names that torch gives
    them.

    The biases still contain the correction for the mean rounding error of a product.
    """
    from onnx import numpy_helper  # noqa: PLC0415 only the export extra installs it

    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors: Tensors = {
        name: _fp32(value) for name, value in held.items() if name.endswith((".weight", ".bias"))
    }
    for node in model.graph.node:
        if node.op_type == "MatMulIntegerToFloat":
            # Multiplies x, divided by one factor for each column, with W, (in, out). torch stores (out, in).
            name = node.name.strip("/").removesuffix("/MatMul_output_0/product").replace("/", ".")
            factors = held.get(node.input[0].removesuffix("int8") + "factors")
            weights = held[node.input[1]] * held[node.input[3]]
            tensors[f"{name}.weight"] = _fp32((weights if factors is None else weights * factors[:, None]).T)
            tensors[f"{name}.bias"] = _fp32(held[node.input[6]])
        elif node.op_type == "Gather" and node.input[0].endswith(".weight/int8"):
            # Looks up rows of a table; each row has its own step.
            name = node.input[0].removesuffix("/int8")
            tensors[name] = _fp32(held[node.input[0]] * held[f"{name}/scale"])
    return tensors


def _fp32(value: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(value, dtype=np.float32)


def _tokenizer_config(max_length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "BertTokenizerFast",
        "model_max_length": max_length,
        "do_lower_case": True,
        **_SPECIAL_TOKENS,
    }


def _config(tensors: Tensors) -> dict[str, Any]:
    embeddings = {
        part: tensors[f"bert.embeddings.{part}_embeddings.weight"]
        for part in ("word", "position", "token_type")
    }
    words, hidden = embeddings["word"].shape
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": hidden,
        "num_hidden_layers": sum(name.endswith("attention.self.query.weight") for name in tensors),
        "num_attention_heads": hidden // _HEAD_SIZE,
        "intermediate_size": len(tensors["bert.encoder.layer.0.intermediate.dense.bias"]),
        "max_position_embeddings": len(embeddings["position"]),
        "type_vocab_size": len(embeddings["token_type"]),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }


def source_folder(model: str) -> Path:
    """Return the torch folder of a local path or a Hub id. Raises ModelFolderError when there is none."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 only needed for a Hub id

    folder = Path(model)
    try:
        if folder.is_dir():
            return folder
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]
        return Path(snapshot_download(model, allow_patterns=patterns))  # nosec B615 # the caller names the repository
    except faults() as error:
        raise hub_fault(model, error, torch=True) from error


def flat_folder(source: Path, graph: Path, out: Path) -> Path:
    """Write the folder ``out``: a graph as ``model.onnx`` next to the configuration of a torch folder.

    FlashRank and fastembed read this layout.
    """
    out.mkdir(parents=True)
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    special_tokens = out / "special_tokens_map.json"
    if not special_tokens.is_file():  # transformers 5 writes no such file, and FlashRank needs one
        special_tokens.write_text("{}\n", encoding="utf-8")
    shutil.copyfile(graph, out / "model.onnx")
    return out
