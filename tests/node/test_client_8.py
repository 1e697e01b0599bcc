"""The official client of Elasticsearch 8, which other packages hold on to, does what that of 9 does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packages import uv

from es_rerank.node import Node

HERE = Path(__file__).parent
FILES = ("test_python_clients.py", "test_client_values.py")
"""Tests of what the wrapper takes from the client: its transport, options, errors, helpers and answers."""


@pytest.fixture(scope="module")
def client_8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client of Elasticsearch 8. Its dependencies are those of the client that is
    installed.
    """
    program = uv()
    if program is None:
        pytest.skip("uv is not installed, which fetches the client of Elasticsearch 8")
    made = tmp_path_factory.mktemp("client-8")
    packages = ("elasticsearch==8.19.*", "elastic-transport<9")
    done = subprocess.run(
        [program, "pip", "install", "--quiet", "--no-deps", "--target", str(made), *packages],
        cwd=made,
        env={**os.environ, "UV_HTTP_TIMEOUT": "20"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"the client of Elasticsearch 8 cannot be fetched: {done.stderr.strip()[-300:]}")
    return made


@pytest.mark.long
@pytest.mark.timeout(600)  # two files of tests
def test_the_client_of_elasticsearch_8_passes_the_tests_of_the_wrapper(node: Node, client_8: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(client_8)}
    asked = "import elasticsearch; print(elasticsearch.__versionstr__)"
    version = subprocess.run([sys.executable, "-c", asked], env=environ, capture_output=True, check=True)
    assert version.stdout.startswith(b"8.19.")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--elasticsearch-url", node.url),
            *(str(HERE / file) for file in FILES),
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
