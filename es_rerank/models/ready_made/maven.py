"""Embedders out of jars of Maven's repositories: ``maven:NAME``, or the jar itself.

The jars are those of langchain4j (``dev.langchain4j``, Apache-2.0). They hold Xenova's int8 graphs of models
under the MIT licence, which run in Python as well as in Java, and their tokenizers. A jar says neither how a
model pools nor what it reads before a query. So the models are listed here, and each file has to be, byte for
byte, the one that was measured.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from ...errors import ModelFolderError, SettingsError
from ...maven import copied, in_local_repository
from ..contracts import BiEncoderContract
from ..manifest import TOKENIZER, FileRecord, Imported, Manifest, Quantisation
from . import ImportOptions

PREFIX = "maven:"
GRAPH = "model_int8.onnx"

_GROUP, _VERSION = "dev.langchain4j", "0.36.2"
_MAX_LENGTH = 512
_READ_BYTES = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, struct.error)
"""What zipfile raises for an archive that is broken, encrypted or packed in an unknown way."""

_BGE_EN = "Represent this sentence for searching relevant passages: "
_BGE_ZH = "为这个句子生成表示以用于检索相关文章："  # noqa: RUF001 the model was trained with this colon
"""What BGE 1.5 reads before a query, and not before a passage (the models' own cards)."""


@dataclass(frozen=True, slots=True)
class JarModel:
    """An embedder in a jar.

    ``graph`` and ``tokenizer``: size and checksum of its two files. ``original`` names the model of which
    ``converted``, on the Hub, is the ONNX file.
    """

    artifact: str
    graph: FileRecord
    tokenizer: FileRecord
    contract: BiEncoderContract
    scripts: tuple[str, ...]
    authors: str
    original: str
    converted: str

    @property
    def coordinates(self) -> str:
        """The artifact as Maven names it, without the extension."""
        return f"{_GROUP}:{self.artifact}:{_VERSION}"


def _row(
    name: str,
    graph: tuple[str, int],
    tokenizer: tuple[str, int],
    contract: BiEncoderContract,
    scripts: tuple[str, ...],
    origin: tuple[str, str],
) -> JarModel:
    authors, original = origin
    return JarModel(
        f"langchain4j-embeddings-{name}-q",
        FileRecord(sha256=graph[0], bytes=graph[1]),
        FileRecord(sha256=tokenizer[0], bytes=tokenizer[1]),
        contract,
        scripts,
        authors,
        original,
        f"Xenova/{original.rpartition('/')[2]}",
    )


def _contract(dims: int, pooling: Literal["mean", "cls"], query: str, passage: str = "") -> BiEncoderContract:
    return BiEncoderContract(dims=dims, pooling=pooling, query_prefix=query, passage_prefix=passage)


_ENGLISH = ("d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66", 711_396)
_CHINESE = ("48cea5d44424912a6fd1ea647bf4fe50b55ab8b1e5879c3275f80e339e8fae26", 439_125)
"""Checksum and size of the tokenizers."""

MODELS: dict[str, JarModel] = {
    "bge-small-en-v15": _row(
        "bge-small-en-v15",
        ("6c9c6101a956d62dfb5e7190c538226c0c5bb9cb27b651234b6df063ee7dbfe4", 34_014_426),
        _ENGLISH,
        _contract(384, "cls", _BGE_EN),
        ("Latin",),
        ("BAAI", "BAAI/bge-small-en-v1.5"),
    ),
    "bge-small-zh-v15": _row(
        "bge-small-zh-v15",
        ("15b717c382bcb518ba457b93ea6850ede7f4f1cd8937454aa06972366cd19bcc", 24_010_842),
        _CHINESE,
        _contract(512, "cls", _BGE_ZH),
        ("Han",),  # every word with a capital letter is one unknown token
        ("BAAI", "BAAI/bge-small-zh-v1.5"),
    ),
    "e5-small-v2": _row(
        "e5-small-v2",
        ("7d9092cb25f2bd1c023b7e8d2aa459044a02030ac880e5a59fdaf27af69f1ded", 34_014_367),
        _ENGLISH,
        _contract(384, "mean", "query: ", "passage: "),
        ("Latin",),
        ("Microsoft", "intfloat/e5-small-v2"),
    ),
}
"""The embedders, by the name behind ``maven:``."""


def in_a_jar(model: str) -> bool:
    """Return whether ``model`` is written ``maven:NAME``, or ends in ``.jar`` and is no folder."""
    return model.startswith(PREFIX) or (model.lower().endswith(".jar") and not Path(model).is_dir())


def identity(model: str) -> tuple[str, str]:
    """Return the name of what ``maven:NAME`` or a jar holds, and a checksum that changes with its content.

    Raises SettingsError for a name that is not known, ModelFolderError for a jar that holds another model.
    """
    name = model.removeprefix(PREFIX)
    if model.startswith(PREFIX):
        _check_name(name)
    else:
        with _opened(Path(model), "copy the jar again") as archive:
            name, _, _ = _entries(Path(model), archive, None)
    return name, hashlib.sha256(f"{MODELS[name].graph} {MODELS[name].tokenizer}".encode()).hexdigest()


def unpacked(model: str, folder: Path, options: ImportOptions | None = None) -> Manifest:
    """Write the graph and the tokenizer of ``model`` into ``folder``, and return the manifest for them.

    ``model``: ``maven:NAME`` with a name of ``MODELS``, or the path of a jar. A jar that Maven's own cache
    holds is read from there; otherwise Maven fetches it. Of the ``options``, name, maximum length and
    prefixes replace what is listed here. Raises SettingsError for a name that is not known or another
    option, ModelFolderError when the jar cannot be fetched or read, or holds other files than those listed.
    """
    options = options or ImportOptions()
    _refuse(model, options)
    found = _unpacked(model, folder)
    return _manifest(found, options)


def _refuse(model: str, options: ImportOptions) -> None:
    """Raise SettingsError for an option that states what is known of a jar."""
    fitting = {"kind": "bi-encoder", "only": "int8"}
    for option in (
        "kind",
        "family",
        "pooling",
        "graph",
        "only",
        "revision",
        "source",
        "licence",
        "attribution",
    ):
        if getattr(options, option) not in (None, fitting.get(option)):
            raise SettingsError(
                f"--{option} {getattr(options, option)} does not fit {model}: its jar holds an int8 graph "
                "of a bi-encoder, about which this is known; leave the option out"
            )
    if options.max_length is not None and options.max_length > _MAX_LENGTH:
        raise SettingsError(
            f"--max-length {options.max_length} is more than the {_MAX_LENGTH} positions of {model}; choose "
            f"at most {_MAX_LENGTH}"
        )


def _unpacked(model: str, folder: Path) -> str:
    """Write the files of a model into ``folder``, and return its name in ``MODELS``."""
    if not model.startswith(PREFIX):
        return _from_jar(Path(model), None, folder, "copy the jar again")
    name = model.removeprefix(PREFIX)
    _check_name(name)
    with _jar_of(MODELS[name], folder) as jar:
        kept = in_local_repository(_GROUP, MODELS[name].artifact, _VERSION, "jar").parent
        return _from_jar(jar, name, folder, f"delete Maven's copy in {kept} and try again")


def _check_name(name: str) -> None:
    if name not in MODELS:
        raise SettingsError(
            f"{PREFIX}{name} is not an embedder that is known here; write one of "
            f"{', '.join(PREFIX + known for known in MODELS)}, or give the path of its jar"
        )


@contextmanager
def _jar_of(model: JarModel, folder: Path) -> Iterator[Path]:
    """Give the jar of a model: the one in Maven's cache, or a copy that Maven makes for so long."""
    kept = in_local_repository(_GROUP, model.artifact, _VERSION, "jar")
    if kept.is_file():
        yield kept
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as fetching:
        yield copied(
            f"{model.coordinates}:jar",
            Path(fetching),
            missing=f"the jar {kept.name}, whose path can be given instead, is not in ~/.m2",
            error=ModelFolderError,
        )


def _from_jar(jar: Path, name: str | None, folder: Path, remedy: str) -> str:
    """Unpack a jar and return the name of the model. ``name``: the one that it has to hold, None for any."""
    try:
        with _opened(jar, remedy) as archive:
            found, graph, tokenizer = _entries(jar, archive, name)
            model = MODELS[found]
            _extract(archive, graph, model.graph, folder / GRAPH)
            _extract(archive, tokenizer, model.tokenizer, folder / TOKENIZER)
    except OSError as error:
        raise ModelFolderError(
            f"{jar} cannot be unpacked into {folder} ({error.strerror or error}); check the disk and who may "
            "write there"
        ) from error
    return found


@contextmanager
def _opened(jar: Path, remedy: str) -> Iterator[zipfile.ZipFile]:
    """Open a jar. Raises ModelFolderError when it cannot be read, here and in the block when it is broken."""
    try:
        with _file(jar) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except _BROKEN as error:
        raise ModelFolderError(f"{jar} is damaged ({error}); {remedy}") from error


def _file(jar: Path) -> BinaryIO:
    if jar.exists() and not jar.is_file():
        raise ModelFolderError(f"{jar} is not a file; give the path of a jar")
    try:
        return jar.open("rb")
    except OSError as error:
        raise ModelFolderError(
            f"{jar} cannot be read ({error.strerror}); check the path and who may read it"
        ) from error


def _entries(
    jar: Path, archive: zipfile.ZipFile, name: str | None
) -> tuple[str, zipfile.ZipInfo, zipfile.ZipInfo]:
    """Return the name of the model in a jar, and its graph and tokenizer, which are known by their sizes."""
    wanted = MODELS if name is None else {name: MODELS[name]}
    sizes = {entry.file_size: entry for entry in archive.infolist()}
    for known, model in wanted.items():
        graph, tokenizer = sizes.get(model.graph.bytes), sizes.get(model.tokenizer.bytes)
        if graph is not None and tokenizer is not None:
            return known, graph, tokenizer
    raise ModelFolderError(
        f"{jar} does not hold the graph and the tokenizer of {' or '.join(wanted)}; the jars that are known "
        f"here are {', '.join(f'{model.artifact}-{_VERSION}.jar' for model in wanted.values())}"
    )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, record: FileRecord, target: Path) -> None:
    """Write one file of a jar; never more than its stated size, which is that of ``record``."""
    digest = hashlib.sha256()
    with archive.open(entry) as source, target.open("wb") as file:
        while piece := source.read(_READ_BYTES):
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != record.sha256:
        raise zipfile.BadZipFile(f"{entry.filename} is not the file that was measured")


def _manifest(found: str, options: ImportOptions) -> Manifest:
    model = MODELS[found]
    prefixes = {"query_prefix": options.query_prefix, "passage_prefix": options.passage_prefix}
    stated = {key: prefix for key, prefix in prefixes.items() if prefix is not None}
    return Manifest(
        name=options.name or found,
        kind="bi-encoder",
        source=f"{PREFIX}{model.coordinates}",
        revision=_VERSION,
        licence="MIT",
        attribution=(
            f"{model.original} by {model.authors}, as int8 ONNX by {model.converted}, in a jar of langchain4j"
        ),
        architecture="BertModel",
        family="bert",
        max_length=options.max_length or _MAX_LENGTH,
        scripts=model.scripts,
        bi_encoder=model.contract.model_copy(update=stated),
        files={GRAPH: model.graph, TOKENIZER: model.tokenizer},
        variants={"int8": GRAPH},
        default_variant="int8",
        imported=Imported(graphs={"int8": f"{model.artifact}-{_VERSION}.jar"}),
        quantisation=Quantisation(
            operators=("MatMul", "Gather"),
            per_channel=True,
            reduce_range=True,  # the weights are -64..64
            made_for="any x86-64 or ARM, with or without VNNI",
        ),
    )
