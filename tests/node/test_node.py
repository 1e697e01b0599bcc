"""Real nodes are started, found, killed and stopped here; only Docker, which runs on few test machines,
is played by a script.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from elasticsearch import Elasticsearch

from es_rerank.addresses import masked
from es_rerank.errors import NodeError, SettingsError, UnreachableError
from es_rerank.node import (
    VERSION,
    Node,
    address,
    distribution,
    docker,
    doctor,
    down,
    java,
    process,
    running,
    up,
)
from es_rerank.node.account import name_of
from es_rerank.node.lifecycle import obstacles
from es_rerank.node.probe import probe
from es_rerank.node.record import ContainerRecord, ProcessRecord, Record, read, write

REPOSITORY = Path(__file__).parents[2]
STARTUP_S = 300.0


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "es_rerank", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the node's account can enter; pytest's own are closed to other accounts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def own(node: Node) -> Node:
    """The session's node, where it is a process that we started."""
    if node.how != "maven":
        pytest.skip("this test looks at a node that was started as a process")
    return node


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process of somebody else, which must never be touched."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running_process:
        yield psutil.Process(running_process.pid)
        running_process.kill()


def place_of(state_dir: Path) -> ProcessRecord:
    record = read(state_dir)
    assert record is not None
    assert isinstance(record.place, ProcessRecord)
    return record.place


# -- a node that runs ----------------------------------------------------------------------------------------


def test_a_second_up_finds_the_running_node(own: Node, state_dir: Path) -> None:
    again = up(state_dir)
    assert again.found
    assert again == own == running(state_dir)
    assert own.version == VERSION
    assert address(None, state_dir) == own.url


def test_the_node_is_out_of_reach_of_our_terminal(own: Node) -> None:
    assert own.pid is not None
    assert os.getsid(own.pid) != os.getsid(0)
    assert os.getpid() not in [parent.pid for parent in psutil.Process(own.pid).parents()]


def test_the_node_listens_on_loopback_only(own: Node) -> None:
    listening = [
        each.laddr
        for each in psutil.Process(own.pid).net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2  # HTTP and transport
    assert all(each.ip.removeprefix("::ffff:") == "127.0.0.1" for each in listening)


def test_down_leaves_a_server_alone_that_is_only_named_in_the_settings(node: Node, tmp_path: Path) -> None:
    done = command(
        "down", "--purge", "--json", ELASTICSEARCH_URL=node.url, ES_RERANK_STATE_DIR=str(tmp_path / "state")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "url": None,
        "version": None,
        "how": None,
        "ok": True,
        "stopped": False,
        "purged": False,
    }
    assert probe(node.url).status in {"green", "yellow"}
    assert not (tmp_path / "state").exists()


# -- life and death, on one node of this file's own ----------------------------------------------------------


@pytest.mark.node
@pytest.mark.timeout(900)  # two nodes start and stop
def test_life_of_a_node(tmp_path: Path) -> None:
    """One test, because every start takes a quarter of a minute: each step needs the one before."""
    state = tmp_path / "state"
    environ = {"ES_RERANK_STATE_DIR": str(state)}
    try:
        first = _two_commands_at_once_start_one_node(environ)
        with Elasticsearch(first["url"]) as es:
            es.index(index="kept", id="1", document={"text": "still here"}, refresh=True)
        _down_stops_it(environ, first["pid"])

        second = up(state, heap_mb=256, timeout_s=STARTUP_S)
        assert not second.found
        _document_is_there(second)

        assert second.pid is not None
        os.kill(second.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(second.pid)] if psutil.pid_exists(second.pid) else [], timeout=30)
        assert running(state) is None
        with pytest.raises(NodeError, match="es-rerank up"):
            address(None, state)

        third = up(state, heap_mb=256, timeout_s=STARTUP_S)
        assert third.pid != second.pid
        _document_is_there(third)
    finally:
        done = down(state, purge=True)
    assert done.stopped is not None
    assert done.purged
    assert third.home is not None
    assert not third.home.exists()
    assert read(state) is None


