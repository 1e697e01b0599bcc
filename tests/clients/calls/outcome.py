"""Runs the cases of a script and prints what a user of the package got in each, as one JSON."""

import asyncio
import contextlib
import inspect
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

TOLD = SimpleNamespace(**json.loads(sys.argv[1]))
"""`open` and `keyed` (addresses of sidecars), `key`, `query`, `documents`, `most` (documents of `keyed`)."""

WRONG_KEY = "not the key"
TOO_MANY = [f"document {number}" for number in range(TOLD.most + 1)]


def answer(*cases: Callable[[], Any]) -> None:
    """Run each case, some of which are coroutines, and print its name with what it returned or raised."""
    with contextlib.redirect_stdout(sys.stderr):  # packages print advice
        found = asyncio.run(_answers(cases))
    print(json.dumps(found))


async def _answers(cases: tuple[Callable[[], Any], ...]) -> dict[str, Any]:
    return {case.__name__: await _one(case) for case in cases}


async def _one(case: Callable[[], Any]) -> Any:
    try:
        if inspect.iscoroutinefunction(case):
            return await case()
        return await asyncio.to_thread(case)
    except Exception as error:  # noqa: BLE001  what a package raises is what is asked here
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": kinds[: kinds.index("Exception") + 1], "status": _status(error), "said": str(error)}


def _status(error: Exception) -> Any:
    for name in ("status_code", "http_status"):
        if isinstance(getattr(error, name, None), int):
            return getattr(error, name)
    return None
