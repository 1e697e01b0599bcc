"""``es-rerank mcp``: serve the tools ``search`` and ``ask`` to hosts of the Model Context Protocol (MCP)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..defaults import HOST, MOST_WINDOW, SIZE
from ..errors import RequestError, SettingsError
from ..text.prompt import PROMPT_TOKENS
from .output import ElasticsearchUrl, as_known, leave_quietly, stderr
from .search_options import (
    EmbedderOption,
    FieldsOption,
    FiltersOption,
    FirstStageOption,
    LlmModelOption,
    RerankerOption,
    VectorFieldOption,
    WindowOption,
    filters_of,
)

if TYPE_CHECKING:
    from mcp.server import Server

    from ..integrations.openai_chat import AsyncChatModel
    from ..mcp_server.tools import Choices, Tools
    from ..settings import Settings

    Close = Callable[[], Awaitable[None]]

_NOT_IN_A_NAME = re.compile(r"[\s,/\\\"<>|#?:]|^[-_+.]")
"""What the name of an index, an alias or a data stream cannot hold. A list is given as several options, and
other clusters are not read."""


def mcp(
    index: Annotated[
        list[str],
        typer.Option(
            "--index",
            help="Index, alias or data stream that is served; may be given several times. A * stands for any "
            "characters.",
        ),
    ],
    http: Annotated[
        str | None,
        typer.Option(
            help="Serve over HTTP at HOST:PORT and the path /mcp, not on stdin and stdout. PORT alone is one "
            "of 127.0.0.1; 0 takes a free one.",
            show_default=False,
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="With --http: a further name by which callers reach this server, such as that of a proxy.",
            show_default=False,
        ),
    ] = None,
    first_stage: FirstStageOption = "knn",
    window: WindowOption = None,
    size: Annotated[
        int,
        typer.Option(min=1, max=MOST_WINDOW, help="How many hits search returns, if a call does not say."),
    ] = SIZE,
    field: FieldsOption = None,
    vector_field: VectorFieldOption = None,
    filter_: FiltersOption = None,
    show: Annotated[
        list[str] | None,
        typer.Option(
            help="Further field of each hit that search returns, such as metadata.url of what es-rerank "
            "ingest has indexed.",
            show_default=False,
        ),
    ] = None,
    passages: Annotated[int, typer.Option(min=1, max=MOST_WINDOW, help="Most passages of ask.")] = 10,
    tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of ask: instructions, question and passages.")
    ] = PROMPT_TOKENS,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="tokenizer.json, or a folder with one, that counts the tokens.",
            show_default="the reranker's, or else the embedder's",
        ),
    ] = None,
    instructions: Annotated[
        str | None,
        typer.Option(
            help="Instructions of ask to the model, or @FILE with the instructions.", show_default="built in"
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible server that answers ask: http://localhost:8000/v1. Without "
            "it, ask returns the passages, and the host's model answers.",
            show_default=False,
        ),
    ] = None,
    llm_model: LlmModelOption = None,
    reranker: RerankerOption = None,
    embedder: EmbedderOption = None,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Serve the tools search and ask over some indices to a host of the Model Context Protocol (MCP), such as
    a chat program. They only read.
    """
    from ..mcp_server.tools import Choices
    from ..settings import read_settings
    from .ask import wording_of

    settings = read_settings()
    hits = window or settings.window
    if size > hits:
        raise RequestError(f"--size {size} is larger than the window of {hits} hits; raise --window")
    choices = Choices(
        indices=_names(index),
        size=size,
        window=hits,
        first_stage=first_stage,
        fields=tuple(field or ()),
        vector_field=vector_field,
        filters=tuple(filters_of(filter_)),
        shown=tuple(show or ()),
        passages=passages,
        tokens=tokens,
        instructions=wording_of(instructions),
        timeout_s=settings.timeout_ms / 1000,
    )
    if allowed_host and http is None:
        raise RequestError("--allowed-host needs --http")
    place = None if http is None else _place(http)
    chat = _chat_model(llm, llm_model, settings)
    models = reranker, embedder, tokenizer
    with _opened(elasticsearch_url, settings, choices, models, chat) as (tools, close):
        _serve(tools, close, place, allowed_host or [], settings)


def _names(given: list[str]) -> tuple[str, ...]:
    """Return the served names. Raises RequestError for one that no index can have."""
    for name in given:
        if not name or _NOT_IN_A_NAME.search(name):
            raise RequestError(
                f"--index {name!r} is not the name of an index, an alias or a data stream of this cluster; "
                "give several as several --index"
            )
    return tuple(dict.fromkeys(given))