def _two_commands_at_once_start_one_node(environ: dict[str, str]) -> dict[str, Any]:
    line = [
        sys.executable,
        "-m",
        "es_rerank",
        "up",
        "--json",
        "--heap-mb",
        "256",
        "--timeout-s",
        str(STARTUP_S),
    ]
    commands = [
        subprocess.Popen(line, cwd=REPOSITORY, env={**os.environ, **environ}, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [json.loads(each.communicate()[0]) for each in commands]
    assert sorted(answer.pop("started") for answer in answers) == [False, True]
    assert answers[0] == answers[1]
    assert {key: answers[0][key] for key in ("version", "how", "ok")} == {
        "version": VERSION,
        "how": "maven",
        "ok": True,
    }
    return dict(answers[0])


def _down_stops_it(environ: dict[str, str], pid: int) -> None:
    done = command("down", **environ)
    assert done.returncode == 0, done.stderr
    assert "stopped Elasticsearch" in done.stdout
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert "nothing to stop" in command("down", **environ).stdout


def _document_is_there(node: Node) -> None:
    with Elasticsearch(node.url) as es:
        assert es.get(index="kept", id="1")["_source"] == {"text": "still here"}


# -- records that are no longer true -------------------------------------------------------------------------


def test_a_record_of_a_dead_process_is_stale(own: Node, state_dir: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    _copy_record(state_dir, tmp_path, pid=ended.pid)
    assert running(tmp_path) is None
    assert down(tmp_path).stopped is None
    assert probe(own.url).status is not None


@pytest.mark.usefixtures("own")
def test_a_recycled_pid_is_neither_believed_nor_stopped(
    state_dir: Path, tmp_path: Path, bystander: psutil.Process
) -> None:
    for started_at in (place_of(state_dir).started_at, bystander.create_time()):
        _copy_record(state_dir, tmp_path, pid=bystander.pid, started_at=started_at)
        assert running(tmp_path) is None
        assert down(tmp_path).stopped is None
        assert bystander.is_running()


@pytest.mark.usefixtures("own")
def test_another_server_at_the_recorded_address_is_not_ours(state_dir: Path, tmp_path: Path) -> None:
    record = read(state_dir)
    assert record is not None
    write(tmp_path, record.model_copy(update={"node_id": "somebody-else"}))
    assert running(tmp_path) is None
    write(tmp_path, record.model_copy(update={"version": "8.0.0"}))
    assert running(tmp_path) is None
    write(tmp_path, record)
    assert running(tmp_path) is not None


@pytest.mark.parametrize("content", ["", "{", '{"url": "http://127.0.0.1:9200"}', "[]"])
def test_a_record_that_cannot_be_understood_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "node.json").write_text(content)
    assert running(tmp_path) is None
    assert down(tmp_path).stopped is None


def test_a_node_without_a_record_is_stopped_before_the_next_start(
    folder: Path, bystander: psutil.Process
) -> None:
    """The command that started it was killed before it could write the record;
    the node would keep the data locked.
    """
    with subprocess.Popen(
        [sys.executable, "-c", "input()", f"-Drerank.home={folder}"], stdin=subprocess.PIPE
    ) as orphan:
        for pid in (bystander.pid, orphan.pid):
            (folder / "elasticsearch.pid").write_text(str(pid))
            process._stop_orphan(folder)
        assert orphan.wait(30) == -signal.SIGTERM
    assert bystander.is_running()


def _copy_record(state_dir: Path, to: Path, **changes: float) -> None:
    record = read(state_dir)
    assert record is not None
    write(to, record.model_copy(update={"place": place_of(state_dir).model_copy(update=changes)}))


# -- addresses -----------------------------------------------------------------------------------------------


def test_an_address_that_is_given_comes_before_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "https://search.example:9243")
    assert address("http://localhost:9200", tmp_path) == "http://localhost:9200"
    assert address(None, tmp_path) == "https://search.example:9243"


def test_without_any_address_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"es-rerank up.*ELASTICSEARCH_URL"):
        address(None, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9200",
        "ftp://localhost",
        "http://",
        "http://[",
        "http://localhost:x",
        "elastic:secret@localhost",
    ],
)
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a URL"):
        address(url, tmp_path)


