"""``es-rerank serve --check``: say what would be in force and try each part once, without serving."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.markup import escape
from rich.table import Column, Table

from ..addresses import has_credentials, masked
from ..errors import EsRerankError, ModelError
from ..settings import PREFIX
from .listening import check_not_itself, is_loopback, listen, shown_address, tls_of
from .output import as_known, print_json, print_table, stdout
from .settings_in_force import in_force, settings_table, shown

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

    from ..engine.pool import Pool
    from ..models import LoadedEmbedder, LoadedReranker
    from ..node.checks import CheckStatus
    from ..settings import Settings
    from ..sidecar.service import Limits, Service

T = TypeVar("T")

_PAIR = ("who signed the treaty", "The king signed the treaty.")
_SOON_S = 30 * 86_400
"""A certificate that ends earlier is told."""

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True)
class Found:
    """What one check found.

    ``status`` is ``fail`` when the sidecar would not serve or a part of it would not work, ``warn`` when an
    operator should look. ``facts`` are figures for programs.
    """

    name: str
    status: CheckStatus
    found: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def check(settings: Settings, options: Mapping[str, Any], host: str, port: int, *, as_json: bool) -> bool:
    """Print the settings in force and what the checks found; return whether all would serve.

    ``settings`` are those of the environment with ``options`` in their place: the values of options by the
    names of settings. Nothing runs on afterwards.
    """
    values = in_force(settings, options, host, port)
    found = [*_checks(settings, host, port)]
    good = all(each.status != "fail" for each in found)
    if as_json:
        print_json({"ok": good, "settings": values, "checks": [asdict(each) for each in found]})
    else:
        print_table(settings_table(values))
        stdout.print()
        print_table(_checks_table(found))
    return good


def _checks(settings: Settings, host: str, port: int) -> Iterator[Found]:
    from ..engine.batch_runner import threads_for
    from ..engine.pool import Pool

    found = [
        _tried("Address", lambda: _address(settings, host, port)),
        _tried("TLS", lambda: _tls(settings)),
        _tried("Keys", lambda: _keys(settings, host)),
        _tried("Traces", _traces),
        _tried("Elasticsearch", lambda: _elasticsearch(settings)),
    ]
    pool = Pool(threads_for(settings.execution_provider, settings.threads))
    try:
        found += _models(settings, pool)
    finally:
        pool.close()
    yield from found
    sidecar = _tried("Sidecar", lambda: _sidecar(settings))
    # What fails above may fail here too: it is told once.
    if sidecar.status != "fail" or all(each.status != "fail" for each in found):
        yield sidecar


def _tried(name: str, look: Callable[[], Found]) -> Found:
    """Return what a check found, or the error that it raised. Its sentence names the remedy."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 of any part; it is told and the next part is tried
        try:
            message = as_known(error).message
        except Exception:  # noqa: BLE001 it is the same error, which is not known
            message = f"unexpected {type(error).__name__}; serve itself logs where it is raised"
        said = shown(name, message)
        what, _, remedy = str(said).rpartition("; ")
        return Found(name, "fail", what or str(said), remedy if what else "")


def _address(settings: Settings, host: str, port: int) -> Found:
    from ..sidecar.server.listener import most_connections

    with listen(host, port) as listener:
        check_not_itself(
            listener, (settings.elasticsearch_url or "", settings.reranker, *settings.more_rerankers)
        )
        where = shown_address(listener, encrypted=settings.tls_certificate is not None)
    connections = most_connections(settings.max_connections)
    free = f"{where} is free, for {connections} connections" if port else f"a free port, as in {where}"
    if connections < settings.max_connections:
        wanted = settings.max_connections
        return Found(
            "Address",
            "warn",
            f"{free}: fewer than the {wanted} of {PREFIX}MAX_CONNECTIONS",
            "raise the limit of open files (ulimit -n, LimitNOFILE of systemd, --ulimit nofile of Docker)",
        )
    return Found("Address", "ok", free)


def _tls(settings: Settings) -> Found:
    if tls_of(settings) is None:
        return Found("TLS", "ok", "off: the sidecar speaks plain HTTP")
    ends = _end_of(settings.tls_certificate)
    if ends is None:
        return Found("TLS", "ok", f"{settings.tls_certificate} and its key belong together")
    day = time.strftime("%Y-%m-%d", time.gmtime(ends))
    if ends <= time.time():
        return Found("TLS", "fail", f"the certificate ended on {day}", "get a new one from its CA")
    if ends <= time.time() + _SOON_S:
        return Found("TLS", "warn", f"the certificate ends on {day}", "get a new one from its CA")
    return Found("TLS", "ok", f"{settings.tls_certificate} is valid until {day}")


