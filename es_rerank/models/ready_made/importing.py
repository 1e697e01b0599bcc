"""One import from start to end: files, graphs, checks, manifest. The folder is kept only when all succeed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ...addresses import masked_in
from ...engine.processor import adds_bytes_exactly
from ...engine.session import Session
from ...errors import ModelFolderError, SettingsError
from ...text.pairs import open_tokenizer
from ...types import FloatArray
from ..local.bi_encoder import BiEncoder
from ..local.cross_encoder import CrossEncoder
from ..manifest import (
    MANIFEST,
    TOKENIZER,
    GraphPass,
    Imported,
    Int8Parity,
    Manifest,
    ModelKind,
    Precision,
    Sense,
    file_record,
    write_manifest,
)
from ..parity_pairs import LEAST_AGREEMENT, PARITY_PAIRS, PARITY_PASSAGES, PARITY_QUERIES
from ..placing import free_place, put_in_place
from ..source.contracts import pooling_settings
from ..source.limits import check_prefixes, check_words
from ..source.model import LEAST_WINDOW, SourceModel
from . import ImportOptions, Rewrite, Say
from .card import licence_of
from .checking import check_logits, check_rows, check_vocabulary, output_shape, running_window
from .contract import read_contract
from .graph_file import GraphFacts, read_graph
from .graphs import choose
from .maven import in_a_jar, unpacked
from .origin import Origin, origin_of, statements
from .quantised import int8_beside, quantisation_of, vectors_beside
from .sense import embedder_sense, languages, reranker_sense, sense_warning
from .tokenizer_file import save_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_GRAPHS: dict[Precision, str] = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
_LIBRARIES = ("es-rerank", "huggingface-hub", "onnxruntime", "tokenizers")


def import_model(
    model: str,
    out: Path,
    options: ImportOptions | None = None,
    *,
    rewrite: Rewrite | None = None,
    say: Say = lambda _: None,
) -> Manifest:
    """Write a model folder from ready-made ONNX graphs and return its manifest.

    ``model`` is a Hub id, a local folder in the layout of the Hub, ``maven:NAME`` or a jar. ``rewrite`` makes
    the fp32 graph compute less. ``say`` receives one line of text for each step and each warning. Raises
    SettingsError for options that do not fit the source, ModelFolderError for a source that cannot be
    fetched, read or run. After an error, ``out`` is unchanged.
    """
    options = options or ImportOptions()
    _refuse(model, out)
    place = free_place(out, force=options.force)
    check_words(options, MODEL=model, OUT=place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            manifest = write_import(model, made, options, options.name or place.name, rewrite, say)
            put_in_place(made, place, replace=options.force)
    except OSError as error:
        raise ModelFolderError(
            f"{model} could not be imported into {out} ({error}); check the disk and who may read and write "
            "there"
        ) from error
    return manifest


def write_import(
    model: str, made: Path, options: ImportOptions, name: str, rewrite: Rewrite | None, say: Say
) -> Manifest:
    """Write the files of an import into the empty folder ``made``; see ``import_model``."""
    if in_a_jar(model):
        manifest = unpacked(model, made, options)  # a jar's model has one name, wherever its folder is
        tokenizer = open_tokenizer(made / TOKENIZER)
        check_prefixes(manifest, tokenizer)
        write_manifest(made, manifest)
        found = _sense(made, manifest, tokenizer, say)
        manifest = manifest.model_copy(update={"sense": found, "versions": _versions()})
        write_manifest(made, manifest)
        return manifest
    origin = origin_of(model, options.revision)
    return import_from(origin, made, options, name, rewrite, say)


def import_from(
    origin: Origin, made: Path, options: ImportOptions, name: str, rewrite: Rewrite | None, say: Say
) -> Manifest:
    """Write the files of an import from ``origin`` into the empty folder ``made``."""
    if MANIFEST in origin.files and "config.json" not in origin.files:
        raise ModelFolderError(
            f"{origin.name} is a model folder of es-rerank already; give it to --reranker or --embedder"
        )
    return _Import(origin, made, options, name, say).run(rewrite)


class _Import:
    """The steps of one import, which writes to the folder ``made``."""

    def __init__(self, origin: Origin, made: Path, options: ImportOptions, name: str, say: Say) -> None:
        self._origin, self._made, self._options, self._name, self._say = origin, made, options, name, say
        self._graphs: dict[Precision, str] = {}
        self._facts: dict[Precision, GraphFacts] = {}

    def run(self, rewrite: Rewrite | None) -> Manifest:
        """Fetch, check and measure; write the manifest and return it."""
        made, say, options = self._made, self._say, self._options
        source_folder, files = self._take()
        tokenizer = self._save_tokenizer(files)
        contract = self._checked(files, tokenizer)
        if contract.kind != "bi-encoder" and options.name is None:
            # An index records the name of an embedder, so that one stays whole.
            self._name = self._name.rpartition("/")[2]
        passes = self._rewritten(contract, rewrite)
        manifest = self._manifest(contract, source_folder, passes)
        check_prefixes(manifest, tokenizer)
        write_manifest(made, manifest)
        sense = _sense(made, manifest, tokenizer, say)
        beside = self._beside(manifest)
        manifest = manifest.model_copy(
            update={
                "sense": sense,
                "default_variant": self._default(contract.kind, beside),
                "imported": Imported(graphs=self._graphs, weights=self._weights(), int8_beside_fp32=beside),
            }
        )
        write_manifest(made, manifest)
        if "fp32" in manifest.variants and manifest.default_variant == "fp32" and beside is not None:
            say(f"fp32 is the default of {self._name}; give --only int8 for the other")
        if options.only is None and len(self._graphs) == 1 and "int8" in self._graphs:
            say(f"{self._name} has no fp32 graph, so that its int8 graph is compared with nothing")
        return manifest

    def _take(self) -> tuple[Path, Path]:
        """Fetch the files and copy the graphs; return the folder of the source, and that of its
        configuration.
        """
        origin, options = self._origin, self._options
        choice = choose(origin.name, origin.files, graph=options.graph, only=options.only)
        for line in choice.said:
            self._say(line)
        self._say(f"taking {', '.join(choice.graphs.values())} of {origin.name}")
        folder = origin.fetch([*statements(origin.files, choice.graphs.values()), *choice.graphs.values()])
        for name in choice.graphs.values():
            facts = read_graph(folder / name)
            self._add(name, facts)
            data = [str(_parent(name) / _inside(folder / name, each)) for each in facts.external]
            if data:
                origin.fetch(data)
        for precision, name in self._graphs.items():
            shutil.copyfile(folder / name, self._made / _GRAPHS[precision])
            for each in self._facts[precision].external:
                if (self._made / each).exists() and len({*map(_parent, self._graphs.values())}) > 1:
                    raise ModelFolderError(
                        f"two graphs of {origin.name} keep their weights in files called {each}; take one of "
                        "them with --only fp32 or --only int8"
                    )
                shutil.copyfile(folder / _parent(name) / each, self._made / each)
        graphs_folder = (folder / next(iter(self._graphs.values()))).parent
        beside_graph = (graphs_folder / "config.json").is_file() and not (folder / "config.json").is_file()
        return folder, graphs_folder if beside_graph else folder

    def _add(self, name: str, facts: GraphFacts) -> None:
        """Note a graph under the precision that its operators show. Raises ModelFolderError for one that is
        not run here, or a second one of the same precision.
        """
        match facts.kind:
            case "fp16" | "other":
                raise ModelFolderError(
                    f"{self._origin.name}: {name} holds weights of {'16' if facts.kind == 'fp16' else '4'} "
                    "bits, which are not run here; name an fp32 or int8 graph with --graph, or run: "
                    "es-rerank export MODEL OUT"
                )
            case "fp32" | "int8" as precision:
                pass
        if self._options.only not in {None, precision}:
            raise ModelFolderError(
                f"{self._origin.name}: {name} is in {precision}, whatever its name says; name another graph "
                "with --graph, or leave --only out"
            )
        if precision in self._graphs:
            raise ModelFolderError(
                f"{self._origin.name}: {self._graphs[precision]} and {name} are both in {precision}; name "
                "one of them with --graph"
            )
        self._graphs[precision], self._facts[precision] = name, facts

    def _save_tokenizer(self, files: Path) -> Tokenizer:
        places = [files, *(files / _parent(name) for name in self._graphs.values())]
        return save_tokenizer(self._origin.name, files, places, self._made / TOKENIZER)

    def _checked(self, files: Path, tokenizer: Tokenizer) -> SourceModel:
        """Return the contract of the graphs, after trial runs of each."""
        contracts = []
        for precision in self._graphs:
            graph = self._made / _GRAPHS[precision]
            shown = Path(self._origin.name) / self._graphs[precision]
            session = _opened(graph, shown)
            contract = read_contract(files, shown, self._options, output_shape(shown, session))
            if contract.kind == "cross-encoder":
                check_logits(shown, self._facts[precision].last)
            check_vocabulary(shown, session, tokenizer)
            window = running_window(
                shown, session, contract.max_length, asked=self._options.max_length is not None
            )
            if window < LEAST_WINDOW:
                raise ModelFolderError(f"{shown} runs {window} tokens only; choose another model")
            if window < contract.max_length:
                self._say(f"{shown} runs {window} tokens, which is the maximum length now")
            check_rows(shown, session, shared=not self._facts[precision].dynamic)
            contracts.append(replace(contract, max_length=window))
        if contracts[0].bi_encoder is not None and self._options.pooling is None:
            self._say_pooling(files, contracts[0].bi_encoder.pooling)
        first, last = contracts[0], contracts[-1]
        if (first.kind, first.cross_encoder, first.bi_encoder) != (
            last.kind,
            last.cross_encoder,
            last.bi_encoder,
        ):
            raise ModelFolderError(
                f"the graphs {' and '.join(self._graphs.values())} of {self._origin.name} give outputs of "
                "different kinds; take one of them with --only fp32 or --only int8"
            )
        return replace(first, max_length=min(contract.max_length for contract in contracts))

    def _say_pooling(self, files: Path, pooling: str) -> None:
        if not pooling_settings(files):
            self._say(
                f"warning: no file of {self._origin.name} states how its vectors are pooled, so {pooling} is "
                "taken; if its authors take the first token, as those of BGE do, give --pooling cls"
            )

    def _rewritten(self, contract: SourceModel, rewrite: Rewrite | None) -> tuple[GraphPass, ...]:
        """Run the graph passes on the fp32 graph. A graph that they cannot read stays as it is."""
        if "fp32" not in self._graphs:
            return ()
        if rewrite is None:
            self._say(
                "the graph passes were left out: after uv pip install onnx (no torch), es-rerank import "
                "makes an fp32 graph that takes less time on long passages"
            )
            return ()
        graph = self._made / _GRAPHS["fp32"]
        before = graph.with_name(f"before_{graph.name}")
        shutil.copyfile(graph, before)
        try:
            passes = rewrite(graph, contract.kind, contract.max_length)
        except Exception as error:  # noqa: BLE001 onnx and ONNX Runtime raise many kinds for a graph of others
            before.replace(graph)
            self._say(f"the graph passes do not fit this graph and were left out ({type(error).__name__})")
            return ()
        finally:
            before.unlink(missing_ok=True)
        return passes

    def _beside(self, manifest: Manifest) -> Int8Parity | None:
        """Compare int8 with fp32 and say where they differ much; None when there is only one of them."""
        if len(self._graphs) < 2:
            return None
        self._say(f"comparing int8 with fp32 on {len(PARITY_PAIRS)} pairs")
        fp32, int8 = (_results(self._made, manifest, precision) for precision in ("fp32", "int8"))
        figures = (vectors_beside if manifest.kind == "bi-encoder" else int8_beside)(fp32, int8)
        if figures.agreement < LEAST_AGREEMENT:
            self._say(
                f"warning: int8 leaves {figures.agreement:.1%} of the passage pairs of {self._name} in the "
                f"order of fp32, less than {LEAST_AGREEMENT:.0%}, so fp32 is the default"
            )
        return figures

    def _default(self, kind: ModelKind, beside: Int8Parity | None) -> Precision:
        """Return int8 where it is there, agrees with fp32, and adds up exactly on this processor.

        For an embedder it is fp32: vectors of one index may be made on several machines, and they must not
        depend on the processor that the import ran on.
        """
        if "fp32" not in self._graphs or "int8" not in self._graphs:
            return next(iter(self._graphs))
        if kind == "bi-encoder":
            return "fp32"
        exact = adds_bytes_exactly() or not quantisation_of(self._facts["int8"]).may_overflow
        agrees = beside is None or beside.agreement >= LEAST_AGREEMENT
        return "int8" if exact and agrees else "fp32"

    def _weights(self) -> dict[Precision, tuple[str, ...]] | None:
        """Return the files with weights beside each graph, None when all weights lie in the graphs."""
        found = {each: read_graph(self._made / _GRAPHS[each]).external for each in self._graphs}
        return found if any(found.values()) else None

    def _manifest(self, contract: SourceModel, folder: Path, passes: tuple[GraphPass, ...]) -> Manifest:
        origin, options = self._origin, self._options
        name = masked_in(options.source or origin.name)
        return Manifest(
            name=self._name,
            kind=contract.kind,
            source=name,
            revision=origin.revision or options.revision,
            licence=options.licence or licence_of(folder) or "not stated",
            attribution=options.attribution or f"imported from {name}",
            architecture=contract.architecture,
            family=contract.family.name,
            max_length=contract.max_length,
            scripts=options.scripts,
            cross_encoder=contract.cross_encoder,
            bi_encoder=contract.bi_encoder,
            variants={precision: _GRAPHS[precision] for precision in self._graphs},
            default_variant=next(iter(self._graphs)),
            passes=passes,
            quantisation=quantisation_of(self._facts["int8"]) if "int8" in self._facts else None,
            imported=Imported(graphs=self._graphs, weights=self._weights()),
            files={
                path.name: file_record(path) for path in sorted(self._made.iterdir()) if path.name != MANIFEST
            },
            versions=_versions(),
        )


def _parent(name: str) -> PurePosixPath:
    return PurePosixPath(name).parent


def _refuse(model: str, out: Path) -> None:
    here, there = out.resolve(), Path(model).resolve()
    if Path(model).exists() and (here == there or here in there.parents):
        raise SettingsError(
            f"{out} holds the model that is imported, and is not replaced; choose another OUT"
        )


def _opened(graph: Path, shown: Path) -> Session:
    """Return the session of a graph. Its errors name the graph as ``shown``, as the source does."""
    try:
        return Session(graph)
    except ModelFolderError as error:
        said = error.message.replace(str(graph), str(shown))
        remedy = "fetch it again, or run: es-rerank export MODEL OUT"
        raise ModelFolderError(said.replace("export the model again", remedy)) from error


def _inside(graph: Path, location: str) -> str:
    """Return the name of a file with weights. Raises ModelFolderError for one that is elsewhere."""
    taken = {TOKENIZER, MANIFEST, *_GRAPHS.values()}
    if not location or Path(location).name != location or location in {".", ".."} or location in taken:
        raise ModelFolderError(
            f"{graph} keeps its weights in {location!r}, and they have to lie beside it under a name of "
            "their own; save the model again with its weights beside the graph"
        )
    return location


def _sense(made: Path, manifest: Manifest, tokenizer: Tokenizer, say: Say) -> tuple[Sense, ...]:
    """Measure whether the model makes sense, and warn when it does not."""
    asked = languages(tokenizer, manifest.scripts)
    if manifest.kind == "bi-encoder":
        with BiEncoder(made) as embedder:
            found = embedder_sense(embedder, asked)
    else:
        with CrossEncoder(made) as reranker:
            found = reranker_sense(reranker, asked)
    if warning := sense_warning(manifest.name, found):
        say(warning)
    return found


def _results(made: Path, manifest: Manifest, precision: Precision) -> FloatArray:
    """Return the logits of the parity pairs, or the vectors of their texts."""
    if manifest.kind == "bi-encoder":
        with BiEncoder(made, variant=precision) as embedder:
            return embedder.embed([*PARITY_QUERIES, *PARITY_PASSAGES])
    with CrossEncoder(made, variant=precision) as reranker:
        return np.concatenate([reranker.score(query, PARITY_PASSAGES).values for query in PARITY_QUERIES])


def _versions() -> dict[str, str]:
    return {library: version(library) for library in _LIBRARIES}
