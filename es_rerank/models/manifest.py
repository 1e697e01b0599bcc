"""The manifest of an exported model folder: ``manifest.json``.

The folder holds the model's graph in one or two precisions, ``tokenizer.json`` and the manifest. The manifest
states the model's contract (never guessed from its name), its origin, and the measurements made at export.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from ..errors import ModelFolderError
from ..types import Calibration
from .contracts import (
    BiEncoderContract,
    CalibrationRecord,
    CrossEncoderContract,
    DecoderContract,
    ManifestPart,
    MonoT5Contract,
)
from .stand_in import StandIn

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
FORMAT_VERSION: Literal[1] = 1

ModelKind = Literal["cross-encoder", "monot5", "decoder", "bi-encoder"]
Precision = Literal["fp32", "int8", "fp16"]
QuantisationScheme = Literal[
    "QInt8 weights, static activations",
    "QInt8 weights, dynamic activations",
    "QInt8 weights, dynamic activations by token",
    "QUInt8 weights, static activations",
    "QUInt8 weights, dynamic activations",
]
GraphPass = Literal["attention", "first_row"]

_BY_ROW = frozenset({"QInt8 weights, static activations", "QInt8 weights, dynamic activations by token"})

RERANKERS: frozenset[ModelKind] = frozenset({"cross-encoder", "monot5", "decoder"})
"""The kinds of model that score pairs of query and passage; the other kind embeds texts."""

_READ_BYTES = 1 << 20
IMPORTED = ("es-rerank", "imported")  # the folders within the user's cache that hold imports by name


class FileRecord(ManifestPart):
    """Size and checksum of a file when the folder was written; ``sha256`` is in hexadecimal."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Quantisation(ManifestPart):
    """How the int8 graph was made, and on which processors its speed and scores hold.

    Activations are ``static`` when their scales were fixed at export, ``dynamic`` when every run computes
    them: one for all its tokens, or one ``by token``. ``reduce_range``: the weights have 7 bits, which every
    processor adds without overflow; weights of 8 bits need a processor that
    ``engine.processor.adds_bytes_exactly`` recognises. ``fitted``: the scales were fitted to texts that the
    user gave. ``kept_fp32`` names the parts of the model whose weights stayed fp32.
    """

    scheme: QuantisationScheme = "QInt8 weights, dynamic activations"
    operators: tuple[str, ...]
    per_channel: bool
    reduce_range: bool
    fitted: bool = False
    made_for: str
    kept_fp32: tuple[str, ...] = ()

    @property
    def may_overflow(self) -> bool:
        """Whether sums may overflow on a processor that does not add bytes exactly. Unsigned weights with
        unsigned activations are added in wider numbers everywhere.
        """
        return not self.reduce_range and self.scheme.startswith("QInt8")


class Int8Parity(ManifestPart):
    """The int8 graph compared with torch: differences of scores, and the share of passage pairs in the same
    order.

    A passage pair is two passages of one query. Scores are logits for a cross-encoder and cosines for a
    bi-encoder. ``mean_cosine`` and ``min_cosine`` compare a bi-encoder's vectors with torch's vectors.
    """

    max_difference: float
    mean_difference: float
    agreement: float
    mean_cosine: float | None = None
    min_cosine: float | None = None


class Fp16Parity(ManifestPart):
    """The fp16 graph, in padded runs, compared with torch in fp32: differences of logits, and the share of
    passage pairs in the same order. ``max_difference`` is at most ``tolerance``.

    ``kept_fp32``: how many operators stayed fp32 because their numbers are too large for fp16.
    """

    tolerance: float
    max_difference: float
    mean_difference: float
    agreement: float
    kept_fp32: int = Field(default=0, ge=0)


class Parity(ManifestPart):
    """What the export measured against torch on ``pairs`` fixed pairs; ``fp32_max_difference`` is at most
    ``tolerance``.
    """

    pairs: int
    tolerance: float
    fp32_max_difference: float
    int8: Int8Parity | None = None
    fp16: Fp16Parity | None = None


class Sense(ManifestPart):
    """How many of the pairs of passages of ``ready_made.sense`` the model puts in their order.

    ``language`` is that of the pairs: ``en`` or ``zh``. A model without fault puts all ``of`` them in order.
    """

    language: str
    right: int = Field(ge=0)
    of: int = Field(ge=1)


