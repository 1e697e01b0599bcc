"""A node that Docker runs. Docker, which few test machines have, is played by a script that writes down
how it was called; the node behind it is real.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import make_program, open_folder

from es_rerank.errors import NodeError
from es_rerank.node import (
    VERSION,
    Node,
    docker,
    down,
    running,
    up,
)
from es_rerank.node.account import name_of
from es_rerank.node.record import ContainerRecord, Record, read


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


FAKE_DOCKER = """
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
answers = json.loads((here / "answers").read_text())
for start, (status, output) in answers.items():
    if " ".join(words).startswith(start):
        print(output)
        sys.exit(status)
sys.exit(0)
"""

Calls = Callable[[], list[list[str]]]


@pytest.fixture
def fake_docker(folder: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A Docker whose only container is the session's node; returned is what reads its calls."""
    make_program(folder / "bin", "docker", FAKE_DOCKER)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    answer(folder, {"port": [0, node.url.removeprefix("http://")]})
    return lambda: [json.loads(line) for line in (folder / "bin" / "calls").read_text().splitlines()]


def answer(folder: Path, changes: dict[str, list[Any]]) -> None:
    """Change what the played Docker answers: start of a command line to exit status and output."""
    file = folder / "bin" / "answers"
    usual = {
        "info": [0, "28.0.1"],
        "run": [0, "c0ffee"],
        "inspect": [0, "true"],
        "logs": [0, "ERROR: bootstrap checks failed"],
    }
    before = json.loads(file.read_text()) if file.exists() else usual
    file.write_text(json.dumps({**before, **changes}))


def test_docker_without_compose_runs_one_container(folder: Path, node: Node, fake_docker: Calls) -> None:
    answer(folder, {"compose": [1, "unknown command"]})
    state = folder / "state"
    started = up(state, heap_mb=700)
    name = name_of(state)
    assert (started.how, started.url, started.version, started.pid, started.found) == (
        "docker",
        node.url,
        node.version,
        None,
        False,
    )
    (run,) = [call for call in fake_docker() if call[0] == "run"]
    assert run[1:8] == [
        "--detach",
        "--name",
        name,
        "--publish",
        "127.0.0.1::9200",
        "--volume",
        f"{name}:/usr/share/elasticsearch/data",
    ]
    assert run[-1] == f"docker.elastic.co/elasticsearch/elasticsearch:{VERSION}"
    assert {
        "discovery.type=single-node",
        "xpack.security.enabled=false",
        "ES_JAVA_OPTS=-Xms700m -Xmx700m",
    } < set(run)
    assert running(state) == started == up(state)

    assert down(state) == (started, False)
    assert [call for call in fake_docker() if call[0] in {"stop", "rm"}][-2:] == [
        ["stop", "-t", "60", "c0ffee"],
        ["rm", "c0ffee"],
    ]
    assert running(state) is None
    assert down(state, purge=True) == (None, True)
    assert fake_docker()[-1] == ["volume", "rm", "--force", name]


def test_docker_with_compose_starts_the_service_in_a_project_of_its_own(
    folder: Path, node: Node, fake_docker: Calls
) -> None:
    answer(
        folder,
        {f"compose --project-name {name_of(folder / 'state')} --file {docker.COMPOSE} ps": [0, "beef"]},
    )
    started = up(folder / "state")
    assert (started.how, started.url) == ("docker", node.url)
    compose = ["compose", "--project-name", name_of(folder / "state"), "--file", str(docker.COMPOSE)]
    assert [*compose, "up", "--detach", "--no-deps", "elasticsearch"] in fake_docker()
    assert ["port", "beef", "9200/tcp"] in fake_docker()
    down(folder / "state", purge=True)
    assert [*compose, "down", "--timeout", "60"] in fake_docker()
    assert fake_docker()[-1] == [*compose, "down", "--volumes"]


def test_a_wheel_without_the_compose_file_runs_one_container(folder: Path, fake_docker: Calls) -> None:
    record = docker.start(folder / "state", heap_mb=512, timeout_s=30, compose=folder / "absent.yml")
    assert record.place == ContainerRecord(id="c0ffee", project=name_of(folder / "state"), compose=None)
    assert not any(call[:2] == ["compose", "version"] for call in fake_docker())


def test_a_container_that_ends_is_quoted_and_removed(folder: Path, fake_docker: Calls) -> None:
    answer(folder, {"compose": [1, ""], "inspect": [0, "false"]})
    with pytest.raises(NodeError, match="bootstrap checks failed"):
        up(folder / "state")
    assert fake_docker()[-1] == ["rm", "--force", "c0ffee"]
    assert read(folder / "state") is None


def test_an_image_that_cannot_be_fetched_leaves_the_choice_to_maven(folder: Path, fake_docker: Calls) -> None:
    answer(folder, {"image inspect": [1, ""], "pull": [1, "no route to host"]})
    with pytest.raises(NodeError, match=r"Docker cannot fetch docker.elastic.co/.*no route to host.*Maven"):
        up(folder / "state", cache_dir=folder / "empty")
    assert ["pull", "--quiet", docker.IMAGE] in fake_docker()


def test_a_daemon_that_does_not_answer_is_no_docker(folder: Path, fake_docker: Calls) -> None:
    answer(folder, {"info": [0, ""]})  # as some versions report it
    assert docker.problem() == "the Docker daemon does not answer"
    answer(folder, {"info": [1, ""]})
    assert docker.problem() == "the Docker daemon does not answer"
    assert len(fake_docker()) == 2


def test_a_container_that_docker_will_not_stop_is_an_error(folder: Path, fake_docker: Calls) -> None:
    answer(folder, {"compose": [1, ""], "stop": [1, "permission denied"]})
    up(folder / "state")
    with pytest.raises(NodeError, match=r"docker stop -t 60 c0ffee failed: permission denied"):
        down(folder / "state")
    assert fake_docker()
    assert isinstance(read(folder / "state"), Record)
