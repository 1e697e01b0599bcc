"""Runs the stages of an ingest as a Ray Data pipeline, on the machines of a Ray cluster (extra ``ray``).

Nothing outside of this package imports it, except for ``es-rerank ingest --runner ray``.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from es_rerank.extras import missing_extra

# Ray reads this when it is imported. Under ``uv run``, workers would otherwise call uv by the path of this
# program's command line. A relative path names nothing there, and Ray would wait for them for ever.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")


def check_ray() -> None:
    """Raise MissingExtraError when Ray Data is not installed."""
    if missing := [name for name in ("ray", "pyarrow", "pandas") if find_spec(name) is None]:
        raise missing_extra(
            f"--runner ray needs packages that are not installed: {', '.join(missing)}", "ray"
        )