def test_passwords_do_not_show() -> None:
    assert masked("https://elastic:s3:cr@t@host:9200/x") == "https://elastic:***@host:9200/x"
    assert masked("http://localhost:9200") == "http://localhost:9200"
    with pytest.raises(UnreachableError, match=r"elastic:\*\*\*@") as caught:
        probe(f"http://elastic:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(caught.value)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- what a machine lacks ------------------------------------------------------------------------------------


def test_a_machine_without_docker_java_and_maven_gets_one_clear_error(folder: Path) -> None:
    missing = obstacles(folder, {"PATH": str(folder)}, folders=[f"{folder}/*"])
    assert [each.install for each in missing] == ["a JDK 21 or newer", "Maven"]
    assert "no Java at all" in missing[0].found

    done = command(
        "up",
        "--json",
        PATH=str(folder),
        XDG_CACHE_HOME=str(folder),
        ES_RERANK_STATE_DIR=str(folder / "state"),
    )
    assert done.returncode == 5
    assert done.stdout == ""
    assert "docker is not on PATH" in done.stderr
    assert "Install Docker and start its daemon, or install" in done.stderr
    assert "Maven" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_fails_where_no_elasticsearch_can_be(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = command("doctor", "--json", "--elasticsearch-url", url, ES_RERANK_STATE_DIR=str(tmp_path))
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["url"], answer["how"], answer["ok"]) == (url, "given", False)
    failed = [check for check in answer["checks"] if check["status"] == "fail"]
    assert failed[0]["name"] == "Elasticsearch"
    assert "ELASTICSEARCH_URL" in failed[0]["remedy"]


def test_doctor_knows_a_running_node_and_what_the_machine_has(node: Node) -> None:
    diagnosis = doctor(Path("/nowhere"), node.url)
    rows = {check.name: check for check in diagnosis.checks}
    assert (diagnosis.url, diagnosis.version, diagnosis.how) == (node.url, node.version, "given")
    assert {name for name, check in rows.items() if check.status == "fail"} <= {
        "Reranker"
    }  # a checkout in which it is not built yet
    assert diagnosis.ok == (rows["Reranker"].status == "ok")
    assert "basic licence" in rows["Elasticsearch"].found
    assert {
        "Elasticsearch",
        "Python",
        "JDK",
        "Maven",
        "Docker",
        "Disk",
        "Memory",
        "CPU",
        "ONNX Runtime",
        "Reranker",
        "Embedder",
    } == set(rows)
    assert all(check.remedy for check in diagnosis.checks if check.status != "ok")
    assert not any(check.remedy for check in diagnosis.checks if check.status == "ok")


def test_doctor_fails_without_the_model_and_says_which_setting_names_it(tmp_path: Path) -> None:
    rows = {
        check.name: check
        for check in doctor(tmp_path, None, reranker=str(tmp_path), embedder="somebody/on-the-hub").checks
    }
    assert (rows["Reranker"].status, rows["Embedder"].status) == ("fail", "warn")
    assert "ES_RERANK_RERANKER" in rows["Reranker"].remedy
    assert "Hugging Face Hub" in rows["Embedder"].remedy


def test_doctor_prints_a_table(own: Node, state_dir: Path) -> None:
    done = command("doctor", ES_RERANK_STATE_DIR=str(state_dir), COLUMNS="200")
    assert done.returncode == int(not doctor(state_dir, own.url).ok), done.stderr
    assert own.url in done.stdout
    assert "ONNX Runtime" in done.stdout


# -- which Java ----------------------------------------------------------------------------------------------


def make_jdk(home: Path, version: str | None, modules: str | None = java.MODULE, *, says: str = "") -> Path:
    """Make a folder that looks like a JDK; ``says`` is what its java prints."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    (home / "bin" / "java").chmod(0o755)
    lines = [f'JAVA_VERSION="{version}"'] if version else []
    lines += [f'MODULES="java.base {modules}"'] if modules is not None else []
    if lines:
        (home / "release").write_text("\n".join(lines) + "\n")
    return home


def found_in(folder: Path, **environ: str) -> java.Jdk | None:
    return java.find({"PATH": "", **environ}, [f"{folder}/jvm/*"])


def test_the_newest_suitable_jdk_is_taken(folder: Path) -> None:
    for version in ("17.0.15", "21.0.9", "21.0.10", "8"):
        make_jdk(folder / "jvm" / version, version)
    make_jdk(folder / "jvm" / "jre-25", "25", modules="")
    found = found_in(folder)
    assert found is not None
    assert (found.home.name, found.version) == ("21.0.10", (21, 0, 10))
    problems = {jdk.home.name: jdk.problem for jdk in java.survey({"PATH": ""}, [f"{folder}/jvm/*"])}
    assert problems == {
        "17.0.15": "older than 21",
        "21.0.9": None,
        "21.0.10": None,
        "8": "older than 21",
        "jre-25": "lacks the module jdk.incubator.vector",
    }


def test_es_java_home_is_a_decision_and_java_home_a_hint(folder: Path) -> None:
    make_jdk(folder / "jvm" / "25", "25.0.1")
    old, decided = make_jdk(folder / "old", "17"), make_jdk(folder / "decided", "22")
    for environ, expected in (
        ({"ES_JAVA_HOME": str(decided)}, "decided"),
        ({"JAVA_HOME": str(decided)}, "25"),
        ({"ES_JAVA_HOME": str(old)}, "25"),
        ({"JAVA_HOME": str(folder / "absent")}, "25"),
    ):
        found = found_in(folder, **environ)
        assert found is not None
        assert found.home.name == expected


def test_a_java_on_path_is_followed_to_its_home(folder: Path) -> None:
    home = make_jdk(folder / "elsewhere", "24")
    (folder / "bin").mkdir()
    (folder / "bin" / "java").symlink_to(home / "bin" / "java")
    found = java.find({"PATH": str(folder / "bin")}, [])
    assert found is not None
    assert found.home == home.resolve()


def test_without_a_release_file_java_is_asked(folder: Path) -> None:
    make_jdk(folder / "jvm" / "a", None, None, says=f'openjdk version "23-ea" 2024-09-17 {java.MODULE}')
    make_jdk(folder / "jvm" / "b", None, None, says="no runtime present, requesting install")
    found = found_in(folder)
    assert found is not None
    assert (found.home.name, found.version) == ("a", (23,))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the node under another account")
def test_a_jdk_that_the_nodes_account_cannot_enter_is_no_choice(folder: Path) -> None:
    make_jdk(folder / "jvm" / "private" / "25", "25")
    (folder / "jvm" / "private").chmod(0o700)
    assert java.find({"PATH": ""}, [f"{folder}/jvm/private/*"]) is None


# -- the distribution ----------------------------------------------------------------------------------------


def make_program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys, zipfile\n{body}")
    (folder / name).chmod(0o755)


FAKE_MAVEN = """
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("-D"))
with open(os.environ["CALLS"], "a") as calls:
    calls.write(options["artifact"] + "\\n")
