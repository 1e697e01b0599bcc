"""Runs the stages of an ingest as a Ray Data pipeline, on the machines of a Ray cluster (extra ``ray``).

Nothing outside of this package imports it, except for ``es-rerank ingest --runner ray``.
"""

from __future__ import annotations

from importlib.util import find_spec

from es_rerank.extras import missing_extra


def check_ray() -> None:
    """Raise MissingExtraError when Ray Data is not installed."""
    if missing := [name for name in ("ray", "pyarrow", "pandas") if find_spec(name) is None]:
        raise missing_extra(
            f"--runner ray needs packages that are not installed: {', '.join(missing)}", "ray"
        )
