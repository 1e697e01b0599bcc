"""``es-rerank bench``: measure speed, with all systems in the same run."""

from __future__ import annotations

from typing import ClassVar

import typer

from .lazy_group import Entry, LazyGroup


class _Benches(LazyGroup):
    """The benchmarks."""

    entries: ClassVar = {
        "engine": Entry(
            "bench_engine",
            "Compare this engine's speed with other engines: same weights and pairs, each system in its "
            "own environment and process, rounds interleaved.",
        ),
        "architectures": Entry(
            "bench_architectures",
            "Compare this engine with sentence-transformers on published architectures with random weights, "
            "on short and on long passages: rounds interleaved, nothing fetched.",
        ),
        "decoder": Entry(
            "bench_decoder",
            "Compare decoders' speed with and without a shared beginning of the prompts: the sizes of "
            "Qwen3-Reranker-0.6B and mxbai-rerank-base-v2, random weights, both ways in turn.",
        ),
        "load": Entry(
            "bench_load",
            "Compare the latency under load of the sidecar and of infinity's server: open loop, same "
            "weights, same requests at the same times. With --overload: what each answers in time when it is "
            "offered too much.",
        ),
        "cost": Entry(
            "bench_cost",
            "Measure the time of a window on this machine: milliseconds by candidates and by tokens, "
            "and pairs per second by threads.",
        ),
        "cascade": Entry(
            "bench_cascade",
            "Compare ways to read less of a window: multiply-adds and nDCG@10 of a smaller window, a cascade "
            "of two models and a window that ends by itself.",
        ),
        "ingest": Entry(
            "bench_ingest",
            "Compare how fast passages are cut and embedded by this ingest, and embedded by "
            "SentenceTransformer and fastembed: same weights and texts, each system in its own environment "
            "and process, rounds interleaved.",
        ),
        "gateway": Entry(
            "bench_gateway",
            "Measure the latency that sidecar, library and plugin add to Elasticsearch's own: the same "
            "searches through each, interleaved.",
        ),
        "vectors": Entry(
            "bench_vectors",
            "Measure size, recall@10 and latency of Elasticsearch's ways to index vectors: the same passages "
            "in an index for each, searches interleaved.",
        ),
    }


bench = typer.Typer(
    name="bench",
    cls=_Benches,
    add_completion=False,
    no_args_is_help=True,
    help="Measure speed, side by side in one run.",
)


@bench.callback()
def _options(context: typer.Context) -> None:
    """Take no options: every benchmark is a command of its own."""
    from .stopping import signals_as_exit

    context.with_resource(signals_as_exit())
