"""One system of the bench in its own process: requests are JSON lines on stdin, answers JSON lines on stdout.

The file is run by its path in the environment of a peer. This project is not installed there, so nothing of
it is imported, except when it is the system that is measured. The first argument is a JSON object:
``system``, ``folder``, ``threads``, ``max_length``, and for the export ``out`` and ``preset``. The first
line of output is ``{"ready": true}``. Then each request gets one answer, with one score for each passage in
the given order, or an error:

    request  {"lists": [[query, [passage, ...]], ...], "batch": 8}
    answer   {"seconds": s, "scores": [...]}   or   {"error": "..."}

The process ends when stdin ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_PR_SET_PDEATHSIG = 1

Lists = list[tuple[str, list[str]]]
Score = Callable[[Lists, int], Iterable[float]]
"""A function from lists of passages and a batch size to one score for each passage."""


class Task(NamedTuple):
    """What the process was started for.

    ``max_length`` is in tokens. ``preset`` is sentence-transformers' name of the quantization for this CPU.
    """

    system: str
    folder: str
    threads: int
    max_length: int
    out: str = ""
    preset: str = ""


def torch_reference(task: Task) -> Score:
    """Score with the classes of transformers, one pair at a time, so that nothing is padded."""
    torch, transformers = _torch(task), import_module("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(task.folder).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(task.folder)

    def score(lists: Lists, _: int) -> Iterable[float]:
        with torch.inference_mode():
            for pair in _pairs(lists):
                encoded = tokenizer(
                    *([text] for text in pair),
                    truncation="longest_first",
                    max_length=task.max_length,
                    return_tensors="pt",
                )
                yield model(**encoded).logits.item()

    return score


def ours(precision: str) -> Callable[[Task], Score]:
    """Return the loader of this project's cross-encoder: one call for each query, one run for each thread at
    once.
    """

    def load(task: Task) -> Score:
        return _query_by_query(
            import_module("es_rerank.models.local.cross_encoder").CrossEncoder(
                task.folder, threads=task.threads, variant=precision
            )
        )

    return load


def ours_again(task: Task) -> Score:
    """Load this project's cross-encoder in int8 with a score cache."""
    models, cached = (import_module(f"es_rerank.models.{name}") for name in ("load", "wrappers.cached"))
    cache = cached.ScoreCache(1_000_000)
    return _query_by_query(
        models.load_reranker(task.folder, threads=task.threads, cache=cache, variant="int8")
    )


def _query_by_query(model: Any) -> Score:  # noqa: ANN401 a reranker of this project
    return lambda lists, _: (
        float(value) for query, passages in lists for value in model.score(query, passages).values
    )


def sentence_transformers(backend: str, pattern: str = "") -> Callable[[Task], Score]:
    """Return the loader of sentence-transformers: all pairs in one call, which sorts them by length.

    ``pattern`` finds the graph in the folder.
    """

    def load(task: Task) -> Score:
        torch = _torch(task)
        arguments: dict[str, Any] = {"dtype": torch.float32}
        if backend == "onnx":
            (graph,) = Path(task.folder).glob(pattern)
            options = import_module("onnxruntime").SessionOptions()
            options.intra_op_num_threads = task.threads
            arguments = {
                "provider": "CPUExecutionProvider",
                "file_name": graph.relative_to(task.folder).as_posix(),
                "session_options": options,
            }
        cross_encoder = import_module("sentence_transformers").CrossEncoder
        model = cross_encoder(
            task.folder, device="cpu", backend=backend, max_length=task.max_length, model_kwargs=arguments
        )
        activation = torch.nn.Identity()

        def score(lists: Lists, batch: int) -> Iterable[float]:
            values = model.predict(
                _pairs(lists), batch_size=batch, activation_fn=activation, show_progress_bar=False
            )
            return [float(value) for value in values]

        return score

    return load


def sentence_transformers_export(task: Task) -> None:
    """Write the graph that sentence-transformers exports to ``out``, and its int8 graph for this CPU."""
    arguments = {"provider": "CPUExecutionProvider", "export": True}
    model = import_module("sentence_transformers").CrossEncoder(
        task.folder, device="cpu", backend="onnx", model_kwargs=arguments
    )
    model.save_pretrained(task.out)
    import_module("sentence_transformers.backend").export_dynamic_quantized_onnx_model(
        model, task.preset, task.out
    )


