"""What can be known of the container files without a Docker daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from http_servers import Quiet, serving_in_thread

from es_rerank.defaults import DRAIN_DELAY_MS, DRAIN_MS, MAX_CONNECTIONS
from es_rerank.node import VERSION
from es_rerank.node.docker import COMPOSE, IMAGE
from es_rerank.sidecar.life import END_S

REPOSITORY = Path(__file__).parents[2]
KIBANA = REPOSITORY / "docker" / "kibana"
HEAVY = {"torch", "transformers", "sentence-transformers", "optimum"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile as instructions with their arguments, comments gone and continued lines joined."""
    lines = [
        line
        for line in (REPOSITORY / "docker" / "Dockerfile").read_text().splitlines()
        if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def arguments(dockerfile: list[tuple[str, str]], instruction: str) -> list[str]:
    return [rest for name, rest in dockerfile if name == instruction]


# -- Compose -------------------------------------------------------------------------------------------------


def has_compose() -> bool:
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="Docker's Compose plugin is not installed")
def test_compose_accepts_the_file() -> None:
    done = subprocess.run(
        ["docker", "compose", "--file", str(COMPOSE), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_stack_has_its_services_in_one_version(services: dict[str, Any]) -> None:
    assert set(services) == {"elasticsearch", "kibana", "kibana-import", "sidecar"}
    assert services["elasticsearch"]["image"] == IMAGE
    assert {services[name]["image"] for name in ("kibana", "kibana-import")} == {
        f"docker.elastic.co/kibana/kibana:{VERSION}"
    }
    assert services["sidecar"]["environment"] == {"ELASTICSEARCH_URL": "http://elasticsearch:9200"}


def test_every_port_is_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port) for port in published), published


def test_elasticsearch_is_basic_and_open_to_us(services: dict[str, Any]) -> None:
    environment = services["elasticsearch"]["environment"]
    assert environment["xpack.license.self_generated.type"] == "basic"
    assert environment["xpack.security.enabled"] == "false"
    # What `es-rerank up` sets when it starts this service alone.
    assert environment["ES_JAVA_OPTS"].count("${ELASTICSEARCH_HEAP_MB:-512}m") == 2
    assert services["elasticsearch"]["ports"] == ["127.0.0.1:${ELASTICSEARCH_PORT:-9200}:9200"]


def test_nothing_waits_for_a_service_that_has_no_health(
    services: dict[str, Any], dockerfile: list[tuple[str, str]]
) -> None:
    assert arguments(dockerfile, "HEALTHCHECK")
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in services[needed], needed
    assert {name for name, service in services.items() if service.get("depends_on")} == {
        "kibana",
        "kibana-import",
        "sidecar",
    }


def test_no_service_is_given_privileges(services: dict[str, Any]) -> None:
    forbidden = {"privileged", "cap_add", "network_mode", "pid", "user", "devices"}
    assert not [(name, key) for name, service in services.items() for key in forbidden & set(service)]
    assert services["sidecar"]["cap_drop"] == ["ALL"]
    assert services["sidecar"]["read_only"] is True


def test_paths_in_the_stack_exist(services: dict[str, Any]) -> None:
    build = services["sidecar"]["build"]
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == REPOSITORY
    assert (context / build["dockerfile"]).is_file()
    source, target, mode = services["kibana-import"]["volumes"][0].split(":")
    script = services["kibana-import"]["entrypoint"][1]
    assert mode == "ro"
    assert (COMPOSE.parent / source / Path(script).relative_to(target)).is_file()


# -- Dockerfile ----------------------------------------------------------------------------------------------


def test_the_image_is_slim_and_not_root(dockerfile: list[tuple[str, str]]) -> None:
    assert arguments(dockerfile, "FROM") == ["python:3.12-slim AS build", "python:3.12-slim"]
    last_stage = dockerfile[max(number for number, (name, _) in enumerate(dockerfile) if name == "FROM") :]
    (user,) = arguments(last_stage, "USER")
    assert int(user) > 0
    assert [name for name, _ in last_stage].index("USER") > [name for name, _ in last_stage].index("RUN")
    assert json.loads(arguments(dockerfile, "ENTRYPOINT")[0]) == ["es-rerank"]
    assert json.loads(arguments(dockerfile, "CMD")[0]) == ["serve", "--host", "0.0.0.0", "--port", "8080"]


def test_the_image_gets_no_training_libraries(dockerfile: list[tuple[str, str]]) -> None:
    installs = [line for line in arguments(dockerfile, "RUN") if "pip install" in line]
    assert installs
    assert not any("[" in line or any(name in line for name in HEAVY) for line in installs)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", dependency)[0].lower() for dependency in project["dependencies"]}
    assert "onnxruntime" in names
    assert not names & HEAVY


def test_the_build_is_given_what_it_copies_and_nothing_else(dockerfile: list[tuple[str, str]]) -> None:
    copied = {source for line in arguments(dockerfile, "COPY") for source in line.split()[:-1]}
    assert all((REPOSITORY / source).exists() for source in copied)
    rules = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


