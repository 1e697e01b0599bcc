"""The examples of docs/clients.md run as they stand there, against a sidecar that needs a key."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from asked_by_clients import KEY
from built_clients import javascript
from client_environments import CLIENTS, ROOT, answer_of
from client_table import rows
from elasticsearch import Elasticsearch

from es_rerank.sidecar.access.keys import Keys

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")

_ADDRESS = "http://localhost:8080"
_BLOCK = re.compile(r"<!-- runs( with Elasticsearch)? in: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
_PRINTED = re.compile(r"^(?:print|console\.log)\(.*\);?\s+(?:#|//) (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """An example: the environment that it runs in, its code, and what it says that it prints.

    ``stored``: whether it writes an index of Elasticsearch.
    """

    stored: bool
    environment: str
    code: str
    prints: list[str]

    def at(self, address: str) -> str:
        """Return the code for the sidecar at an address, with the key of the tests."""
        return self.code.replace(_ADDRESS, address).replace("KEY", KEY)


BLOCKS = [
    Block(bool(with_), name, code, _PRINTED.findall(code)) for with_, name, code in _BLOCK.findall(PAGE)
]

_QUICK = ("cohere", "voyageai", "openai", "elasticsearch")


def _in_python() -> Iterator[object]:
    """Yield the examples in Python. Other tests of the slow packages run with each change."""
    for block in BLOCKS:
        if block.environment != "node" and not block.stored:
            package = re.findall(r"^(?:import|from) (\w+)", block.code, re.MULTILINE)[0]
            yield pytest.param(block, id=package, marks=() if package in _QUICK else pytest.mark.long)


@pytest.mark.parametrize("block", list(_in_python()))
def test_an_example_prints_what_the_page_says(block: Block, keyed_sidecar: str) -> None:
    examples = json.dumps([block.at(keyed_sidecar)])
    if block.environment == "tests":
        script = str(CLIENTS / "calls" / "documented.py")
        done = subprocess.run([sys.executable, script, examples], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
    else:
        variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else LiteLLM asks for prices on the internet
        found = answer_of(block.environment, "documented.py", examples, env=variables)
    assert found == [{"printed": block.prints, "raised": ""}]


@pytest.mark.long
@pytest.mark.parametrize("block", [pytest.param(each, id=each.environment) for each in BLOCKS if each.stored])
def test_an_example_with_a_store_prints_what_the_page_says(
    block: Block, passing_sidecar: str, es: Elasticsearch
) -> None:
    index = f"documented-{uuid.uuid4().hex[:12]}"
    code = block.at(passing_sidecar).replace('"articles"', f'"{index}"')
    try:
        found = answer_of(block.environment, "documented.py", json.dumps([code]))
        assert found == [{"printed": block.prints, "raised": ""}]
    finally:
        es.options(ignore_status=404).indices.delete(index=index)


def test_the_addresses_of_litellms_embeddings_are_those_that_its_test_gives() -> None:
    tree = ast.parse((CLIENTS / "calls" / "litellm_calls.py").read_text(encoding="utf-8"))
    (given,) = (
        ast.literal_eval(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and getattr(each.targets[0], "id", "") == "EMBEDDERS"
    )
    (sentence,) = re.findall(r"For embeddings, (.*?): LiteLLM", PAGE, re.DOTALL)
    told: dict[str, str] = {}
    for part in re.split(r"`,\s(?:and\s)?(?=`\w+/`\sneeds)", sentence):
        (end,) = re.findall(rf"{_ADDRESS}([^`]*)", part)
        told |= dict.fromkeys(re.findall(r"`(\w+)/`", part), end)
    assert told == given


def test_the_request_that_shows_that_the_sidecar_works(keyed_sidecar: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl on PATH")
    (command,) = re.findall(r"^curl .*?(?=\n```)", PAGE, re.MULTILINE | re.DOTALL)
    command = command.replace("localhost:8080", keyed_sidecar).replace("KEY", KEY)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["results"][0]["document"] == {"text": "the king signed"}


@pytest.mark.long
def test_an_example_in_javascript_prints_what_the_page_says(keyed_sidecar: str) -> None:
    folder = Path(javascript("ai_sdk")[1]).parent
    for block in [each for each in BLOCKS if each.environment == "node"]:
        command = ["node", "--input-type=module", "--eval", block.at(keyed_sidecar)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == block.prints


def test_each_example_says_what_it_prints() -> None:
    written = re.findall(r"```(?:python|javascript)\n", PAGE)
    assert len(BLOCKS) == len(written) > 8
    assert all(block.prints for block in BLOCKS)


def test_the_example_in_java_is_built_as_the_test_of_the_client_is() -> None:
    tested = (CLIENTS / "langchain4j" / "src" / "main" / "java" / "clients" / "Run.java").read_text("utf-8")
    (example,) = re.findall(r"```java\n(.*?)```", PAGE, re.DOTALL)
    for call in re.findall(r"\.(\w+)\(", example):
        assert f".{call}(" in tested or call in ("score", "content"), call
    assert "JinaScoringModel.builder()" in example
    assert 'arguments[0] + "/v1/"' in tested


def _addresses() -> Iterator[tuple[str, str, str, str]]:
    """Yield (framework, class, argument, end of the address) for the classes that the page lists."""
    for framework, classes, argument, end in re.findall(
        rf'^\| (\w+) (`\w+`(?:, `\w+`)*) \| `(\w+)="{_ADDRESS}([^"]*)"` \|$', PAGE, re.MULTILINE
    ):
        for name in re.findall(r"`(\w+)`", classes):
            yield framework, name, argument, end


@pytest.mark.parametrize(("framework", "name", "argument", "end"), list(_addresses()))
def test_a_class_gets_the_address_that_its_test_gives(
    framework: str, name: str, argument: str, end: str
) -> None:
    script = {"LangChain": "langchain", "LlamaIndex": "llama_index", "Haystack": "haystack"}[framework]
    tree = ast.parse((CLIENTS / "calls" / f"{script}_calls.py").read_text(encoding="utf-8"))
    given = [
        value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == name
        for value in _values_of(argument, call, tree)
    ]
    assert given, f"no test makes a {name}"
    assert {_end_of(value) for value in given} == {end}


def _values_of(argument: str, call: ast.Call, tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what a call gives for an argument, also by ``**NAME`` of a dict of the file."""
    for word in call.keywords:
        if word.arg == argument:
            yield word.value
        if word.arg is None and isinstance(word.value, ast.Name):
            for made in tree.body:
                if isinstance(made, ast.Assign) and getattr(made.targets[0], "id", "") == word.value.id:
                    assert isinstance(made.value, ast.Dict)
                    pairs = zip(made.value.keys, made.value.values, strict=True)
                    yield from (value for key, value in pairs if getattr(key, "value", "") == argument)