target = pathlib.Path(options["outputDirectory"], "elasticsearch.zip")
with zipfile.ZipFile(target, "w") as archive:
    entry = zipfile.ZipInfo("elasticsearch-x/bin/elasticsearch")
    entry.external_attr = 0o100755 << 16
    archive.writestr(entry, "#!/bin/sh\\n")
    archive.writestr("elasticsearch-x/lib/a.jar", "jar" * 1000)
if os.environ.get("CUT"):
    target.write_bytes(target.read_bytes()[:-200])
"""


@pytest.fixture
def maven(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven on PATH that delivers a tiny archive; returned is the file with its calls."""
    make_program(folder / "bin", "mvn", FAKE_MAVEN)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    return folder / "calls"


def test_the_distribution_is_fetched_and_unpacked_once(folder: Path, maven: Path) -> None:
    (folder / "cache" / ".unpacking-killed").mkdir(parents=True)
    first = distribution.fetch(folder / "cache", folder)
    assert distribution.fetch(folder / "cache", folder) == first == distribution.unpacked(folder / "cache")
    assert maven.read_text().splitlines() == [
        f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
    ]
    assert stat.S_IMODE((first / "bin" / "elasticsearch").stat().st_mode) == 0o755
    assert sorted(path.name for path in (folder / "cache").iterdir()) == [f"elasticsearch-{VERSION}", "lock"]


