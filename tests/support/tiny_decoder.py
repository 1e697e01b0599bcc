"""A tiny decoder folder with random weights of Qwen3's kind, made without torch in well under a second."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from tiny_models import GRAPH
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from es_rerank.export.decoder_graph import DecoderShape, decoder_graph
from es_rerank.export.static_int8 import REDUCED
from es_rerank.models.contracts import DecoderContract
from es_rerank.models.manifest import (
    TOKENIZER,
    Manifest,
    Precision,
    Quantisation,
    file_record,
    write_manifest,
)
from es_rerank.types import FloatArray

LAYERS, HEADS, KEY_VALUE_HEADS, HEAD_SIZE, WIDTH, INNER = 2, 4, 2, 6, 16, 24
_WORDS = ("yes", "no", "the", "and", "Query", "Document", "Instruct", "user", "system")
_JOINED = (" the", " t", " a", " s", "in", "er", " d", ".\n", "?\n", "\n\n", ":\n", "  ")
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""How Qwen2's tokenizer cuts a text before it joins bytes (tokenizer.json of Qwen2, ``pre_tokenizer``)."""

INT8 = Quantisation(
    scheme="QInt8 weights, dynamic activations by token",
    operators=("MatMul", "Gather"),
    per_channel=True,
    reduce_range=True,
    made_for="any x86-64 or ARM, with or without VNNI",
    kept_fp32=("head",),
)

QWEN3_LIKE = DecoderContract(
    prompt=(
        "<|im_start|>system\nyes or no<|im_end|>\n<|im_start|>user\n",
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    instruction="find passages",
    false_token="no",
    true_token="yes",
)
"""Pieces like those of Qwen3-Reranker: the tokens of query and document may join their surroundings."""

MXBAI_LIKE = DecoderContract(
    prompt=(
        "<|im_start|>user\n",
        "{instruction}query: {query}",
        "\n",
        "document: {document}",
        "\n",
        "Relevance:",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    instruction="",
    instructed="instruction: {instruction}\n",
    false_token="0",
    true_token="1",
)
"""Pieces like those of mxbai-rerank-v2: each text is tokenised alone, and no instruction is the default."""


def tiny_decoder(
    folder: Path,
    seed: int = 0,
    *,
    max_length: int = 256,
    contract: DecoderContract = QWEN3_LIKE,
    precision: Precision = "fp32",
) -> Path:
    """Write a decoder of two layers whose logits depend on every token and its place; return ``folder``.

    It has one graph, in ``precision``. Weights of int8 have 7 bits, which every processor adds exactly.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_qwen_tokenizer()
    tokenizer.save(str(folder / TOKENIZER))
    draw = np.random.default_rng([seed, max_length])
    weights = _weights(tokenizer.get_vocab_size(), draw)
    angles = np.outer(np.arange(max_length), 100.0 ** -np.linspace(0, 1, HEAD_SIZE // 2))
    shape = DecoderShape(
        layers=LAYERS,
        heads=HEADS,
        key_value_heads=KEY_VALUE_HEADS,
        head_size=HEAD_SIZE,
        epsilon=1e-6,
        cosines=np.cos(angles).astype(np.float32),
        sines=np.sin(angles).astype(np.float32),
    )
    answers = tokenizer.token_to_id(contract.false_token), tokenizer.token_to_id(contract.true_token)
    largest = REDUCED if precision == "int8" else None
    onnx.save(decoder_graph(shape, weights.get, answers, largest=largest), folder / GRAPH)
    manifest = Manifest(
        name="tiny-decoder",
        kind="decoder",
        source="random weights",
        licence="Apache-2.0",
        attribution="made by a test",
        architecture="Qwen3ForCausalLM",
        family="qwen3-reranker",
        max_length=max_length,
        decoder=contract,
        files={name: file_record(folder / name) for name in (GRAPH, TOKENIZER)},
        variants={precision: GRAPH},
        default_variant=precision,
        quantisation=INT8 if precision == "int8" else None,
    )
    write_manifest(folder, manifest)
    return folder


def tiny_qwen_tokenizer(further: Iterable[str] = ()) -> Tokenizer:
    """Return a byte-level BPE tokenizer of Qwen's kind, which joins a space with the word behind it, and
    punctuation with a line's end. It spells other words than a few and the ``further`` ones.
    """
    byte = _bytes()
    vocabulary = {character: number for number, character in enumerate(byte.values())}
    merges: dict[tuple[str, str], None] = {}
    for word in (*_WORDS, *_JOINED, *further):
        for end in range(1, len(word)):
            left = "".join(byte[ord(character)] for character in word[:end])
            pair = (left, byte[ord(word[end])])
            merges.setdefault(pair)
            vocabulary.setdefault("".join(pair), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIALS])
    return tokenizer


def _bytes() -> dict[int, str]:
    """Return the character that stands for each byte in a byte-level vocabulary."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    further = itertools.count(256)
    return {number: chr(number) if number in seen else chr(next(further)) for number in range(256)}


def _weights(vocabulary: int, draw: np.random.Generator) -> dict[str, FloatArray]:
    """Return random weights by transformers' names; head and embeddings are one matrix."""

    def drawn(*dims: int) -> FloatArray:
        return np.asarray(draw.normal(size=dims) / dims[-1] ** 0.5, dtype=np.float32)

    weights = {
        "model.embed_tokens.weight": drawn(vocabulary, WIDTH) * 4,
        "model.norm.weight": 1 + drawn(WIDTH),
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        weights |= {
            f"{name}.input_layernorm.weight": 1 + drawn(WIDTH),
            f"{name}.post_attention_layernorm.weight": 1 + drawn(WIDTH),
            f"{name}.self_attn.q_proj.weight": drawn(HEADS * HEAD_SIZE, WIDTH),
            f"{name}.self_attn.k_proj.weight": drawn(KEY_VALUE_HEADS * HEAD_SIZE, WIDTH),
            f"{name}.self_attn.v_proj.weight": drawn(KEY_VALUE_HEADS * HEAD_SIZE, WIDTH),
            f"{name}.self_attn.o_proj.weight": drawn(WIDTH, HEADS * HEAD_SIZE),
            f"{name}.self_attn.q_norm.weight": 1 + drawn(HEAD_SIZE),
            f"{name}.self_attn.k_norm.weight": 1 + drawn(HEAD_SIZE),
            f"{name}.mlp.gate_proj.weight": drawn(INNER, WIDTH),
            f"{name}.mlp.up_proj.weight": drawn(INNER, WIDTH),
            f"{name}.mlp.down_proj.weight": drawn(WIDTH, INNER),
        }
    return weights
