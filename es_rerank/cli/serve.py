"""``es-rerank serve``: run the sidecar."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..addresses import has_credentials, masked
from ..defaults import HOST, PORT
from ..errors import SettingsError
from .listening import check_not_itself, is_loopback, listen, shown_address, tls_of
from .output import ElasticsearchUrl, stderr
from .search_options import InstructionOption

if TYPE_CHECKING:
    from ..models import Embedder, Reranker
    from ..settings import Settings
    from ..sidecar.service import Service

_SWITCH_S = 0.0005
"""After how many seconds a thread gives the interpreter to another one that waits. With Python's 5 ms, the
event loop waits so long for each thread that cuts a text: health checks beside eight callers took up to 181
ms, with this value 25 ms, at the same throughput."""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = PORT,
    reranker: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name, exported folder, Hub id, cohere:MODEL, remote:URL or remote:DIALECT:URL, "
            "each also as NAME=…; may be given several times: the first one is the default.",
            show_default="the bundled one",
        ),
    ] = None,
    embedder: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name, exported folder, Hub id, maven:NAME, openai:MODEL, cohere:MODEL or "
            "remote:URL, each also as NAME=…; may be given several times: the first one is the default.",
            show_default="the bundled one",
        ),
    ] = None,
    instruction: InstructionOption = None,
    elasticsearch_url: ElasticsearchUrl = None,
    api_keys_file: Annotated[
        Path | None,
        typer.Option(help="TOML file of the sidecar's API keys, read again on SIGHUP.", show_default=False),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(help="PEM file of the sidecar's certificate: listen with TLS.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the certificate's key.", show_default="in the file of the certificate"
        ),
    ] = None,
    pass_through: Annotated[
        bool | None,
        typer.Option(
            "--pass-through/--no-pass-through",
            help="Forward requests for all other paths to Elasticsearch.",
            show_default="off",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Print what would be in force, try each model, Elasticsearch and all files once, and end: "
            "with 0 only if all would serve.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check: print one JSON document on stdout.")
    ] = False,
) -> None:
    """Serve reranking and Elasticsearch's own search API over HTTP, until interrupted."""
    from .. import node
    from ..settings import read_settings

    options: dict[str, Any] = {
        "pass_through": pass_through,
        "api_keys_file": api_keys_file,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "elasticsearch_url": elasticsearch_url,
        "instruction": instruction,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if tls_certificate is not None:  # its key is beside it, or in it: not the one of another certificate
        options["tls_key"] = tls_key
    if reranker:
        options |= {"reranker": reranker[0], "more_rerankers": tuple(reranker[1:])}
    if embedder:
        options |= {"embedder": embedder[0], "more_embedders": tuple(embedder[1:])}
    settings = read_settings().model_copy(update=options)
    if check:
        from .serve_check import check as check_all

        raise typer.Exit(0 if check_all(settings, options, host, port, as_json=as_json) else 1)
    tls = tls_of(settings)
    given = settings.elasticsearch_url
    url = node.address(given, settings.state_dir)
    service = build_service(settings, url, follow=given is None)
    listener = listen(host, port)
    check_not_itself(listener, (url, settings.reranker, *settings.more_rerankers))
    run_server(service, listener, f"Elasticsearch at {masked(url)}", settings, tls)


def run_server(
    service: Service,
    listener: socket.socket,
    about: str,
    settings: Settings,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Run the sidecar until SIGINT or SIGTERM; running requests are answered first.

    With ``tls``, connections are encrypted. Raises the error of models that cannot be loaded, and
    SettingsError when the process may open too few files.
    """
    from ..sidecar.access.keys import ignore_sighup
    from ..sidecar.app import create_app
    from ..sidecar.life import Drain, Server
    from ..sidecar.observation.log import configure_log
    from ..sidecar.observation.tracing import configure_tracing
    from ..sidecar.server.listener import most_connections
    from ..sidecar.server.progress import ConnectionLimits
    from .allocator import give_memory_back

    ignore_sighup()
    give_memory_back()
    sys.setswitchinterval(_SWITCH_S)
    host = listener.getsockname()[0]
    if not service.keys.asked and not is_loopback(host):
        stderr.print(
            f"[yellow]warning:[/] the sidecar listens on {host} and asks for no key: everybody who reaches "
            "it can use its models; set ES_RERANK_API_KEYS_FILE, or listen on 127.0.0.1",
            soft_wrap=True,
            highlight=False,
        )
    configure_log(service.observing.log_format)
    configure_tracing(texts=service.observing.trace_texts)
    limits = ConnectionLimits(
        most_connections(settings.max_connections),
        settings.header_timeout_ms / 1000,
        settings.body_timeout_ms / 1000,
        settings.body_bytes_per_s,
        settings.write_timeout_ms / 1000,
        settings.idle_timeout_ms / 1000,
    )
    shown = shown_address(listener, encrypted=tls is not None)
    stderr.print(
        f"es-rerank sidecar on {shown} (documentation: {shown}/_rerank/docs), {about}",
        markup=False,
        soft_wrap=True,
        highlight=False,
    )
    drain = Drain(settings.drain_delay_ms / 1000, settings.drain_ms / 1000)
    Server(create_app(service), service, limits, drain, tls).run([listener], last=True)


def build_service(settings: Settings, url: str, *, follow: bool = False) -> Service:
    """Return a service over an Elasticsearch address, after checking its model folders; loading follows
    later.

    ``follow``: the address is that of the local node, and is looked up again while the sidecar runs.

    Raises SettingsError for a file of CAs that cannot be read. Raises SettingsError for an address with
    credentials: every caller sends its own, so that Elasticsearch decides what each caller may see. Raises
    ModelFolderError for a folder that is not an exported model.
    """
    from elasticsearch import AsyncElasticsearch

    from .. import node
    from ..engine.batch_runner import threads_for
    from ..engine.pool import Pool
    from ..models.access import Access
    from ..models.load import instruction_for, load_embedder, load_reranker, served_embedders, served_names
    from ..models.spec import name_fault
    from ..models.wrappers.cached import ScoreCache
    from ..retrievers.execution.searching import check_runs
    from ..retrievers.execution.unread import JSON_TYPES, LateSerializer
    from ..sidecar.access.keys import Keys
    from ..sidecar.service import Limits, Observing, Service
    from ..sidecar.upstream.following import Following
    from .connection import ca_certs, with_port

    if has_credentials(url):
        raise SettingsError(
            "serve takes an Elasticsearch address without credentials: callers send their own Authorization "
            "header, which is forwarded to Elasticsearch unchanged"
        )
    rerankers = (settings.reranker, *settings.more_rerankers)
    wanted = served_names(rerankers, settings.precision, settings.instruction)
    embedders = served_embedders((settings.embedder, *settings.more_embedders), rerankers)

    # All models share one pool, so that no more runs than cores are active at a time.
    pool = Pool(threads_for(settings.execution_provider, settings.threads))
    cache = ScoreCache(settings.score_cache) if settings.score_cache else None

    def load() -> tuple[dict[str, Reranker], dict[str, Embedder]]:
        provider = settings.execution_provider
        loaded = [
            load_reranker(
                model,
                name=name,
                pool=pool,
                access=Access.of(settings),
                cache=cache,
                provider=provider,
                variant=settings.precision,
                instruction=instruction_for(model, settings.instruction),
            )
            for name, model in wanted
        ]
        named: dict[str, Reranker] = {model.name: model for model in loaded}
        made: dict[str, Embedder] = {
            name: load_embedder(model, pool=pool, provider=provider, access=Access.of(settings))
            for name, model in embedders
        }
        # A service is asked here, where nothing waits, for the name of its model: searches compare it.
        named_by = {name: each.name for name, each in made.items()}
        if (fault := name_fault(named_by.items())) is not None:
            raise SettingsError(fault)
        # What is there now stays. Were it looked through at each collection of garbage, that would hold the
        # event loop for 100 ms.
        gc.collect()
        gc.freeze()
        return named, made

    def connected(address: str) -> AsyncElasticsearch:
        # One retry, for a keep-alive connection that was closed. No retry after an error response of
        # Elasticsearch: the caller decides on that.
        return AsyncElasticsearch(
            with_port(address),
            **ca_certs(address, settings),
            max_retries=1,
            retry_on_status=(),
            serializers=dict.fromkeys(JSON_TYPES, LateSerializer()),
        )

    def elsewhere(address: str) -> str | None:
        return node.moved_from(address, settings.state_dir)

    return Service(
        connected(url),
        load,
        Limits(
            settings.max_body_bytes,
            settings.max_documents,
            settings.timeout_ms / 1000,
            settings.longest_ms / 1000,
        ),
        settings.api_key_hashes,
        check_runs(settings.elasticsearch_runs),
        settings.pass_through,
        settings.plugin,
        api_keys_file=settings.api_keys_file,
        pool=pool,
        following=Following(elsewhere, connected) if follow else None,
        cache=cache,
        observing=Observing(
            settings.log_requests,
            settings.log_format,
            settings.trace_texts,
            Keys(settings.metrics_key_hashes),
        ),
    )
