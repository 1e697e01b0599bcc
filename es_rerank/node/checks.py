"""Checks what this machine has and lacks. Each check gives one row, which also says what to do."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from ..addresses import masked, masked_in
from ..engine.processor import architecture, cores, has_vnni, instruction_sets, processor_name
from ..engine.session import CPU, Session
from ..errors import ModelFolderError, SettingsError, UnreachableError
from ..models.spec import ModelSpec, parse_model
from ..retrievers.execution.product import older
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from . import distribution, docker, elastic_archive, java
from .account import default_cache, home_of
from .lifecycle import NONE_RUNS, obstacles, running
from .probe import Health, probe
from .record import Distribution, How
from .told import with_instruction

if TYPE_CHECKING:
    from ..models.manifest import Precision
    from .speed import ModelSpeed

CheckStatus = Literal["ok", "warn", "fail"]

_OLDEST_PYTHON = (3, 11)
_MIB = 1024**2
_NODE_DISK_MIB = 1024
_NODE_MEMORY_MIB = 1024
_MODEL_ROWS = {
    "cross-encoder": ("Reranker", "ES_RERANK_RERANKER"),
    "bi-encoder": ("Embedder", "ES_RERANK_EMBEDDER"),
}


_FOUND_LATER = "in the dialect that a trial finds before the first scores; serve --check shows it"
"""How a service is asked whose dialect nobody named."""

FULL = (
    "for a full one, end this node (`es-rerank down`), start Docker or let this machine reach Elastic's "
    "archive, then run `es-rerank up`"
)
"""How to get a full Elasticsearch in the place of the stripped one."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    ``status`` is ``warn`` when something is less comfortable or slower, and ``fail`` when searching and
    reranking is not possible. ``found`` says what the check found. ``remedy`` says what to do; it is empty
    when nothing is to be done.
    """

    name: str
    status: CheckStatus
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks, and the Elasticsearch that the other commands would use.

    ``url``, ``version``, ``how`` and ``distribution`` describe this Elasticsearch. They are None where they
    are not known. ``speeds`` is empty when nothing was measured.
    """

    checks: tuple[Check, ...]
    url: str | None
    version: str | None
    how: How | None
    distribution: Distribution | None
    speeds: tuple[ModelSpeed, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no check failed, so that searching and reranking is possible here."""
        return all(check.status != "fail" for check in self.checks)


def doctor(
    state_dir: Path,
    url: str | None,
    *,
    api_key: str | None = None,
    ca_certs: Path | None = None,
    reranker: str = BUNDLED_RERANKER,
    embedder: str = BUNDLED_EMBEDDER,
    download_url: str | None = None,
    measured: Callable[[], Iterable[ModelSpeed]] | None = None,
    variant: Precision | None = None,
    instruction: str | None = None,
    provider: str = CPU,
) -> Diagnosis:
    """Check the machine and Elasticsearch.

    Elasticsearch is the one at ``url``, or the local node of ``state_dir`` if ``url`` is None. ``reranker``
    and ``embedder`` are the models that would be served. ``download_url`` is the folder of a web server from
    which ``up`` would fetch Elastic's archive; it is not asked. ``measured`` returns the speeds of the
    models; without it nothing is measured. ``variant``: the precision that rerankers must have.
    ``instruction``: the one that the reranker must read.
    ``provider``: the execution provider that runs the models; one that is not the CPU is tried on the bundled
    reranker. Nothing is started or changed. The checks take up to about 30 seconds when a server or the
    Docker daemon does not respond.
    """
    node = running(state_dir) if url is None else None
    address = url or (node.url if node else None)
    health, elasticsearch = _elasticsearch(address, api_key, ca_certs, download_url)
    nodes = [_docker(), _archive(download_url), _jdk(), _maven()]
    machine = [_python(), *nodes, _disk(state_dir), _memory(), cpu_row()]
    runtime = _onnxruntime()
    models = []
    if runtime.status == "ok":
        row = with_instruction(check_model("cross-encoder", reranker, variant), reranker, instruction)
        models = [row, check_model("bi-encoder", embedder)]
    providers = [_provider(provider)] if runtime.status == "ok" and provider != CPU else []
    can_run = all(each.status == "ok" for each in (runtime, *providers))
    speeds = tuple(measured()) if measured is not None and can_run else ()
    checks = (elasticsearch, *machine, runtime, *providers, *models, *map(speed_row, speeds))
    version = health.version if health else None
    how: How | None = node.how if node else "given" if url else None
    kind = health.distribution if health else None
    return Diagnosis(checks, masked(address) if address else None, version, how, kind, speeds)


def _elasticsearch(
    url: str | None, api_key: str | None, ca_certs: Path | None, download_url: str | None
) -> tuple[Health | None, Check]:
    if url is None:
        return None, _no_elasticsearch(download_url)
    try:
        health = probe(url, api_key=api_key, ca_certs=ca_certs)
    except UnreachableError as error:
        return None, Check(
            "Elasticsearch",
            "fail",
            error.message,
            "check the address (ELASTICSEARCH_URL), the API key and ES_RERANK_ELASTICSEARCH_CA_CERTS, "
            "or run: es-rerank up",
        )
    summary = (
        f"{health.version or 'unknown version'}, {health.licence or 'unknown'} licence, "
        f"{health.status or 'unknown'} health, at {masked(url)}"
    )
    if health.status == "red":
        return health, Check(
            "Elasticsearch",
            "fail",
            summary,
            "some shards are missing: GET _cluster/allocation/explain says why",
        )
    if (old := older(health.version)) is not None:
        return health, Check("Elasticsearch", "warn", f"{summary}; {old}", "upgrade Elasticsearch")
    if health.distribution == "stripped":
        return health, Check("Elasticsearch", "warn", f"{summary}; {distribution.STRIPPED}", FULL)
    return health, Check("Elasticsearch", "ok", summary)


def _no_elasticsearch(download_url: str | None) -> Check:
    missing = obstacles(default_cache(), os.environ)
    if not missing or docker.problem() is None or _archive(download_url).status == "ok":
        return Check("Elasticsearch", "warn", "none runs", NONE_RUNS.partition(": ")[2])
    to_install = " and ".join(obstacle.install for obstacle in missing)
    remedy = f"install Docker, or {to_install}; or give an address in ELASTICSEARCH_URL"
    return Check("Elasticsearch", "fail", "none runs, and none can be started here", remedy)


def _python() -> Check:
    summary = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Check("Python", "fail", summary, "install Python 3.11 or newer")
    return Check("Python", "ok", summary)


def _jdk() -> Check:
    jdk = java.find(os.environ)
    if jdk is not None:
        return Check("JDK", "ok", str(jdk))
    others = "; ".join(f"{other}: {other.problem}" for other in java.survey(os.environ))
    return Check(
        "JDK",
        "warn",
        others or "none",
        f"Maven's stripped distribution needs a JDK {java.OLDEST} or newer; name it in ES_JAVA_HOME",
    )


def _maven() -> Check:
    if (maven := shutil.which("mvn")) is not None:
        return Check("Maven", "ok", maven)
    if (folder := distribution.unpacked(default_cache())) is not None:
        return Check("Maven", "ok", f"none, and none is needed: Elasticsearch is already in {folder}")
    return Check("Maven", "warn", "none", "needed once, to fetch the stripped distribution of Elasticsearch")


def _docker() -> Check:
    problem = docker.problem()
    if problem is None:
        return Check("Docker", "ok", "its daemon answers")
    return Check("Docker", "warn", problem, "needed only for a node in a container and for Kibana")


def _archive(download_url: str | None) -> Check:
    """Check whether ``up`` could take Elastic's own archive. No server is asked."""
    name = "Elastic's archive"
    if (folder := elastic_archive.unpacked(default_cache())) is not None:
        return Check(name, "ok", f"unpacked in {folder}")
    if (problem := elastic_archive.problem()) is not None:
        return Check(name, "warn", problem, "start Docker for a full Elasticsearch")
    if not download_url:
        remedy = "name the folder of a web server that has it in ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL"
        return Check(name, "warn", "not here, and not to be downloaded", remedy)
    archive = f"{elastic_archive.name_of_archive()} from {masked(download_url)}"
    return Check(name, "ok", f"not here; without Docker, `es-rerank up` downloads {archive}")


def _disk(state_dir: Path) -> Check:
    home = home_of(state_dir)
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mib = shutil.disk_usage(existing).free // _MIB
    summary = f"{free_mib} MiB free at {existing}"
    if free_mib < _NODE_DISK_MIB:
        return Check(
            "Disk",
            "warn",
            summary,
            f"a local node needs {_NODE_DISK_MIB} MiB; "
            "free some space, or move the state to another disk with ES_RERANK_STATE_DIR",
        )
    return Check("Disk", "ok", summary)


def _memory() -> Check:
    free_mib = psutil.virtual_memory().available // _MIB
    summary = f"{free_mib} MiB available"
    if free_mib < _NODE_MEMORY_MIB:
        return Check(
            "Memory",
            "warn",
            summary,
            f"a local node needs {_NODE_MEMORY_MIB} MiB with its default heap; "
            "start it with a smaller --heap-mb",
        )
    return Check("Memory", "ok", summary)


def cpu_row() -> Check:
    """Return what is known of the processor."""
    flags = instruction_sets()
    known = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimd") if flag in flags]
    named = " ".join(known) or "instruction sets unknown"
    summary = f"{processor_name()}, {cores()} cores, {platform.machine()}, {named}"
    if flags and architecture() == "x86_64" and not has_vnni():
        summary += "; without VNNI, so int8 may be no faster than fp32"
    if flags and architecture() == "x86_64" and "avx2" not in flags:
        return Check("CPU", "warn", summary, "without AVX2 the models run several times slower")
    return Check("CPU", "ok", summary)


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


def _provider(provider: str) -> Check:
    """Check whether the execution provider of the settings runs models here."""
    from ..models.load import model_folder, reranker_manifest  # noqa: PLC0415 it loads ONNX Runtime

    name, told = "Execution provider", f"{provider} runs the models"
    try:
        graph = model_folder(BUNDLED_RERANKER) / reranker_manifest(BUNDLED_RERANKER).variant(None)
        Session(graph, provider)
    except SettingsError as error:
        what, _, remedy = error.message.rpartition("; ")
        return Check(name, "fail", what, remedy)
    except ModelFolderError as error:
        return Check(name, "warn", error.message)
    return Check(name, "ok", told)


def speed_row(speed: ModelSpeed) -> Check:
    """Return the speed of a model as a check; ``warn`` when it could not be measured."""
    from .speed import WINDOW, WORDS  # noqa: PLC0415 it loads ONNX Runtime, which may not be installed

    name, unit = f"Speed of the {speed.role}", "pairs" if speed.role == "reranker" else "passages"
    why = "" if speed.why is None else f" ({WORDS[speed.why]})"
    runs = f"{speed.model} runs in {speed.precision}{why}"
    if speed.speeds is None:
        return Check(name, "warn", f"{runs}; not measured: {speed.fault}")
    told = []
    for tokens, by_precision in speed.speeds.seconds.items():
        each = []
        for precision in sorted(by_precision):
            words = f"{precision} {speed.speeds.per_second(precision, tokens):.0f} {unit}/s"
            if speed.role == "reranker":
                words += f", {speed.window_ms(precision, tokens):.0f} ms for a window of {WINDOW}"
            each.append(words)
        told.append(f"at {tokens} tokens {' and '.join(each)}")
    return Check(name, "ok", f"{runs}; {'; '.join(told)}; {speed.threads} threads")


def check_model(
    kind: Literal["cross-encoder", "bi-encoder"], name: str, variant: Precision | None = None
) -> Check:
    """Check that the reranker or the embedder ``name`` could be served; it is named as in the settings.

    Nothing is downloaded or imported and no service is asked: a model of the Hugging Face Hub, or one that
    has to be imported first, gives ``warn``, a service on the network ``ok``. Passwords in an address are
    masked.
    """
    # This import loads ONNX Runtime. When it is not installed, another check reports that.
    from ..models.load import check_reranker, folder_here, may_be_on_hub, model_folder, reranker_manifest  # noqa: PLC0415 see above
    from ..models.manifest import read_manifest  # noqa: PLC0415

    row, setting = _MODEL_ROWS[kind]
    lacks = False
    try:
        spec = parse_model(name) if kind == "cross-encoder" else ModelSpec(name, "local", (name,))
        if spec.hosted:
            found = f"{masked(check_reranker(name))}: a service on the network; texts are sent to it"
            if spec.kind == "remote":
                found += f", {f'in the dialect {spec.dialect}' if spec.dialect else _FOUND_LATER}"
            return Check(row, "ok", found)
    except SettingsError as error:
        return Check(row, "fail", masked_in(error.message), f"name a reranker with {setting}")
    if spec.kind == "cascade":
        checks = [check_model(kind, stage, variant) for stage in spec.models]
        worst = next(
            (check for status in ("fail", "warn") for check in checks if check.status == status), None
        )
        return worst or Check(row, "ok", f"{checks[1].found} after {checks[0].found}")
    try:
        if folder_here(spec.model) is None:
            return _not_here(row, spec.model, setting, on_hub=may_be_on_hub(spec.model))
        if kind == "bi-encoder":
            manifest = read_manifest(model_folder(name), kind=kind)
        else:
            manifest = reranker_manifest(spec.model)
            lacks = variant is not None and variant not in manifest.variants
            manifest.variant(variant)
    except (ModelFolderError, SettingsError) as error:
        remedy = f"name an exported folder with {setting}, or reinstall es-rerank to repair the bundled model"
        if lacks:
            remedy = f"unset ES_RERANK_PRECISION, or name a model that has {variant} with {setting}"
        return Check(row, "fail", masked_in(error.message), remedy)
    return Check(row, "ok", f"{name} ({manifest.source})")


def _not_here(row: str, model: str, setting: str, *, on_hub: bool) -> Check:
    """Return the row of a model that is fetched or imported when it is loaded first."""
    if on_hub:
        return Check(
            row,
            "warn",
            f"{model} is not a folder on this machine",
            f"it will be downloaded from the Hugging Face Hub; "
            f"without network, name an exported folder with {setting}",
        )
    return Check(
        row,
        "warn",
        f"{model} was not imported yet",
        f"it will be imported when it is loaded first; or run: es-rerank import {model} OUT, and name OUT "
        f"with {setting}",
    )
