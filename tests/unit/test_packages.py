"""es-rerank and its extras can be installed beside the packages that people use with them.

Each test asks uv for one set of versions for every platform and every Python from 3.11 on. Nothing is
installed. Without a package index the tests are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packages import uv

ROOT = Path(__file__).parents[2]

TOGETHER = (
    "langchain-elasticsearch>=1",
    "llama-index-vector-stores-elasticsearch>=0.5.1",
    "elasticsearch-haystack>=7",
    "haystack-ai>=3",
    "langchain-cohere>=0.5",
    "langchain-openai>=1",
    "llama-index-llms-openai>=0.6",
    "transformers>=5",
    "huggingface-hub>=1",
    "sentence-transformers>=6",
)
"""What people install beside es-rerank, each not older than the versions of today."""


EVERYWHERE = ("--universal", "--python-version", "3.11")
"""Options of uv: one set of versions for every platform and every Python from 3.11 on."""


def compiled(*requirements: str, folder: Path, options: tuple[str, ...] = EVERYWHERE) -> dict[str, str]:
    """Return the version of each package that ``requirements`` need together. Fails if there is none.

    uv writes a line for each version. For a package with several versions, one for each Python or platform,
    the last one counts.
    """
    file = folder / "requirements.in"
    file.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    program = uv()
    assert program is not None
    done = subprocess.run(
        [program, "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options, str(file)],
        cwd=folder,  # beside pyproject.toml, uv would read the exact versions that stand there
        env={**os.environ, "UV_HTTP_TIMEOUT": "20"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", done.stdout, flags=re.MULTILINE))


def ours(*extras: str) -> str:
    return f"es-rerank[{','.join(extras)}] @ {ROOT.as_uri()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to resolve in, where a package index answers."""
    if uv() is None:
        pytest.skip("uv is not installed, which resolves the requirements")
    made = tmp_path_factory.mktemp("packages")
    try:
        compiled("certifi", folder=made, options=("--no-cache",))
    except AssertionError:
        pytest.skip("no package index answers, so nothing can be resolved")
    return made


def major(version: str) -> int:
    return int(version.partition(".")[0])


def test_all_neighbours_can_be_installed_beside_es_rerank_at_once(folder: Path) -> None:
    versions = compiled(
        ours("cohere", "evaluate", "langchain", "llama-index", "llm"), *TOGETHER, folder=folder
    )
    assert major(versions["elasticsearch"]) == 8
    assert major(versions["cohere"]) == 5
    assert major(versions["openai"]) == 2
    assert major(versions["transformers"]) >= 5
    assert major(versions["huggingface-hub"]) >= 1


def test_alone_it_takes_the_newest_clients(folder: Path) -> None:
    versions = compiled(ours("cohere", "langchain", "llama-index", "llm"), folder=folder)
    newest = {"elasticsearch": 9, "cohere": 7, "openai": 3, "huggingface-hub": 2}
    assert {name: major(versions[name]) for name in newest} == newest


@pytest.mark.parametrize(
    "neighbours",
    [
        (
            *("numpy<2", "protobuf<5", "pydantic<2.12", "typer<0.22", "httpx<0.28", "rich<14"),
            *("langchain-core<1", "llama-index-core<0.14"),
        ),
        (
            *("numpy>=2", "protobuf>=7", "pydantic>=2.12", "typer>=0.26", "httpx>=0.28", "rich>=14"),
            *("opentelemetry-exporter-otlp>=1.30", "ray[serve]>=2.50", "pypdf>=5", "streamlit>=1.40"),
        ),
    ],
    ids=["of the year before", "of today"],
)
def test_what_stands_beside_it_need_not_be_of_one_age(neighbours: tuple[str, ...], folder: Path) -> None:
    assert compiled(ours("langchain", "llama-index"), *neighbours, folder=folder)


def test_the_extras_that_export_and_train_go_with_sentence_transformers_5(folder: Path) -> None:
    versions = compiled(ours("evaluate", "export", "multilingual", "train"), folder=folder)
    assert (major(versions["sentence-transformers"]), major(versions["transformers"])) == (5, 4)


@pytest.mark.long
def test_every_lowest_version_goes_with_the_others(folder: Path) -> None:
    everything = ours("cohere", "evaluate", "langchain", "llama-index", "llm")
    versions = compiled(everything, folder=folder, options=(*EVERYWHERE, "--resolution", "lowest-direct"))
    assert versions["elasticsearch"].startswith("8.19.")
    assert versions["huggingface-hub"].startswith("0.")


def test_every_dependency_has_an_exact_version_for_a_clone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    asked = [*project["project"]["dependencies"], *(one for extra in extras for one in extra)]
    stated = [one.split("==")[0] for one in project["tool"]["uv"]["constraint-dependencies"] if "==" in one]
    names = {re.match(r"[\w.-]+", one)[0].lower() for one in asked}  # type: ignore[index] # each has a name
    assert names - {"es-rerank"} <= {name.lower() for name in stated}


@pytest.mark.long
def test_every_package_has_a_wheel_for_the_newest_python(folder: Path) -> None:
    """Nobody needs a compiler."""
    everything = ours("cohere", "evaluate", "langchain", "llama-index", "llm")
    newest = ("--python-version", "3.14", "--python-platform", "linux", "--only-binary", ":all:")
    assert compiled(everything, folder=folder, options=newest)