def _end_of(certificate: Path | None) -> int | None:
    """Return when a certificate ends, in seconds since 1970; None if this Python does not tell."""
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if decode is None or certificate is None:
        return None
    return int(ssl.cert_time_to_seconds(decode(str(certificate))["notAfter"]))


def _keys(settings: Settings, host: str) -> Found:
    from ..sidecar.access.keys import Keys

    keys = Keys(settings.api_key_hashes, settings.api_keys_file)
    if not keys.asked:
        with listen(host, 0) as listener:
            alone = is_loopback(listener.getsockname()[0])
        return Found(
            "Keys",
            "ok" if alone else "warn",
            "none is asked for" + ("" if alone else f": everybody who reaches {host} can use the models"),
            "" if alone else f"make one with es-rerank key NAME, and name its file in {PREFIX}API_KEYS_FILE",
        )
    names = ", ".join(key.name for key in keys.all) or "none"
    if warnings := keys.warnings():
        what, _, remedy = " · ".join(warnings).rpartition("; ")
        return Found("Keys", "warn", f"{len(keys.all)} ({names}): {what}", remedy)
    return Found("Keys", "ok", f"{len(keys.all)}: {names}")


def _traces() -> Found:
    from ..sidecar.observation.tracing import try_exporters

    names = try_exporters()
    return Found("Traces", "ok", f"by OpenTelemetry: {', '.join(names)}" if names else "off")


def _sidecar(settings: Settings) -> Found:
    """Build what ``serve`` builds before it listens. No model is loaded."""
    from .. import node
    from .serve import build_service

    url = node.address(settings.elasticsearch_url, settings.state_dir)
    limits = asyncio.run(_built(lambda: build_service(settings, url)))
    if settings.timeout_ms > settings.max_timeout_ms:
        return Found(
            "Sidecar",
            "warn",
            f"{PREFIX}TIMEOUT_MS is above {PREFIX}MAX_TIMEOUT_MS, so callers may ask for "
            f"{limits.longest_s * 1000:.0f} ms too",
            "raise the second or lower the first",
        )
    return Found("Sidecar", "ok", "all settings can be in force together")


async def _built(build: Callable[[], Service]) -> Limits:
    service = build()
    await service.close()
    return service.limits


def _models(settings: Settings, pool: Pool) -> Iterator[Found]:
    from ..models.access import Access
    from ..models.load import instruction_for, load_embedder, load_reranker, served_embedders, served_names
    from ..models.spec import name_and_model

    provider = settings.execution_provider
    models, fault = (settings.reranker, *settings.more_rerankers), None
    try:
        wanted = served_names(models, settings.precision, settings.instruction)
    except EsRerankError as error:
        wanted, fault = [name_and_model(model) for model in models], error
    good = True
    for name, model in wanted:
        load = partial(
            load_reranker,
            model,
            name=name,
            pool=pool,
            access=Access.of(settings),
            provider=provider,
            variant=settings.precision,
            # After a fault it is not known which of them takes one.
            instruction=None if fault else instruction_for(model, settings.instruction),
        )
        called = f"Reranker {shown('reranker', name or model)}"
        found = _tried(called, partial(_reranker, called, load, settings))
        good &= found.status != "fail"
        yield found
    if good and fault is not None:  # no fault of one of them, but of their names
        yield _tried("Rerankers", lambda: _raise(fault))
    embedders = (settings.embedder, *settings.more_embedders)
    beside, good = models if good and fault is None else (), True
    for name, model in map(name_and_model, embedders):
        called = f"Embedder {shown('embedder', name or model)}"
        load_it = partial(load_embedder, model, pool=pool, provider=provider, access=Access.of(settings))
        found = _tried(called, partial(_embedder, called, load_it))
        good &= found.status != "fail"
        yield found
    if good:
        try:
            served_embedders(embedders, beside)
        except EsRerankError as error:
            yield _tried("Embedders", partial(_raise, error))


def _raise(error: Exception) -> Found:
    raise error


@contextmanager
def _loaded(load: Callable[[], T], facts: dict[str, Any]) -> Iterator[T]:
    """Load a model for the block, and note what is known about it and how long all of it took."""
    from ..models.wrappers.wrapped import precision_of

    started = time.monotonic()
    model = load()
    try:
        manifest = getattr(model, "manifest", None)
        if manifest is not None:
            facts["max_length"] = manifest.max_length
        if (precision := precision_of(model)) is not None:
            facts["precision"] = precision
        yield model
        facts["seconds"] = round(time.monotonic() - started, 2)
    finally:
        if hasattr(model, "close"):
            model.close()