def infinity(engine: str) -> Callable[[Task], Score]:
    """Return the loader of infinity: all queries at once, because it batches across requests.

    Its batch size is fixed when an engine is made.
    """

    def load(task: Task) -> Score:
        _torch(task)
        # infinity lists the graphs whose path contains the folder's path, and then opens these paths inside
        # the folder. That works only for the folder ".". It stores optimized graphs by folder name, so with
        # "." the store must be inside the folder itself.
        os.chdir(task.folder)
        os.environ["HF_HUB_CACHE"] = task.folder
        package = import_module("infinity_emb")
        running: dict[int, Any] = {}

        def engines(batch: int) -> Any:  # noqa: ANN401 a class of the peer
            if batch not in running:
                for other in running.values():
                    other.stop()
                running.clear()
                arguments = package.EngineArgs(
                    model_name_or_path=".",
                    served_model_name="bench",
                    engine=engine,
                    device="cpu",
                    dtype="float32",
                    batch_size=batch,
                    model_warmup=False,
                    onnx_do_not_prefer_quantized=True,
                )
                running[batch] = package.SyncEngineArray.from_args([arguments])
            return running[batch]

        def score(lists: Lists, batch: int) -> Iterable[float]:
            running_engines = engines(batch)
            answers = [
                running_engines.rerank(model="bench", query=query, docs=passages, raw_scores=True)
                for query, passages in lists
            ]
            for answer in answers:
                ranked, _ = answer.result()
                yield from (float(one.relevance_score) for one in sorted(ranked, key=lambda one: one.index))

        return score

    return load


def rerankers(task: Task) -> Score:
    """Score with rerankers, one call for each query."""
    _torch(task)
    model = import_module("rerankers").Reranker(
        task.folder, model_type="cross-encoder", device="cpu", dtype="float32", verbose=0
    )

    def score(lists: Lists, batch: int) -> Iterable[float]:
        for query, passages in lists:
            ranked = model.rank(
                query=query, docs=passages, doc_ids=list(range(len(passages))), batch_size=batch
            )
            yield from (
                float(one.score) for one in sorted(ranked.results, key=lambda one: one.document.doc_id)
            )

    return score


def fastembed(task: Task) -> Score:
    """Score with fastembed, all pairs in one call.

    The model is a local folder that is added to fastembed's registry.
    """
    package = import_module("fastembed.rerank.cross_encoder").TextCrossEncoder
    source = import_module("fastembed.common.model_description").ModelSource(hf="bench/bench")
    package.add_custom_model(model="bench/bench", sources=source, model_file="model.onnx")
    model = package("bench/bench", threads=task.threads, specific_model_path=task.folder, cuda=False)
    return lambda lists, batch: (
        float(value) for value in model.rerank_pairs(_pairs(lists), batch_size=batch)
    )


FLASHRANK_NAME, FLASHRANK_FILE = "ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx"
"""The name of a model that FlashRank knows, and its file.

FlashRank reads a local folder only under such a name. The weights are those of ``folder``.
"""


def flashrank(task: Task) -> Score:
    """Score with FlashRank, one call for each batch, because it runs all its input at once.

    Its number of threads cannot be set.
    """
    package = import_module("flashrank")
    cache = Path(tempfile.mkdtemp())  # inside the bench's temporary folder, which the bench deletes
    (cache / FLASHRANK_NAME).mkdir()
    for path in Path(task.folder).iterdir():
        (cache / FLASHRANK_NAME / (FLASHRANK_FILE if path.suffix == ".onnx" else path.name)).symlink_to(
            path.resolve()
        )
    model = package.Ranker(model_name=FLASHRANK_NAME, cache_dir=str(cache), max_length=task.max_length)

    def score(lists: Lists, batch: int) -> Iterable[float]:
        for query, passages in lists:
            for start in range(0, len(passages), batch):
                # FlashRank sorts its input and writes the scores into it.
                given = [
                    {"id": number, "text": text}
                    for number, text in enumerate(passages[start : start + batch])
                ]
                ranked = model.rerank(package.RerankRequest(query=query, passages=given))
                yield from (float(one["score"]) for one in sorted(ranked, key=lambda one: one["id"]))

    return score


def sentence_transformers_encode(task: Task) -> Score:
    """Embed all passages with one call of ``SentenceTransformer.encode``, at its defaults.

    A "score" of an embedder is the dot product of a passage's vector with that of the first passage.
    """
    _torch(task)
    model = import_module("sentence_transformers").SentenceTransformer(task.folder, device="cpu")
    model.max_seq_length = task.max_length
    return lambda lists, _: _products(
        model.encode(_passages(lists), normalize_embeddings=True, show_progress_bar=False)
    )


