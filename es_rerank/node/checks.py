"""What this machine offers and lacks, as rows that each say what to do."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from ..addresses import masked
from ..errors import ModelFolderError, SettingsError, UnreachableError
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from . import distribution, docker, java
from .account import default_cache, home_of
from .lifecycle import NONE_RUNS, obstacles, running
from .probe import Health, probe
from .record import How

Status = Literal["ok", "warn", "fail"]

_OLDEST_PYTHON = (3, 11)
_MIB = 1024**2
_NODE_DISK_MIB = 1024
_NODE_MEMORY_MIB = 1024
_MODEL_ROWS = {
    "cross-encoder": ("Reranker", "ES_RERANK_RERANKER"),
    "bi-encoder": ("Embedder", "ES_RERANK_EMBEDDER"),
}


@dataclass(frozen=True)
class Check:
    """One row: ``warn`` costs comfort or speed, ``fail`` makes the main job impossible; ``remedy`` is empty when all is well."""

    name: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All rows, and the Elasticsearch that other commands would use; None where there is none."""

    checks: tuple[Check, ...]
    url: str | None
    version: str | None
    how: How | None

    @property
    def ok(self) -> bool:
        """Return whether the main job can be done here."""
        return all(check.status != "fail" for check in self.checks)


def doctor(
    state_dir: Path,
    url: str | None,
    *,
    api_key: str | None = None,
    ca_certs: Path | None = None,
    reranker: str = BUNDLED_RERANKER,
    embedder: str = BUNDLED_EMBEDDER,
) -> Diagnosis:
    """Look at the machine and at Elasticsearch: the one at ``url`` when it is given, else the local node of ``state_dir``.

    ``reranker`` and ``embedder`` are the models that would be served.
    Starts nothing and changes nothing; takes up to about 30 seconds when servers or daemons hang.
    """
    node = running(state_dir) if url is None else None
    seen = url or (node.url if node else None)
    health, elasticsearch = _elasticsearch(seen, api_key, ca_certs)
    machine = [_python(), _jdk(), _maven(), _docker(), _disk(state_dir), _memory(), _cpu()]
    runtime = _onnxruntime()
    models = (
        [_model("cross-encoder", reranker), _model("bi-encoder", embedder)] if runtime.status == "ok" else []
    )
    checks = (elasticsearch, *machine, runtime, *models)
    version = health.version if health else None
    return Diagnosis(
        checks, masked(seen) if seen else None, version, node.how if node else "given" if url else None
    )


def _elasticsearch(
    url: str | None, api_key: str | None, ca_certs: Path | None
) -> tuple[Health | None, Check]:
    if url is None:
        return None, _no_elasticsearch()
    try:
        health = probe(url, api_key=api_key, ca_certs=ca_certs)
    except UnreachableError as error:
        return None, Check(
            "Elasticsearch",
            "fail",
            error.message,
            "check the address (ELASTICSEARCH_URL), the API key and ES_RERANK_ELASTICSEARCH_CA_CERTS, or run: es-rerank up",
        )
    found = f"{health.version or 'unknown version'}, {health.licence or 'unknown'} licence, {health.status or 'unknown'} health, at {masked(url)}"
    if health.status == "red":
        return health, Check(
            "Elasticsearch",
            "fail",
            found,
            "some shards are not there: GET _cluster/allocation/explain says why",
        )
    return health, Check("Elasticsearch", "ok", found)


def _no_elasticsearch() -> Check:
    missing = obstacles(default_cache(), os.environ)
    if not missing or docker.problem() is None:
        return Check("Elasticsearch", "warn", "none runs", NONE_RUNS.partition(": ")[2])
    remedy = f"install Docker, or {' and '.join(each.install for each in missing)}; or give an address in ELASTICSEARCH_URL"
    return Check("Elasticsearch", "fail", "none runs, and none can be started here", remedy)


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Check("Python", "fail", found, "install Python 3.11 or newer")
    return Check("Python", "ok", found)


def _jdk() -> Check:
    jdk = java.find(os.environ)
    if jdk is not None:
        return Check("JDK", "ok", str(jdk))
    others = "; ".join(f"{other}: {other.problem}" for other in java.survey(os.environ))
    return Check(
        "JDK",
        "warn",
        others or "none",
        f"a node without Docker needs a JDK {java.OLDEST} or newer; name it in ES_JAVA_HOME",
    )


