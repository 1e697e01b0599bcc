"""The separate calculation that the gateway is compared with uses nothing of the product."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from drawn_requests import SEED

SUPPORT = Path(__file__).parents[1] / "support"
OTHERS = {"httpx", "numpy", "onnxruntime", "tokenizers"}
"""What the calculation may import besides Python's own modules and its own parts."""


def imported(path: Path) -> set[str]:
    """Return the first names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Name):
            assert node.id not in ("__import__", "exec", "eval")
    return names


def reached(name: str) -> set[str]:
    """Return the modules that a module of the tests' support imports, directly or through others there."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        module = waiting.pop()
        path = SUPPORT / f"{module}.py"
        new = imported(path) - found if path.exists() else set()
        found |= new
        waiting |= new
    return found


@pytest.mark.parametrize("module", ["independent_answers", "differences", "plugin_bodies"])
def test_the_calculation_and_the_comparison_import_nothing_of_the_product(module: str) -> None:
    own = {path.stem for path in SUPPORT.glob("*.py")}
    foreign = reached(module) - own - set(sys.stdlib_module_names)
    assert foreign <= OTHERS
    assert "importlib" not in reached(module)


def test_an_import_of_the_product_would_be_seen() -> None:
    assert "es_rerank" in reached("tiny_models")


def test_the_seed_and_the_number_are_those_that_the_readme_names() -> None:
    assert SEED == 21
    options = (SUPPORT.parent / "conftest.py").read_text(encoding="utf-8")
    assert '"--drawn", type=int, default=200' in options