def _end_of(value: ast.expr) -> str:
    """Return what stands behind the address of the sidecar."""
    last = value.values[-1] if isinstance(value, ast.JoinedStr) else None
    return str(last.value) if isinstance(last, ast.Constant) else ""


def test_each_tool_that_the_page_names_is_in_the_table() -> None:
    tried = " ".join(row.client for row in rows())
    named = re.findall(
        r"^\| ([^|]+) \|", PAGE.partition("## Applications")[2].partition("What to know")[0], re.MULTILINE
    )
    for tool in set(named) - {"tool", "---"}:
        assert tool.removeprefix("a client of ") in tried, tool


def test_each_link_of_the_page_is_one_of_its_headings() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert links
    assert set(links) <= headings


def test_what_an_example_needs_is_what_is_tried() -> None:
    """Each package that the page installs is one that the tests run."""
    tried = {
        name for file in (CLIENTS / "environments").glob("*.in") for name in file.read_text("utf-8").split()
    } | {"elasticsearch"}
    of_python = {name for line in re.findall(r"`pip install ([^`]+)`", PAGE) for name in line.split()}
    assert len(of_python) >= 12
    assert of_python <= tried
    of_node = {name for line in re.findall(r"`npm install ([^`]+)`", PAGE) for name in line.split()}
    package = json.loads((CLIENTS / "ai_sdk" / "package.json").read_text(encoding="utf-8"))
    assert of_node <= set(package["dependencies"])
    for block in BLOCKS:
        imported = re.findall(r"^from (\w+)|^import (\w+)$", block.code, re.MULTILINE)
        for name in {first or second for first, second in imported} - {"sys"}:
            assert any(name.partition("_")[0] in each for each in of_python), name


def test_the_commands_that_install_and_start_the_sidecar_are_there() -> None:
    install, start = re.findall(r"^(?:python3|\.venv/bin/es-rerank).*", PAGE, re.MULTILINE)[:2]
    assert install.endswith(".venv/bin/uv run es-rerank --version")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert install.partition(" run ")[0] in readme
    assert start.startswith(".venv/bin/es-rerank serve ")


@pytest.mark.skipif(sys.platform == "win32", reason="umask is that of POSIX")
def test_the_command_for_a_file_of_keys_makes_one_that_only_its_owner_reads(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\(umask 077 .*\)$", PAGE, re.MULTILINE)
    command = command.replace("es-rerank", f"{sys.executable} -m es_rerank")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    made = tmp_path / "keys.toml"
    assert made.stat().st_mode & 0o777 == 0o600
    assert Keys(file=made).warnings() == []
    assert "The key is esr_" in done.stderr
