"""The rows of the table in docs/clients.md, which stand at the tests that hold them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from client_environments import CLIENTS, ROOT, version

F = TypeVar("F", bound=Callable[..., object])

GOLDEN = "golden request"
_AI_SDK = "Vercel AI SDK"
"""How the names of the clients begin that are plugins of the package ``ai``."""

_FILES = ("pom.xml", "package.json", "pyproject.toml")


class Row(NamedTuple):
    """One client that asks in one dialect: which version of what was tried, how, and the test."""

    client: str
    dialect: str
    version: str
    tried: str
    test: str

    def line(self) -> str:
        """Return the row of the table."""
        return f"| {self.client} | {self.dialect} | {self.version} | {self.tried} | `{self.test}` |"


def client(
    name: str, dialect: str, package: str, environment: str, *, golden: bool = False
) -> Callable[[F], F]:
    """Say which row of the table a test holds.

    `name` is what a user calls the client, `dialect` the format that it asks in. `package` is the package
    that the test runs, and `environment` says where its version stands: the name of a file without `.txt`
    in `tests/clients/environments/`, or the path of a `pom.xml`, `package.json` or the `pyproject.toml`,
    from the root of the repository. With `golden` the client does not run: its request is written down in
    the test, and `environment` is the version of the source in which it was read.
    """
    return lambda test: test


def rows() -> Iterator[Row]:
    """Yield the rows in the order of the files and tests."""
    for path in sorted(CLIENTS.glob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = _constants(body)
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "client":
                        yield _row(node.name, decorator, names)


def _constants(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """Return what the names of a file stand for that are assigned once, at its top level."""
    return {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _row(test: str, decorator: ast.Call, names: Mapping[str, ast.expr]) -> Row:
    words = dict(zip(("name", "dialect", "package", "environment"), decorator.args, strict=False))
    words.update({str(word.arg): word.value for word in decorator.keywords})
    told = {
        key: ast.literal_eval(names[word.id] if isinstance(word, ast.Name) else word)
        for key, word in words.items()
    }
    package, environment = told["package"], told["environment"]
    if told.get("golden"):
        return Row(told["name"], told["dialect"], environment, f"{GOLDEN}, from `{package}`", test)
    tried = f"`{package}`"
    if told["name"].startswith(_AI_SDK):
        tried += f" with `ai` {_version(environment, 'ai')}"
    return Row(told["name"], told["dialect"], _version(environment, package), tried, test)


def _version(environment: str, package: str) -> str:
    """Return the version of a package that a file of requirements, or a project's file, asks for."""
    if not environment.endswith(_FILES):
        return version(environment, package)
    path = ROOT / environment
    text = path.read_text(encoding="utf-8")
    if path.name == "package.json":
        return str(json.loads(text)["dependencies"][package])
    if path.name == "pom.xml":
        found = re.search(
            rf"<artifactId>{re.escape(package)}</artifactId>\s*<version>([^<$]+)</version>", text
        )
    else:
        found = re.search(rf'^  "{re.escape(package)}==([^" ]+)', text, re.MULTILINE)
    assert found, f"{environment} has no exact version of [{package}]"
    return found[1]


def table() -> str:
    """Return the table as it stands in docs/clients.md."""
    head = [
        "| client | dialect | version | tried with | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *(row.line() for row in rows())]) + "\n"
