"""Takes the weights of a BERT out of an exported graph, so that a training run can start from them.

Some models can be had as int8 graphs only: small embedders in Maven packages, and the cross-encoders that
this project ships. A weight comes back as int8 number x scale, so it differs from the original by its
rounding. A folder that has an fp32 graph too gives its weights as they are.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from ...errors import SourceError
from ...models.local.bi_encoder import BiEncoder
from ...models.local.cross_encoder import CrossEncoder
from ...models.manifest import TOKENIZER, Manifest, Precision, read_manifest
from ...text.pairs import open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Weights = dict[str, npt.NDArray[np.float32]]

_ROLE = re.compile(
    r"layer\.(\d+)/(attention/self/(?:query|key|value)|attention/output/dense|intermediate/dense|output/dense)/"
)
"""The layer and the linear map in the name of a node's output, as torch's ONNX exporter writes them."""

_HEAD_SIZES = (32, 64)
"""Sizes of an attention head that are tried where the graph does not name its own: MiniLM, BGE small and E5
small have 32, most other BERTs have 64."""

_NEAREST = 0.98
"""Least cosine between the vectors of the graph and of the weights that were taken out of it.

The rounding of int8 activations, which the weights do not have, leaves 0.99 and more.
"""

_WORD = re.compile(r"(##)?\w+")
"""A piece of a BERT vocabulary that is no special token such as [CLS] or <S>."""

_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
"""Special tokens of BERT's own vocabularies."""

