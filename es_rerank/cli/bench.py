"""``es-rerank bench``: speed, measured side by side in one run."""

from __future__ import annotations

from typing import ClassVar

import typer

from .lazy_group import Entry, LazyGroup


class _Benches(LazyGroup):
    """What can be measured."""

    entries: ClassVar = {
        "engine": Entry(
            "bench_engine",
            "Measure this engine beside its peers: same weights, same pairs, every system in an "
            "environment and process of its own, interleaved.",
        ),
        "load": Entry(
            "bench_load",
            "Measure latency under load of the sidecar beside infinity's server: open loop, "
            "same weights, same requests at the same moments.",
        ),
        "cost": Entry(
            "bench_cost",
            "Measure what a window costs here: milliseconds by candidates and tokens, their lines, "
            "and pairs per second by threads.",
        ),
        "gateway": Entry(
            "bench_gateway",
            "Measure what sidecar and library add to Elasticsearch's own latency: the same searches "
            "by every way, interleaved.",
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
def _options() -> None:
    """Take no option: what is measured is a command of its own."""
