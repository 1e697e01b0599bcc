"""``es-rerank search``: one query, reranked; a table shows first-stage and new ranks."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..defaults import MOST_WINDOW, SIZE
from ..text.hit_fields import field_text
from .output import ElasticsearchUrl, Json, print_json, stderr, stdout, warn_if_incomplete
from .search_options import (
    EmbedderOption,
    FieldsOption,
    FiltersOption,
    FirstStageOption,
    IndexArgument,
    InstructionOption,
    QueryVectorOption,
    RerankerOption,
    VectorFieldOption,
    WindowOption,
    fields_that_lack,
    filters_of,
    open_client,
    vector_of,
    with_instruction,
)


def search(
    index: IndexArgument,
    query: Annotated[str, typer.Argument(help="The question, in words.")],
    first_stage: FirstStageOption = "knn",
    window: WindowOption = None,
    size: Annotated[int, typer.Option(min=1, max=MOST_WINDOW, help="How many hits are shown.")] = SIZE,
    field: FieldsOption = None,
    vector_field: VectorFieldOption = None,
    query_vector: QueryVectorOption = None,
    filter_: FiltersOption = None,
    reranker: RerankerOption = None,
    instruction: InstructionOption = None,
    embedder: EmbedderOption = None,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Search an index and rerank its first hits; --json prints the Elasticsearch response."""
    from ..retrievers.execution.questions import schema_for_question
    from ..retrievers.grammar.tree import DEFAULT_INFERENCE_ID
    from ..settings import read_settings

    settings = with_instruction(read_settings(), instruction)
    vector, filters = vector_of(query_vector), filters_of(filter_)
    with open_client(
        elasticsearch_url, settings, reranker, embedder, embeds=vector is None and first_stage != "bm25"
    ) as opened:
        answer = opened.client.rerank(
            query,
            index=index,
            size=size,
            window=window or settings.window,
            first_stage=first_stage,
            field=field or None,
            vector_field=vector_field,
            query_vector=vector,
            filter=filters,
            # A command runs the model that it loads: an index must not choose which model that is.
            inference_id=DEFAULT_INFERENCE_ID,
        )
        lacking = []
        if filters and not answer.body["hits"]["hits"]:
            schema = schema_for_question(opened.client, index, settings.timeout_ms / 1000)
            lacking = fields_that_lack(filters, schema)
    if as_json:
        print_json(answer.body)
    else:
        _show(answer.body)
    warn_if_incomplete(answer.body["rerank"])
    for sentence in lacking:
        stderr.print(f"warning: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _show(answer: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title, justify in (
        ("#", "right"),
        ("was", "right"),
        ("score", "right"),
        ("id", "left"),
        ("passage", "left"),
    ):
        table.add_column(title, justify=justify, no_wrap=title != "passage")  # type: ignore[arg-type]
    for rank, hit in enumerate(answer["hits"]["hits"], 1):
        # A hit from inside Elasticsearch that no reranker scored keeps its rank, and says nothing about it.
        was = hit.get("fields", {}).get("rerank.first_stage_rank", [rank])[0]
        table.add_row(
            str(rank),
            movement(was, rank),
            _score(hit["_score"]),
            Text(hit["_id"]),
            Text(excerpt_of(hit)),
        )
    stdout.print(table)
    block = answer["rerank"]
    stderr.print(
        f"{block['status']} by {block['model']}: {_where(block)}, {block['requests']} requests, "
        f"{block['milliseconds'].get('total', 0):.0f} ms",
        style="dim",
        markup=False,
    )


def _where(block: dict[str, Any]) -> str:
    without = f", {count} without text" if (count := block.get("without_text")) else ""
    left = ", in the order of the first stage, with which the model agrees too little" * ("order" in block)
    inside = "inside Elasticsearch" if block.get("inside") else f"{block['candidates']} candidates"
    return f"{inside}{without}{left}"


def movement(was: int, now: int) -> str:
    """Return the first-stage rank, and an arrow that shows whether the hit went up or down."""
    arrow = "[green]▲[/]" if now < was else "[red]▼[/]" if now > was else "[dim]=[/]"
    return f"{was} {arrow}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def excerpt_of(hit: dict[str, Any]) -> str:
    """Return the text that a table shows for a hit: its best passage, else the first text of its source."""
    passage = hit.get("fields", {}).get("rerank.passage")
    text = (
        passage[0]["text"]
        if passage
        else next(
            (text for key in ("text", "content", "body", "title") if (text := field_text(hit, key))), ""
        )
    )
    title = field_text(hit, "title")
    shown = " ".join((f"{title}: {text}" if title else text).split())
    return shown if len(shown) <= 160 else shown[:159] + "…"