class Imported(ManifestPart):
    """What was imported: for each precision the graph's name in the source, and int8 beside fp32.

    ``weights`` names the files with weights beside each graph, as the graphs name them.
    ``int8_beside_fp32`` compares the two graphs on the pairs of an export's ``Parity``; absent where the
    source holds one graph only. Its reference is the fp32 graph and not torch.
    """

    graphs: dict[Precision, str]
    weights: dict[Precision, tuple[str, ...]] | None = None
    int8_beside_fp32: Int8Parity | None = None


class Manifest(ManifestPart):
    """The description of an exported model, as ``manifest.json`` holds it.

    ``source`` and ``revision`` say what was exported, ``architecture`` is the class in its ``config.json``,
    ``family`` is the row of ``catalog.FAMILIES``. ``max_length`` is in tokens, special tokens included.
    ``scripts`` names the scripts that the model was trained on, as ``text.scripts.main_script`` writes them;
    absent when it is not known. ``files`` lists every file that is read. ``passes`` lists the changes that
    make the graphs compute less: ``attention`` is one operator for a whole sequence without a mask;
    ``first_row`` computes the last layer for the first token only. The fp16 graph has none of them: it reads
    padded runs with a mask, for GPUs. ``calibration`` is absent when the probability is the logit's logistic.
    ``imported`` is stated by a model whose graphs were taken ready-made; they were not compared with torch.
    ``sense`` is absent where nobody measured it, ``stand_in`` where the model was fitted to no better one.
    """

    format_version: Literal[1] = FORMAT_VERSION
    name: str = Field(min_length=1)
    kind: ModelKind
    source: str
    revision: str | None = None
    licence: str
    attribution: str
    architecture: str
    family: str
    max_length: int = Field(ge=8)
    scripts: tuple[str, ...] | None = None
    cross_encoder: CrossEncoderContract | None = None
    monot5: MonoT5Contract | None = None
    decoder: DecoderContract | None = None
    bi_encoder: BiEncoderContract | None = None
    calibration: CalibrationRecord | None = None
    files: dict[str, FileRecord]
    variants: dict[Precision, str] = Field(min_length=1)
    default_variant: Precision
    passes: tuple[GraphPass, ...] = ()
    quantisation: Quantisation | None = None
    parity: Parity | None = None
    imported: Imported | None = None
    sense: tuple[Sense, ...] | None = None
    stand_in: StandIn | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _whole_model(cls, stated: object) -> object:
        """Leave out ``early_exit`` and the files that it names.

        Exports could once hold a model in two parts beside the whole one, so that it could stop at an inner
        layer. Only the whole one is read now, and such a folder still has it.
        """
        match stated:
            case {"early_exit": {"first": dict(first), "rest": dict(rest)}, "files": dict(files), **others}:
                parts = [*first.values(), *rest.values()]
                return {**others, "files": {name: files[name] for name in files if name not in parts}}
        return stated

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        contracts = {
            "cross-encoder": self.cross_encoder,
            "monot5": self.monot5,
            "decoder": self.decoder,
            "bi-encoder": self.bi_encoder,
        }
        if [kind for kind, contract in contracts.items() if contract is not None] != [self.kind]:
            raise ValueError(f"a {self.kind} states exactly its own contract")
        if self.default_variant not in self.variants:
            raise ValueError(
                f"the default variant {self.default_variant} is not among the variants "
                f"{sorted(self.variants)}"
            )
        if self.default_variant == "fp16" and len(self.variants) > 1:
            raise ValueError("fp16 is for GPUs: it is the default only where a folder has nothing else")
        if unlisted := sorted({TOKENIZER, *self.variants.values()} - set(self.files)):
            raise ValueError(f"files without checksum: {', '.join(unlisted)}")
        if outside := [name for name in self.files if Path(name).name != name or name in {"", ".", ".."}]:
            raise ValueError(f"file names that leave the folder: {', '.join(outside)}")
        return self

    def others(self, graph: str) -> set[str]:
        """Return the files that only other precisions than that of the graph ``graph`` need: graphs and their
        weights.
        """
        own = next(precision for precision, name in self.variants.items() if name == graph)
        read = {precision: {name} | self.weights(precision) for precision, name in self.variants.items()}
        return set().union(*read.values()) - read[own]

    def weights(self, precision: Precision) -> set[str]:
        """Return the files with weights that the graph of a precision reads. One about which nothing is
        stated belongs to every precision.
        """
        of_none = set(self.files) - {TOKENIZER, *self.variants.values()}
        for each in self.variants:
            of_none -= self._stated_weights(each)
        return (self._stated_weights(precision) & set(self.files)) | of_none

    def _stated_weights(self, precision: Precision) -> set[str]:
        """Return what an import states, or else the names that an export gives."""
        if self.imported is not None and self.imported.weights is not None:
            return set(self.imported.weights.get(precision, ()))
        return {f"{self.variants[precision]}_data"}

    def coefficients(self) -> Calibration | None:
        """Return the calibration as the NamedTuple that scoring uses; None when the model has none."""
        return None if self.calibration is None else self.calibration.coefficients()

    def precision(self, wanted: Precision | None) -> Precision:
        """Return the precision to use: ``wanted``, or the default when ``wanted`` is None."""
        return wanted or self.default_variant

    def by_row(self, wanted: Precision | None) -> bool:
        """Whether a precision computes each row alone; dynamic int8 uses one scale for a whole batch, unless
        each token has one.
        """
        alone = self.quantisation is not None and self.quantisation.scheme in _BY_ROW
        return self.precision(wanted) != "int8" or alone

    def variant(self, precision: Precision | None) -> str:
        """Return the file name of the graph in a precision, or in the default precision.

        Raises ModelFolderError when the model has no graph in this precision.
        """
        wanted = self.precision(precision)
        if wanted not in self.variants:
            raise ModelFolderError(
                f"model {self.name} has no {wanted} variant, only {', '.join(sorted(self.variants))}; name "
                "none (ES_RERANK_PRECISION), or choose a model that has it"
            )
        return self.variants[wanted]


