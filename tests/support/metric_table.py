"""The text of docs/metrics.md, made from the metrics of a sidecar and the meanings of their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric

from es_rerank.sidecar.observation.meanings import PARTS, VALUES

HEAD = """# Metrics

`GET /metrics` gives these in the formats of Prometheus and OpenMetrics. Names that begin with `te_` are
those of Hugging Face's text-embeddings-inference. `process_*` are those of every Prometheus client. Times
are in seconds. Each label has a value of a closed set: `method`, `route` (the template of a path) and
`status` of HTTP, or one of the tables below.

"""

LOG = """
## Times in the log

The line of a request has the times of its stages: `es_rerank.stages` in the format `json`, `STAGE_ms` in
the format `console`. `es_rerank.parts` has the times of the work of models, which are within the stages
`embed` and `rerank`. All are in milliseconds; `event.duration` is in nanoseconds, as ECS says. Stages of an
`_msearch` run side by side, so that their sum may exceed the time of the request. The stages are those of
`es_rerank_stage_duration_seconds`. The parts:

"""


def page(families: Iterator[Metric]) -> str:
    """Return the whole file."""
    own = sorted((one for one in families if not one.name.startswith("process_")), key=lambda one: one.name)
    rows = ["| metric | type | what |", "| --- | --- | --- |"]
    rows += [f"| `{shown(one)}` | {one.type} | {one.documentation} |" for one in own]
    types = {one.name: shown(one) for one in own}
    parts = [HEAD + "\n".join(rows) + "\n"]
    told: list[Mapping[Any, str]] = []
    for (_, label), values in VALUES.items():
        if any(values is one for one in told):
            continue
        told.append(values)
        names = ", ".join(f"`{types[name]}`" for (name, _), same in VALUES.items() if same is values)
        parts.append(f"\n## `{label}` of {names}\n\n{table(values)}")
    return "".join(parts) + LOG + table(PARTS)


def shown(family: Metric) -> str:
    """Return the name of a metric as Prometheus shows it."""
    return family.name + ("_total" if family.type == "counter" else "")


def table(values: Mapping[Any, str]) -> str:
    """Return the table of values and their meanings."""
    lines = [f"| `{value}` | {meaning} |" for value, meaning in values.items()]
    return "\n".join(["| value | meaning |", "| --- | --- |", *lines]) + "\n"