def _maven() -> Check:
    if (maven := shutil.which("mvn")) is not None:
        return Check("Maven", "ok", maven)
    if (folder := distribution.unpacked(default_cache())) is not None:
        return Check("Maven", "ok", f"none, and none needed: Elasticsearch is already in {folder}")
    return Check("Maven", "warn", "none", "a node without Docker needs Maven once, to fetch Elasticsearch")


def _docker() -> Check:
    problem = docker.problem()
    if problem is None:
        return Check("Docker", "ok", "its daemon answers")
    return Check("Docker", "warn", problem, "needed only for a node in a container and for Kibana")


def _disk(state_dir: Path) -> Check:
    home = home_of(state_dir)
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mib = shutil.disk_usage(existing).free // _MIB
    found = f"{free_mib} MiB free at {existing}"
    if free_mib < _NODE_DISK_MIB:
        return Check(
            "Disk",
            "warn",
            found,
            f"a local node wants {_NODE_DISK_MIB} MiB; free some, or move the state with ES_RERANK_STATE_DIR",
        )
    return Check("Disk", "ok", found)


def _memory() -> Check:
    free_mib = psutil.virtual_memory().available // _MIB
    found = f"{free_mib} MiB available"
    if free_mib < _NODE_MEMORY_MIB:
        return Check(
            "Memory",
            "warn",
            found,
            f"a local node wants {_NODE_MEMORY_MIB} MiB with its default heap; start it with a smaller --heap-mb",
        )
    return Check("Memory", "ok", found)


def _cpu() -> Check:
    flags = _cpu_flags()
    known = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimd") if flag in flags]
    found = f"{os.cpu_count()} cores, {platform.machine()}, {' '.join(known) or 'instruction sets unknown'}"
    if flags and platform.machine() == "x86_64" and "avx2" not in flags:
        return Check("CPU", "warn", found, "without AVX2 the models run several times slower")
    return Check("CPU", "ok", found)


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return next(
        (
            set(line.split(":", 1)[1].split())
            for line in text.splitlines()
            if line.startswith(("flags", "Features"))
        ),
        set(),
    )


def _onnxruntime() -> Check:
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        return Check(
            "ONNX Runtime",
            "fail",
            f"cannot be imported: {error}",
            "install it with: pip install --force-reinstall onnxruntime",
        )
    return Check("ONNX Runtime", "ok", f"{module.__version__}, {' '.join(module.get_available_providers())}")


def _model(kind: Literal["cross-encoder", "bi-encoder"], name: str) -> Check:
    # This import loads ONNX Runtime. Where it is absent, the doctor has a row of its own for that.
    from ..models.load import (  # noqa: PLC0415 see above
        CASCADE,
        COHERE,
        EARLY_EXIT,
        REMOTE,
        check_reranker,
        model_folder,
        reranker_manifest,
        stages,
    )
    from ..models.manifest import read_manifest  # noqa: PLC0415

    row, setting = _MODEL_ROWS[kind]
    if kind == "cross-encoder" and name.startswith(CASCADE):
        try:
            checks = [_model(kind, each) for each in stages(name)[1]]
        except SettingsError as error:
            return Check(row, "fail", error.message, f"name a reranker with {setting}")
        found = next((each for status in ("fail", "warn") for each in checks if each.status == status), None)
        return found or Check(row, "ok", f"{checks[1].found} after {checks[0].found}")
    if kind == "cross-encoder" and name.startswith((COHERE, REMOTE)):
        return Check(row, "ok", f"{name}: a service over the network; text leaves this machine")
    early = kind == "cross-encoder" and name.startswith(EARLY_EXIT)
    if not early and "/" in name and not Path(name).exists():
        return Check(
            row,
            "warn",
            f"{name} is no folder here",
            f"it will be fetched from the Hugging Face Hub; offline, name an exported folder with {setting}",
        )
    try:
        manifest = (
            reranker_manifest(name.partition("+")[2] if early else name)
            if kind == "cross-encoder"
            else read_manifest(model_folder(name), kind=kind)
        )
        checked = check_reranker(name) if early else name
    except (ModelFolderError, SettingsError) as error:
        return Check(
            row,
            "fail",
            error.message,
            f"name an exported folder with {setting}, or reinstall es-rerank for the bundled one",
        )
    return Check(row, "ok", f"{checked} ({manifest.source})")
