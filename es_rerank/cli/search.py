"""``es-rerank search``: one question, the first stage and what the reranker made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..client import RerankClient
from ..errors import RequestError
from ..models.load import load_embedder, load_reranker
from ..retrievers.tree import FirstStage
from ..settings import read_settings
from .connection import connect
from .output import ElasticsearchUrl, Json, print_json, stderr, stdout


def search(
    index: Annotated[str, typer.Argument(help="Index, alias or pattern to search.")],
    query: Annotated[str, typer.Argument(help="The question, in words.")],
    first_stage: Annotated[FirstStage, typer.Option(help="What recalls the candidates.")] = "knn",
    window: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many first-stage hits are reranked.", show_default="50")] = None,
    size: Annotated[int, typer.Option(min=1, max=10_000, help="How many hits are shown.")] = 10,
    field: Annotated[list[str] | None, typer.Option(help="Field whose text is reranked; several are joined.", show_default="found in the mapping")] = None,
    vector_field: Annotated[str | None, typer.Option(help="The dense_vector field of the kNN.", show_default="found in the mapping")] = None,
    query_vector: Annotated[
        str | None, typer.Option(help="Your own query vector: a JSON array, or @FILE that holds one.", show_default="made by the embedder")
    ] = None,
    filter_: Annotated[
        list[str] | None, typer.Option("--filter", help='An Elasticsearch query that hits must match, as JSON: {"range":{"year":{"gte":2020}}}')
    ] = None,
    reranker: Annotated[str | None, typer.Option(help="Bundled name, exported folder or Hub id.", show_default="the bundled one")] = None,
    embedder: Annotated[str | None, typer.Option(help="Bundled name, exported folder or Hub id.", show_default="the bundled one")] = None,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Search an index and rerank its first hits; --json prints the Elasticsearch response."""
    settings = read_settings()
    vector = _vector(query_vector)
    client = RerankClient(
        connect(elasticsearch_url, settings),
        reranker=load_reranker(reranker or settings.reranker, threads=settings.threads),
        embedder=load_embedder(embedder or settings.embedder, threads=settings.threads) if vector is None and first_stage == "knn" else None,
        timeout_s=settings.timeout_ms / 1000,
    )
    answer = client.rerank(
        query,
        index=index,
        size=size,
        window=window or settings.window,
        first_stage=first_stage,
        field=field or None,
        vector_field=vector_field,
        query_vector=vector,
        filter=[_object(text, "--filter") for text in filter_ or []],
    )
    if as_json:
        print_json(answer.body)
    else:
        _show(answer.body)


def _vector(given: str | None) -> list[float] | None:
    if given is None:
        return None
    try:
        value = json.loads(Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given)
    except (OSError, ValueError) as error:
        raise RequestError(f"--query-vector {given[:60]!r} is neither a JSON array nor @FILE with one: {error}") from error
    if not isinstance(value, list) or not value or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value):
        raise RequestError(f"--query-vector must be an array of numbers, found {str(value)[:60]!r}")
    return [float(x) for x in value]


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RequestError(f"{option} {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"{option} must be a JSON object, found {text!r}")
    return value


def _show(answer: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title, justify in (("#", "right"), ("was", "right"), ("score", "right"), ("id", "left"), ("passage", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "passage")  # type: ignore[arg-type]
    for rank, hit in enumerate(answer["hits"]["hits"], 1):
        table.add_row(str(rank), movement(hit["fields"]["rerank.first_stage_rank"][0], rank), _score(hit["_score"]), hit["_id"], Text(_excerpt(hit)))
    stdout.print(table)
    block = answer["rerank"]
    stderr.print(
        f"{block['status']} by {block['model']}: {block['candidates']} candidates, {block['requests']} requests, {block['milliseconds'].get('total', 0):.0f} ms"
        + (f" ({block['reason']})" if block.get("reason") else ""),
        style="dim",
        markup=False,
    )


def movement(was: int, now: int) -> str:
    """Return the first-stage rank with an arrow that says where the hit went."""
    arrow = "[green]▲[/]" if now < was else "[red]▼[/]" if now > was else "[dim]=[/]"
    return f"{was} {arrow}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _excerpt(hit: dict[str, Any]) -> str:
    source = hit.get("_source", {})
    passage = hit["fields"].get("rerank.passage")
    text = passage[0]["text"] if passage else next((str(source[key]) for key in ("text", "content", "body", "title") if source.get(key)), "")
    title = source.get("title")
    shown = " ".join((f"{title}: {text}" if title else text).split())
    return shown if len(shown) <= 160 else shown[:159] + "…"