def fastembed_embed(task: Task) -> Score:
    """Embed all passages with one call of fastembed's ``TextEmbedding``; the model is a local folder."""
    package = import_module("fastembed")
    described = import_module("fastembed.common.model_description")
    package.TextEmbedding.add_custom_model(
        model="bench/bench",
        pooling=described.PoolingType.MEAN,
        normalization=True,
        sources=described.ModelSource(hf="bench/bench"),
        dim=json.loads((Path(task.folder) / "config.json").read_text(encoding="utf-8"))["hidden_size"],
        model_file="model.onnx",
    )
    model = package.TextEmbedding(
        "bench/bench", threads=task.threads, specific_model_path=task.folder, cuda=False
    )
    return lambda lists, batch: _products(list(model.embed(_passages(lists), batch_size=batch)))


def ours_ingest(task: Task) -> Score:
    """Cut and embed documents as this project's ingest does; a "score" is the passages of a document.

    The lists hold a document's title, and its text as the only passage.
    """
    pipeline, chunking = import_module("ingest_pipelines.embedding"), import_module("es_rerank.text.chunking")
    document = import_module("es_rerank.collection").Document
    model = import_module("es_rerank.models.load").load_embedder(task.folder, threads=task.threads)
    chunker = chunking.Chunker(model.tokenizer)

    def score(lists: Lists, _: int) -> Iterable[float]:
        documents = (
            document(str(number), title, texts[0], {}) for number, (title, texts) in enumerate(lists)
        )
        return [
            float(len(cut.passages))
            for batch in pipeline.embedded_batches(documents, model, chunker)
            for cut in batch.cut.values()
        ]

    return score


LOADERS: dict[str, Callable[[Task], Score | None]] = {
    "torch": torch_reference,
    "es-rerank-fp32": ours("fp32"),
    "es-rerank-int8": ours("int8"),
    "es-rerank-again": ours_again,
    "sentence-transformers-torch": sentence_transformers("torch"),
    "sentence-transformers-onnx": sentence_transformers("onnx", "onnx/model.onnx"),
    "sentence-transformers-int8": sentence_transformers("onnx", "onnx/model_q*int8_*.onnx"),
    "sentence-transformers-export": sentence_transformers_export,
    "infinity-torch": infinity("torch"),
    "infinity-optimum": infinity("optimum"),
    "rerankers": rerankers,
    "fastembed": fastembed,
    "flashrank": flashrank,
    "sentence-transformers-encode": sentence_transformers_encode,
    "fastembed-embed": fastembed_embed,
    "es-rerank-ingest": ours_ingest,
}


def _torch(task: Task) -> Any:  # noqa: ANN401 a module
    torch = import_module("torch")
    torch.set_num_threads(task.threads)
    return torch


def _pairs(lists: Lists) -> list[tuple[str, str]]:
    return [(query, passage) for query, passages in lists for passage in passages]


def _passages(lists: Lists) -> list[str]:
    return [passage for _, passages in lists for passage in passages]


def _products(vectors: Any) -> list[float]:  # noqa: ANN401 a matrix, or a list of vectors
    return [float(vector @ vectors[0]) for vector in vectors]


def _timed(score: Score, request: dict[str, Any]) -> dict[str, Any]:
    lists = [(query, passages) for query, passages in request["lists"]]
    began = time.perf_counter()
    scores = list(score(lists, request["batch"]))
    return {"seconds": time.perf_counter() - began, "scores": scores}


def _end_with_parent() -> None:
    """Make the kernel end this process when its parent ends (Linux, prctl(2)).

    A stopped process would not see that stdin has ended.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Load the system and answer requests until stdin ends."""
    _end_with_parent()
    # Libraries may print to stdout. Their output goes to stderr; the protocol has its own copy of stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        task = Task(**json.loads(sys.argv[1]))
        score = LOADERS[task.system](task)
        say({"ready": True})
        if score is not None:
            for line in sys.stdin:
                say(_timed(score, json.loads(line)))
    except Exception as error:  # noqa: BLE001 every error of a peer becomes its row
        say({"error": f"{type(error).__name__}: {error}"})
        os._exit(1)  # a running thread of a peer would keep the process alive
    os._exit(0)


if __name__ == "__main__":
    main()