@pytest.mark.parametrize("encrypted", ["", "by a variable", "by an option"])
@pytest.mark.parametrize("port_option", ["--port\0{}", "--port\08080\0--port={}", ""])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_whether_the_process_lives(
    dockerfile: list[tuple[str, str]],
    status: int,
    healthy: bool,
    port_option: str,
    encrypted: str,
    tmp_path: Path,
) -> None:
    """Port and certificate may be options of the command that the container runs.

    Were readiness asked for, the sidecar would be restarted because Elasticsearch is out.
    """
    (check,) = arguments(dockerfile, "HEALTHCHECK")
    _, _, program = json.loads(check[check.index("[") :])
    tls, variables = None, dict(os.environ)
    if encrypted:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("sidecar.example").configure_cert(tls)
    if encrypted == "by a variable":
        variables["ES_RERANK_TLS_CERTIFICATE"] = str(tmp_path)
    started = "es-rerank\0serve\0" + ("--tls-certificate\0a.pem\0" if encrypted == "by an option" else "")
    with served(status, "{}", tls) as (port, requests):
        command_line = tmp_path / "cmdline"
        command_line.write_text(started + port_option.format(port) + "\0")
        program = program.replace("/proc/1/cmdline", str(command_line))
        if not port_option:
            program = program.replace("8080", str(port))
        done = subprocess.run([sys.executable, "-c", program], check=False, env=variables)
    assert (done.returncode == 0) is healthy
    assert [request["path"] for request in requests] == ["/healthz"]


def test_the_sidecar_has_time_to_stop_and_room_for_connections(services: dict[str, Any]) -> None:
    sidecar = services["sidecar"]
    grace_ms = 1000 * int(sidecar["stop_grace_period"].removesuffix("s"))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    longest_ms = DRAIN_DELAY_MS + DRAIN_MS + 1000 * END_S
    assert grace_ms > longest_ms
    assert f"{END_S:.0f} s more, {longest_ms / 1000:.0f} s by default" in readme
    assert DRAIN_DELAY_MS + DRAIN_MS < 10_000  # all are answered before `docker stop` kills
    assert sidecar["ulimits"]["nofile"] > 2 * MAX_CONNECTIONS


# -- Kibana --------------------------------------------------------------------------------------------------

JSON_IN_STRINGS = {
    "fieldAttrs",
    "fieldFormatMap",
    "fields",
    "runtimeFieldMap",
    "sourceFilters",
    "searchSourceJSON",
    "optionsJSON",
    "panelsJSON",
    "visState",
}


def faults(lines: list[dict[str, Any]]) -> list[str]:
    """Return what Kibana would stumble over: missing keys, strings that hold no JSON,
    references to nothing, ids used twice.
    """
    known = [(line["type"], line["id"]) for line in lines]
    found = [f"{key} twice" for key in known if known.count(key) > 1]
    for line in lines:
        missing = {
            "attributes",
            "id",
            "type",
            "references",
            "coreMigrationVersion",
            "typeMigrationVersion",
        } - set(line)
        found += [f"{line['id']} lacks {key}" for key in sorted(missing)]
        found += [f"{line['id']}.{key} holds no JSON" for key in json_faults(line["attributes"])]
        found += [
            f"{line['id']} refers to {each['id']}"
            for each in line.get("references", [])
            if (each["type"], each["id"]) not in known
        ]
    return found


def json_faults(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from json_faults(each)
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in JSON_IN_STRINGS and not holds_json(inner):
                yield key
            yield from json_faults(inner)


def holds_json(value: object) -> bool:
    try:
        json.loads(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def saved_objects(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("file", sorted(KIBANA.glob("*.ndjson")), ids=lambda file: file.name)
def test_saved_objects_are_whole(file: Path) -> None:
    assert faults(saved_objects(file)) == []


def test_faults_in_saved_objects_are_seen() -> None:
    whole = {
        "attributes": {"sourceFilters": "[]"},
        "id": "a",
        "type": "index-pattern",
        "references": [],
        "coreMigrationVersion": "8.8.0",
    }
    broken = {
        **whole,
        "attributes": {"panel": {"fields": [], "searchSourceJSON": "{"}},
        "references": [{"type": "lens", "id": "a", "name": "p"}],
    }
    assert faults([whole]) == ["a lacks typeMigrationVersion"]
    assert {"a.fields holds no JSON", "a.searchSourceJSON holds no JSON", "a refers to a"} < set(
        faults([broken])
    )
    assert len([fault for fault in faults([whole, whole]) if fault.endswith("twice")]) == 2


def test_the_demo_view_shows_the_demo_and_hides_its_vectors() -> None:
    (view,) = saved_objects(KIBANA / "demo.ndjson")
    assert view["type"] == "index-pattern"
    assert (view["attributes"]["title"], view["attributes"]["timeFieldName"]) == (
        "es-rerank-demo*",
        "@timestamp",
    )
    assert json.loads(view["attributes"]["sourceFilters"]) == [{"value": "passages.vector"}]


def test_import_sends_every_file_and_believes_the_body_only() -> None:
    script = [str(KIBANA / "import.sh")]
    with served(200, '{"successCount":1,"success":true,"warnings":[]}') as (port, requests):
        done = subprocess.run(
            [*script, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert [request["path"] for request in requests] == ["/api/saved_objects/_import?overwrite=true"] * len(
        list(KIBANA.glob("*.ndjson"))
    )
    assert all(request["kbn-xsrf"] == "true" for request in requests)
    assert '"title":"es-rerank-demo*"' in requests[0]["body"]

    with served(200, '{"successCount":0,"success":false,"errors":[{"id":"x"}]}') as (port, _):
        done = subprocess.run(
            [*script, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "Kibana refused demo.ndjson" in done.stderr


@contextmanager
def served(
    status: int, body: str, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Answer every request on a free port with ``status`` and ``body``, and keep what was asked."""
    requests: list[dict[str, str]] = []

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            requests.append(
                {"path": self.path, "body": content, "kbn-xsrf": self.headers.get("kbn-xsrf", "")}
            )
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 the name that http.server looks for

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serving_in_thread(server):
        yield server.server_port, requests