def parse_manifest(folder: Path) -> Manifest:
    """Return the manifest of a model folder without checking the files that it lists.

    Raises ModelFolderError when the folder has no manifest, or when the manifest cannot be read.
    """
    return _parsed(folder, _text(folder))


def read_manifest(folder: Path, *, kind: ModelKind | None = None) -> Manifest:
    """Return the manifest of a model folder, after checking that its files exist with the stated sizes.

    Raises ModelFolderError when the folder is missing, incomplete, of an unknown format, or not of the
    ``kind``.
    """
    manifest = parse_manifest(folder)
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelFolderError(
                f"{path} is missing, though the manifest lists it; export the model again or copy the whole "
                "folder"
            )
        if path.stat().st_size != record.bytes:
            raise ModelFolderError(
                f"{path} has {path.stat().st_size} bytes, the manifest says {record.bytes}; {_ALTERED}"
            )
    if kind is not None and manifest.kind != kind:
        raise ModelFolderError(
            f"{folder} holds a {manifest.kind} and not a {kind}; give the folder of a {kind}"
        )
    return manifest


def verify(folder: Path, manifest: Manifest, graph: str) -> None:
    """Compare the checksums of ``graph`` and of all files that are not graphs with the manifest.

    Graphs and weights of other precisions are not checked, because they are not going to be read. Raises
    ModelFolderError when a checksum differs.
    """
    others = manifest.others(graph)
    for name, record in manifest.files.items():
        if name not in others and file_record(folder / name).sha256 != record.sha256:
            kept = folder.parent.parts[-2:] == IMPORTED
            remedy = f"delete {folder}, and it is imported anew" if kept else _ALTERED
            raise ModelFolderError(f"{folder / name} does not have the checksum of its manifest; {remedy}")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``; fields that are None are left out."""
    (folder / MANIFEST).write_text(
        manifest.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8"
    )


def file_record(path: Path) -> FileRecord:
    """Return size and checksum of a file; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return FileRecord(sha256=digest.hexdigest(), bytes=path.stat().st_size)


_ALTERED = "it was altered or copied incompletely; copy the folder again or export the model again"


def _text(folder: Path) -> str:
    if not folder.is_dir():
        fault = f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}"
        raise ModelFolderError(
            f"{fault}; give the path of a model folder, or make one by: es-rerank import MODEL OUT, or export"
        )
    if (folder / MANIFEST).is_file():
        return (folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
    if (folder / "config.json").is_file():
        raise ModelFolderError(
            f"{folder} is a torch model, not an exported one; run: es-rerank export {folder} OUT, and give "
            "OUT instead"
        )
    raise ModelFolderError(
        f"{folder} has no {MANIFEST}; give the path of a model folder, or make one: es-rerank import MODEL "
        "OUT, or export"
    )


def _parsed(folder: Path, text: str) -> Manifest:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ModelFolderError(
            f"{folder / MANIFEST} is not JSON ({error}); export the model again"
        ) from error
    version = raw.get("format_version") if isinstance(raw, Mapping) else None
    if version != FORMAT_VERSION:
        raise ModelFolderError(
            f"{folder / MANIFEST} has format version {version}, this es-rerank reads {FORMAT_VERSION}; "
            "export the model again"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ModelFolderError(
            f"{folder / MANIFEST}: {where}: {first['msg']}; export the model again"
        ) from error