def _reranker(called: str, load: Callable[[], LoadedReranker], settings: Settings) -> Found:
    facts: dict[str, Any] = {}
    with _loaded(load, facts) as reranker:
        query, text = _PAIR
        scores = reranker.score(query, [text], deadline=time.monotonic() + settings.timeout_ms / 1000)
        if not scores.done.all():
            raise ModelError(
                f"{reranker.name} did not score one pair within {settings.timeout_ms} ms; allow more by "
                f"{PREFIX}TIMEOUT_MS, or choose a smaller model"
            )
        if (dialect := getattr(reranker, "dialect", None)) is not None:
            facts |= {"dialect": dialect, "scale": scores.scale}
    return Found(called, "ok", f"scored one pair; {_told(facts)}", facts=facts)


def _embedder(called: str, load: Callable[[], LoadedEmbedder]) -> Found:
    facts: dict[str, Any] = {}
    with _loaded(load, facts) as model:
        model.embed([_PAIR[0]], purpose="query")
        facts["dims"] = model.dims
        if (dialect := getattr(model, "dialect", None)) is not None:
            facts |= {"model": model.name, "dialect": dialect}
    return Found(called, "ok", f"embedded one text; {_told(facts)}", facts=facts)


def _told(facts: Mapping[str, Any]) -> str:
    units = {
        "seconds": "{} s",
        "max_length": "at most {} tokens",
        "precision": "{}",
        "dims": "{} dimensions",
        "model": "its model is {}",
        "dialect": "asked in the dialect {}",
        "scale": "its scores are of the scale {}",
    }
    return ", ".join(units[name].format(facts[name]) for name in units if name in facts)


def _elasticsearch(settings: Settings) -> Found:
    from .. import node

    url = node.address(settings.elasticsearch_url, settings.state_dir)
    if has_credentials(url):
        return Found(
            "Elasticsearch",
            "fail",
            f"the address {masked(url)} has credentials, which every caller would share",
            "take them out of it: callers send their own",
        )
    return asyncio.run(_asked(settings, url))


async def _asked(settings: Settings, url: str) -> Found:
    """Ask as the sidecar does, without credentials; then for facts, with those of the settings."""
    from elasticsearch import AsyncElasticsearch

    from ..sidecar.upstream.readiness import Readiness
    from .connection import ca_certs, with_port

    key = settings.elasticsearch_api_key
    async with AsyncElasticsearch(with_port(url), **ca_certs(url, settings), max_retries=0) as client:
        faults, warnings = await Readiness(lambda: client).found()
        if faults:
            what, _, remedy = "; ".join(faults).rpartition("; ")
            return Found(
                "Elasticsearch", "fail", f"{masked(url)}: {what or remedy}", remedy if what else _REACH
            )
        known = client if key is None else client.options(api_key=key.get_secret_value())
        facts = await _facts(known.options(request_timeout=5.0, ignore_status=range(400, 600)))
    told = "; ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    unknown = [name for name, value in facts.items() if value is None]
    hidden = f"; not told to callers without credentials: {', '.join(unknown)}" if unknown else ""
    return Found(
        "Elasticsearch",
        "warn" if warnings else "ok",
        f"{masked(url)} answers; {told}{hidden}",
        "; ".join(warnings),
        {"url": masked(url), **facts},
    )


_REACH = (
    f"start it, or check --elasticsearch-url and, for https, {PREFIX}ELASTICSEARCH_CA_CERTS; "
    "es-rerank up starts a local one"
)


async def _facts(client: AsyncElasticsearch) -> dict[str, Any]:
    """Return version, health, licence and plugin; None for what Elasticsearch does not tell this caller."""
    nodes, health, licence, plugin = [
        await client.perform_request("GET", path, headers={"accept": "application/json"})
        for path in ("/_nodes?filter_path=nodes.*.version", "/_cluster/health", "/_license", "/_es_rerank")
    ]
    versions = {str(each["version"]) for each in _part(nodes.body, "nodes").values()}
    says = {200: "installed", 400: "not installed", 404: "not installed", 405: "not installed"}
    return {
        "version": ", ".join(sorted(versions)) or None,
        "health": health.body.get("status") if health.meta.status == 200 else None,
        "licence": _part(licence.body, "license").get("type"),
        "plugin": says.get(plugin.meta.status),
    }


def _part(body: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 any JSON value may arrive
    part = body.get(name) if isinstance(body, Mapping) else None
    return dict(part) if isinstance(part, Mapping) else {}


def _checks_table(found: Sequence[Found]) -> Table:
    table = Table("", *(Column(name, overflow="fold") for name in ("what", "found", "what to do")), box=None)
    for each in found:
        table.add_row(
            f"[{_COLOURS[each.status]}]{each.status}[/]",
            escape(each.name),
            escape(each.found),
            escape(each.remedy),
        )
    return table
