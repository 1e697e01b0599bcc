"""MCP servers in this process and as processes of their own, and what a client of the SDK gets from them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from elasticsearch import AsyncElasticsearch
from jsonschema import Draft202012Validator
from mcp import Client
from mcp_types import CallToolResult, TextContent

from es_rerank.cli.output import as_known
from es_rerank.client import AsyncRerankClient
from es_rerank.integrations.openai_chat import AsyncChatModel
from es_rerank.mcp_server.server import create_server
from es_rerank.mcp_server.tools import Choices, Tools
from es_rerank.models import Embedder, Reranker
from es_rerank.testing import WordOverlapReranker

Mode = Literal["auto", "legacy"]
"""How a client begins: with a request of the newest protocol, or with the handshake of the older ones."""


def words(text: str) -> int:
    """Count tokens: words, here."""
    return len(text.split())


@asynccontextmanager
async def connected(
    url: str,
    choices: Choices,
    *,
    reranker: Reranker | None = None,
    embedder: Embedder | None = None,
    chat: AsyncChatModel | None = None,
    count: Callable[[str], int] = words,
    mode: Mode = "auto",
) -> AsyncIterator[Client]:
    """Yield a client of a server in this process, over the Elasticsearch at ``url``."""
    async with AsyncElasticsearch(url, request_timeout=30) as plain:
        scorer = reranker or WordOverlapReranker()
        reranking = AsyncRerankClient(plain, reranker=scorer, embedder=embedder)
        server = create_server(Tools(reranking, choices, count, chat, scorer), as_known)
        try:
            async with Client(server, mode=mode) as client:
                yield client
        finally:
            if chat is not None:
                await chat.close()


def command(*arguments: str) -> list[str]:
    """Return the command line of ``es-rerank mcp``."""
    return [sys.executable, "-m", "es_rerank", "mcp", *arguments]


def text_of(result: CallToolResult) -> str:
    """Return the text of a result, which has no other content."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def fault_of(result: CallToolResult) -> str:
    """Return the sentence of a tool error."""
    assert result.is_error
    assert result.structured_content is None
    text = text_of(result)
    assert "Traceback" not in text
    assert "\n" not in text
    return text


async def found_by(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the structure that a tool answers, after a check against its output schema."""
    schemas = {each.name: each.output_schema for each in (await client.list_tools()).tools}
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    found: dict[str, Any] = result.structured_content
    schema = schemas[tool]
    assert schema is not None
    Draft202012Validator(schema).validate(found)
    return found
