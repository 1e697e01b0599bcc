"""Runs examples of the documentation and prints what each printed or raised, as one JSON."""

import contextlib
import io
import json
import sys
import traceback
from typing import Any


def ran(example: str) -> dict[str, Any]:
    printed = io.StringIO()
    raised = ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(example, "example", "exec"), {"__name__": "example"})
        except Exception:  # noqa: BLE001  what an example raises is what is asked here
            raised = traceback.format_exc()
    return {"printed": printed.getvalue().splitlines(), "raised": raised}


print(json.dumps([ran(example) for example in json.loads(sys.argv[1])]))
