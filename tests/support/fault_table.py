"""The rows of the table in docs/faults.md, which stand at the tests that hold them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., object])

_TESTS = Path(__file__).parents[1] / "node"


class Row(NamedTuple):
    """One fault: what happens, what the caller sees, what the log says, what is true afterwards, the test."""

    when: str
    caller: str
    log: str
    after: str
    test: str

    def line(self) -> str:
        """Return the row of the table."""
        return f"| {self.when} | {self.caller} | {self.log} | {self.after} | `{self.test}` |"


def fault(when: str, *, caller: str, log: str, after: str) -> Callable[[F], F]:
    """Say which row of the table a test holds."""
    return lambda test: test


def rows() -> Iterator[Row]:
    """Yield the rows in the order of the files and tests."""
    for path in sorted(_TESTS.glob("test_faults_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "fault":
                    told = {str(word.arg): str(ast.literal_eval(word.value)) for word in decorator.keywords}
                    when = str(ast.literal_eval(decorator.args[0]))
                    yield Row(when, told["caller"], told["log"], told["after"], node.name)


def table() -> str:
    """Return the table as it stands in docs/faults.md."""
    head = [
        "| when | the caller sees | the log says | after that | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *(row.line() for row in rows())]) + "\n"
