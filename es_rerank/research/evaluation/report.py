"""A comparison as one self-contained HTML page of tables and plots, for readers who did not run it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from ..plots.bars import BLUE, GREY, LIGHT_BLUE, Bar, chart
from ..plots.curves import COLOURS, Curve, Panel, curves
from ..plots.differences import differences
from ..reliability import Reliability
from .comparison import Comparison, labels
from .experiment import HARM, QueryResult, Result

SHOWN = 5
"""Number of queries with the largest gain, and with the largest loss, that are listed for each experiment."""

_LIBRARIES = ("es-rerank", "elasticsearch", "onnxruntime", "ir-measures")


class Section(NamedTuple):
    """One experiment on the page: its figures, its plots, and the queries that changed most."""

    title: str
    result: Result
    pictures: list[Markup]
    better: list[QueryResult]
    worse: list[QueryResult]


def page(comparison: Comparison, arguments: Sequence[str]) -> str:
    """Return the HTML page of a comparison. ``arguments`` are the arguments of the command that made it."""
    template = Environment(
        loader=PackageLoader("es_rerank.research.evaluation", "."),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    called = labels(comparison.results)
    return template.get_template("report.html").render(
        command=shlex.join(["es-rerank", *arguments]),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        versions=[(name, version(name)) for name in _LIBRARIES],
        found=comparison,
        called=called,
        harm=HARM,
        overview=[Markup(picture) for picture in _overview(comparison, called)],  # noqa: S704 texts in plots are escaped  # nosec B704
        sections=[_section(result, called) for result in comparison.results],
    )


def _overview(comparison: Comparison, called: dict[str, str]) -> Iterator[str]:
    """Yield one plot of nDCG@10 for each first stage and reranker.

    It has three bars for each collection, each with the 95 % interval of its mean.
    """
    for mean in comparison.means:
        here = mean.of(comparison.results)
        bars = [bar for result in here for bar in _three_bars(result)]
        yield chart(
            f"nDCG@10, {called[mean.reranker]} over {here[0].stage}",
            bars,
            digits=3,
            together=len(bars) // len(here),
        )


def _three_bars(result: Result) -> list[Bar]:
    rows = result.per_query
    return [
        _bar(f"{result.collection} · first stage", [row.first_stage for row in rows], GREY),
        _bar("cross-encoder alone", [row.cross_encoder for row in rows], LIGHT_BLUE),
        _bar("shipped default", [row.reranked for row in rows], BLUE),
    ]


def _bar(label: str, values: Sequence[float], colour: str) -> Bar:
    """Return the mean of values with its 95 % interval by the normal approximation."""
    middle = float(np.mean(values))
    around = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Bar(label, middle, max(middle - around, 0.0), min(middle + around, 1.0), colour)


def _section(result: Result, called: dict[str, str]) -> Section:
    changed = sorted(result.per_query, key=lambda row: row.first_stage - row.reranked)
    pictures = [
        differences(
            "shipped default minus first stage", [row.reranked - row.first_stage for row in result.per_query]
        )
    ]
    if result.reliability is not None and result.pair_reliability is not None:
        pictures.append(_diagram(result.reliability, result.pair_reliability))
    return Section(
        f"{result.collection} {result.split}: {called[result.reranker]} over {result.stage}",
        result,
        [Markup(picture) for picture in pictures],  # noqa: S704 texts in plots are escaped  # nosec B704
        [row for row in changed[:SHOWN] if row.reranked > row.first_stage],
        [row for row in reversed(changed[-SHOWN:]) if row.reranked < row.first_stage],
    )


def _diagram(scores: Reliability, pairs: Reliability) -> str:
    """Return the reliability diagram of the hits' scores and of the probabilities of their pairs alone."""
    perfect = Curve("perfect calibration", [(0.0, 0.0), (1.0, 1.0)], COLOURS[2], dashed=True)
    seen = [
        Curve(
            f"{name}, error {measured.expected_error:.3f}",
            [(part.probability, part.relevant) for part in measured.bins],
            colour,
        )
        for name, measured, colour in (
            ("score of the hit", scores, COLOURS[0]),
            ("probability of the pair alone", pairs, COLOURS[1]),
        )
    ]
    title = f"reliability and expected calibration error, {scores.documents:,} documents in bins of 0.1"
    return curves(title, [Panel("", "probability", "share of relevant documents", [*seen, perfect])])