_SPECIAL_XLM = {
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
"""Special tokens of the vocabulary of XLM-R, which multilingual BERTs such as E5 small have."""


def take_weights(folder: Path, out: Path) -> None:
    """Write the BERT of an exported folder to ``out``, as transformers writes it, with its tokenizer.

    It is a cross-encoder with its head, or a bi-encoder's body. The fp32 graph is taken where the folder has
    one, else the int8 graph. Raises SourceError when the graph is not a BERT whose weights have the names of
    torch's exporter, or when the weights do not give what the graph gives.
    """
    manifest = read_manifest(folder)
    variant: Precision = "fp32" if "fp32" in manifest.variants else "int8"
    if variant not in manifest.variants:
        raise SourceError(
            f"{folder} has neither an fp32 nor an int8 graph to take weights from; name another folder",
            path=str(folder),
        )
    graph = onnx.load(folder / manifest.variants[variant])
    found = _weights(graph, folder, variant)
    config = _config(found)
    head = {name: value for name, value in found.items() if name.startswith(("bert.pooler.", "classifier."))}
    config.update(
        {
            "num_attention_heads": _attention_heads(
                folder, manifest, found, config, _stated_heads(graph), variant
            )
        }
    )
    config["architectures"] = [
        "BertForSequenceClassification" if "classifier.weight" in head else "BertModel"
    ]
    prefix = "" if "classifier.weight" in head else "bert."
    tensors = {
        name.removeprefix(prefix): torch.from_numpy(np.array(value, order="C"))
        for name, value in found.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(folder / TOKENIZER, out / TOKENIZER)
    (out / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": manifest.max_length, **_tokenizer_settings(folder)}), encoding="utf-8"
    )


def _tokenizer_settings(folder: Path) -> dict[str, str | bool]:
    """Return the class of the tokenizer, whether it makes capital letters small, and its special tokens.

    Raises SourceError for unknown special tokens.
    """
    tokenizer = open_tokenizer(folder / TOKENIZER)
    for name, special in (("BertTokenizerFast", _SPECIAL), ("PreTrainedTokenizerFast", _SPECIAL_XLM)):
        if all(tokenizer.token_to_id(special[role]) is not None for role in ("cls_token", "pad_token")):
            settings: dict[str, str | bool] = {"tokenizer_class": name, **special}
            # transformers' BERT tokenizer makes letters small unless told otherwise, whatever the file says.
            return settings | ({"do_lower_case": _small_letters(tokenizer)} if special is _SPECIAL else {})
    raise SourceError(
        f"the tokenizer of {folder} has neither the special tokens of BERT, such as [CLS], nor those of "
        "XLM-R, such as <s>; start from another model",
        path=str(folder),
    )


def _small_letters(tokenizer: Tokenizer) -> bool:
    """Return whether capital letters are to be read as small ones: the tokenizer makes them small, or its
    vocabulary has no word with a capital letter, as that of bge-small-zh, and would read them as unknown.
    """
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    if normalizer.get("lowercase"):
        return True
    return all(word == word.lower() for word in tokenizer.get_vocab() if _WORD.fullmatch(word))


def _weights(model: onnx.ModelProto, folder: Path, variant: Precision) -> Weights:
    """Return all weights under the names of ``BertForSequenceClassification``."""
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    # The exporter stores equal weights once, and gives them their other names by Identity.
    stored |= {
        node.output[0]: stored[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in stored
    }
    found: Weights = {}
    for name, value in stored.items():
        plain = name if name.startswith(("bert.", "classifier.")) else f"bert.{name}"
        if re.search(
            r"(LayerNorm|query|key|value|dense|classifier)\.(weight|bias)$|token_type_embeddings.weight$",
            plain,
        ):
            found[plain] = value.astype(np.float32)
    for kind in ("word", "position", "token_type"):
        table = _table(stored, f"embeddings.{kind}_embeddings.weight")
        if table is not None:
            found[f"bert.embeddings.{kind}_embeddings.weight"] = table
    for node in model.graph.node:
        role = _ROLE.search(node.output[0]) if node.op_type.startswith("MatMul") else None
        if role is None:
            continue
        name = f"bert.encoder.layer.{role[1]}.{role[2].replace('/', '.')}"
        matrix = _matrix(node, stored)
        if matrix is None:
            continue
        found[f"{name}.weight"] = matrix.T
        if node.op_type == "MatMulIntegerToFloat" and len(node.input) > 6:
            found[f"{name}.bias"] = stored[node.input[6]].astype(np.float32)
    layers = {int(part[1]) for name in found if (part := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))}
    if not layers or "bert.embeddings.word_embeddings.weight" not in found:
        raise SourceError(
            f"the {variant} graph in {folder} has no weights of a BERT under the names of torch's exporter; "
            "start from another model",
            path=str(folder),
        )
    return found


def _table(stored: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32] | None:
    """Return an embedding table, whichever form it has, one of two of int8 or fp32; None without one."""
    for start in (f"bert.{name}", name):
        if start in stored:
            return np.asarray(stored[start], dtype=np.float32)
        if f"{start}/int8" in stored:
            return np.asarray(
                stored[f"{start}/int8"] * stored[f"{start}/scale"].reshape(-1, 1), dtype=np.float32
            )
        if f"{start}_quantized" in stored:
            zero = stored[f"{start}_zero_point"].astype(np.int32)
            whole = stored[f"{start}_quantized"].astype(np.int32) - zero
            return np.asarray(whole * stored[f"{start}_scale"], dtype=np.float32)
    return None


def _matrix(node: onnx.NodeProto, stored: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32] | None:
    """Return a linear map, float32, (inputs, outputs): int8 numbers x scale, x the factors before it; or the
    map of an fp32 graph as it is.
    """
    name = node.input[1]
    if name not in stored:
        return None
    if node.op_type == "MatMulIntegerToFloat":
        scale = stored[node.input[3]]
        # ``factors`` are what the activations are multiplied with before they are rounded.
        factors = stored.get(f"{node.input[2].removesuffix('/scale')}/factors")
        matrix = stored[name].astype(np.float32) * scale
        return np.asarray(matrix if factors is None else factors[:, None] * matrix, dtype=np.float32)
    if node.op_type == "MatMul":
        return np.asarray(stored[name], dtype=np.float32)
    start = name.removesuffix("_quantized")
    zero = stored[f"{start}_zero_point"].astype(np.int32)
    return np.asarray((stored[name].astype(np.int32) - zero) * stored[f"{start}_scale"], dtype=np.float32)


def _config(found: Weights) -> dict[str, Any]:
    words = found["bert.embeddings.word_embeddings.weight"]
    layers = {name.split(".")[3] for name in found if name.startswith("bert.encoder.layer.")}
    return {
        "model_type": "bert",
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "num_hidden_layers": len(layers),
        "intermediate_size": found["bert.encoder.layer.0.intermediate.dense.bias"].shape[0],
        "max_position_embeddings": found["bert.embeddings.position_embeddings.weight"].shape[0],
        "type_vocab_size": found["bert.embeddings.token_type_embeddings.weight"].shape[0],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }


def _stated_heads(model: onnx.ModelProto) -> int | None:
    """Return the number of attention heads that the graph states, None where it states none."""
    stated = {
        attribute.i
        for node in model.graph.node
        if node.op_type == "MultiHeadAttention"
        for attribute in node.attribute
        if attribute.name == "num_heads"
    }
    return stated.pop() if len(stated) == 1 else None


def _attention_heads(
    folder: Path,
    manifest: Manifest,
    found: Weights,
    config: dict[str, Any],
    stated: int | None,
    variant: Precision,
) -> int:
    """Return the number of attention heads: the one with which the weights give what the graph gives.

    ``stated`` is the number that the graph states; None tries those of ``_HEAD_SIZES``.
    """
    body = {
        name.removeprefix("bert."): torch.from_numpy(np.array(value, order="C"))
        for name, value in found.items()
        if name.startswith("bert.")
    }
    hidden, expected = config["hidden_size"], _graph_result(folder, manifest, variant)
    tried = [hidden // size for size in _HEAD_SIZES if hidden % size == 0] if stated is None else [stated]
    near: dict[int, float] = {}
    for heads in tried:
        settings = BertConfig(**{**config, "num_attention_heads": heads})
        model = BertModel(settings, add_pooling_layer="pooler.dense.weight" in body)
        model.load_state_dict(body, strict=False)
        near[heads] = _agreement(model.eval(), folder, manifest, found, expected)
    best = max(near, key=near.__getitem__, default=0)
    if near.get(best, 0.0) < _NEAREST:
        raise SourceError(
            f"the weights taken out of the {variant} graph in {folder} do not give what the graph gives: "
            f"{near.get(best, 0.0):.3f}, and {_NEAREST} is the least; start from another model",
            path=str(folder),
        )
    return best


_TEXTS = (
    "how many people live in the capital",
    "The river floods the valley every spring, and the fields stay wet for weeks.",
    "wing flutter at supersonic speed",
    "The committee met in March to discuss the new budget for schools.",
    "蔬菜",
    "A vaccine protects against severe illness.",
)


def _graph_result(folder: Path, manifest: Manifest, variant: Precision) -> npt.NDArray[np.float32]:
    """Return what the graph gives: vectors of the texts, or logits of the first text with every text."""
    if manifest.bi_encoder is not None:
        with BiEncoder(folder, variant=variant) as embedder:
            return np.asarray(embedder.embed(list(_TEXTS)), dtype=np.float32)
    with CrossEncoder(folder, variant=variant) as reranker:
        return reranker.score(_TEXTS[0], list(_TEXTS)).values


def _agreement(
    model: PreTrainedModel,
    folder: Path,
    manifest: Manifest,
    found: Weights,
    expected: npt.NDArray[np.float32],
) -> float:
    """Return the least cosine of the vectors, or the correlation of the logits."""
    tokenizer = open_tokenizer(folder / TOKENIZER)
    results = []
    for text in _TEXTS:
        if manifest.bi_encoder is not None:
            encoding = tokenizer.encode(f"{manifest.bi_encoder.passage_prefix}{text}")
        else:
            encoding = tokenizer.encode(_TEXTS[0], text)
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids])
            )
        hidden = output.last_hidden_state[0].numpy()
        if manifest.bi_encoder is not None:
            vector = hidden[0] if manifest.bi_encoder.pooling == "cls" else hidden.mean(axis=0)
            results.append(vector / np.linalg.norm(vector))
        else:
            results.append(
                output.pooler_output[0].numpy() @ found["classifier.weight"][0] + found["classifier.bias"][0]
            )
    got = np.asarray(results, dtype=np.float32)
    if manifest.bi_encoder is not None:
        return float((got * expected).sum(axis=1).min())
    return float(np.corrcoef(got, expected)[0, 1])