@pytest.mark.usefixtures("maven")
def test_half_an_archive_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUT", "1")
    with pytest.raises(NodeError, match="cannot be unpacked"):
        distribution.fetch(folder / "cache", folder)
    assert distribution.unpacked(folder / "cache") is None
    assert [path.name for path in (folder / "cache").iterdir()] == ["lock"]


@pytest.mark.usefixtures("maven")
def test_what_maven_complains_of_is_quoted(folder: Path) -> None:
    make_program(
        folder / "bin", "mvn", "print('[ERROR] Could not transfer artifact: no route to host')\nsys.exit(1)\n"
    )
    with pytest.raises(NodeError, match=r"no route to host; check the network and the mirrors"):
        distribution.fetch(folder / "cache", folder)


# -- a start that fails --------------------------------------------------------------------------------------


def make_distribution(folder: Path, body: str) -> Path:
    """Make a distribution whose ``bin/elasticsearch`` is the shell script ``body``."""
    made = folder / "distribution"
    (made / "config").mkdir(parents=True)
    for name in ("log4j2.properties", "jvm.options"):
        (made / "config" / name).touch()
    (made / "bin").mkdir()
    (made / "bin" / "elasticsearch").write_text(f"#!/bin/sh\n{body}")
    (made / "bin" / "elasticsearch").chmod(0o755)
    return made


def test_a_node_that_ends_while_it_starts_is_quoted(folder: Path) -> None:
    made = make_distribution(
        folder, "echo '[x][INFO ] fine'; echo '[x][ERROR] disk on fire'; echo '  at a.b.c(D.java:1)'; exit 78"
    )
    process.prepare(folder / "home", made)
    with pytest.raises(NodeError) as caught:
        process.start(folder / "home", made, folder, heap_mb=256, timeout_s=30)
    assert "exit status 78" in caught.value.message
    assert caught.value.message.endswith("ends:\n  [x][ERROR] disk on fire")


def test_a_node_that_does_not_come_up_in_time_is_ended(folder: Path) -> None:
    made = make_distribution(folder, 'echo $$ > "$ES_PATH_CONF/pid"; exec sleep 600')
    process.prepare(folder / "home", made)
    with pytest.raises(NodeError, match=r"within 1 seconds.*--timeout-s"):
        process.start(folder / "home", made, folder, heap_mb=256, timeout_s=1)
    assert not psutil.pid_exists(int((folder / "home" / "config" / "pid").read_text()))


def test_a_folder_of_somebody_else_is_neither_written_nor_removed(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    (home / "thesis.tex").touch()
    with pytest.raises(NodeError, match="was not made by es-rerank"):
        process.prepare(home, make_distribution(folder, ""))
    process.remove(home)
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]


# -- Docker, played by a script that writes down how it was called -------------------------------------------

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