def _chat_model(url: str | None, name: str | None, settings: Settings) -> AsyncChatModel | None:
    from .ask import check_llm_model

    check_llm_model(url, name)
    if url is None:
        return None
    from ..integrations.openai_chat import AsyncChatModel  # the SDK is an extra

    return AsyncChatModel(url, name, api_key=settings.llm_api_key)


@contextmanager
def _opened(
    url: str | None,
    settings: Settings,
    choices: Choices,
    models: tuple[str | None, str | None, str | None],
    chat: AsyncChatModel | None,
) -> Iterator[tuple[Tools, Close]]:
    """Load the models and yield the tools, and what closes their connections. The end of the block closes the
    models.

    ``models``: reranker, embedder and tokenizer. Elasticsearch need not answer yet: a call says if it does
    not.
    """
    from .. import node
    from ..client import AsyncRerankClient
    from ..mcp_server.tools import Tools
    from ..models.load import embedder_of, reranker_of
    from .ask import token_counter
    from .connection import async_client_of

    reranker, embedder, tokenizer = models
    plain = async_client_of(node.address(url or settings.elasticsearch_url, settings.state_dir), settings)

    async def close() -> None:
        await plain.close()
        if chat is not None:
            await chat.close()

    with ExitStack() as stack:
        loaded = stack.enter_context(reranker_of(settings, reranker))
        embeds = choices.first_stage != "bm25"
        client = AsyncRerankClient(
            plain,
            reranker=loaded,
            embedder=stack.enter_context(embedder_of(settings, embedder)) if embeds else None,
            timeout_s=choices.timeout_s,
            plugin=settings.plugin,
        )
        count = token_counter(tokenizer, loaded, embedder or settings.embedder)
        yield Tools(client, choices, count, chat, loaded), close


def _serve(
    tools: Tools, close: Close, place: tuple[str, int] | None, names: list[str], settings: Settings
) -> None:
    from ..mcp_server.server import create_server
    from ..mcp_server.stdio import run_stdio
    from ..sidecar.observation.log import configure_log

    server = create_server(tools, as_known)
    served = f"es-rerank mcp serves {', '.join(tools.choices.indices)}"
    if place is not None:
        _serve_http(server, close, place, names, settings, served)
        return
    configure_log(settings.log_format)
    stderr.print(f"{served} on stdin and stdout", markup=False, highlight=False, soft_wrap=True)
    try:
        run_stdio(server, close)
    except BrokenPipeError:
        leave_quietly()


def _serve_http(
    server: Server, close: Close, place: tuple[str, int], names: list[str], settings: Settings, served: str
) -> None:
    from ..mcp_server.callers import named_place
    from ..mcp_server.http import PATH, Serving, create_app
    from ..sidecar.access.keys import Keys, ignore_sighup
    from ..sidecar.life import Drain
    from ..sidecar.life import Server as WebServer
    from ..sidecar.observation.log import STREAM, configure_log
    from ..sidecar.observation.request_log import RequestLog
    from ..sidecar.server.listener import most_connections
    from ..sidecar.server.progress import ConnectionLimits
    from .listening import is_loopback, listen, shown_address, tls_of

    places = [named_place(name) for name in names]
    tls = tls_of(settings)
    keys = Keys(settings.api_key_hashes, settings.api_keys_file)
    listener = listen(*place)
    host = listener.getsockname()[0]
    on_loopback = is_loopback(host)
    if not on_loopback and not keys.asked:
        listener.close()
        raise SettingsError(
            f"--http at {host} would let everybody who reaches it read the served indices with this "
            "server's credentials; make a key with es-rerank key NAME and set ES_RERANK_API_KEYS_FILE, or "
            "serve at 127.0.0.1"
        )
    ignore_sighup()
    configure_log(settings.log_format)
    limits = ConnectionLimits(
        most_connections(settings.max_connections),
        settings.header_timeout_ms / 1000,
        settings.body_timeout_ms / 1000,
        settings.body_bytes_per_s,
        settings.write_timeout_ms / 1000,
        settings.idle_timeout_ms / 1000,
    )
    address = shown_address(listener, encrypted=tls is not None)
    stderr.print(f"{served} on {address}{PATH}", markup=False, highlight=False, soft_wrap=True)
    sinks = (RequestLog(STREAM, settings.log_format),) if settings.log_requests else ()
    app = create_app(server, close, keys, on_loopback=on_loopback, places=places, sinks=sinks)
    WebServer(app, Serving(), limits, Drain(0.0, settings.drain_ms / 1000), tls).run([listener], last=True)


def _place(given: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``PORT``. Raises RequestError for anything else."""
    host, _, port = given.rpartition(":")
    bare = host.strip("[]")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535) or (":" in bare and bare == host):
        raise RequestError(f"--http {given!r} is not HOST:PORT or PORT; write it as 127.0.0.1:8090")
    return host or HOST, int(port)
