"""``es-rerank demo``: from no Elasticsearch at all to a table that shows what reranking is worth."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Column, Table
from rich.text import Text

from ..addresses import masked
from ..defaults import HOST, PORT
from ..research.evaluation.experiment import Result, Setup, by_first_stage
from ..research.evaluation.packaged import SPLIT, packaged
from ..research.evaluation.topics import Topics, read_topics
from .evaluate import indexed, run_experiments
from .evaluation_tables import table_of, verdict
from .extras import check_evaluate
from .output import Json, print_json, stdout
from .search import movement
from .starting import notes, tell

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ..client import RerankClient
    from ..node import Node
    from ..settings import Settings

T = TypeVar("T")

INDEX = "es-rerank-demo"

_SHOWN_HITS = 5
_SHOWN_CHARACTERS = 84
"""Most characters of each sentence: three lines in each half of a terminal of 100 columns."""


def demo(
    elasticsearch_url: Annotated[
        str | None,
        typer.Option(
            help="Elasticsearch that gets the demo's index; ELASTICSEARCH_URL is ignored here.",
            show_default="a node of its own",
        ),
    ] = None,
    queries: Annotated[
        int, typer.Option(min=0, help="Show the hits of this many queries, before and after.")
    ] = 4,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Measure with this many of the 300 judged queries.", show_default="all"),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="At the end, run the sidecar until interrupted.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the sidecar; 0 takes a free one.")
    ] = PORT,
    as_json: Json = False,
) -> None:
    """Start Elasticsearch, index the packaged collection, and show hits and nDCG@10 before and after
    reranking.
    """
    from ..client import RerankClient
    from ..models.load import embedder_of, reranker_of
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect, found_or_started
    from .listening import listen
    from .serve import build_service
    from .serve import run_server as run_sidecar

    check_evaluate("the demo")
    settings = read_settings()
    topics = read_topics(packaged(), SPLIT, limit=limit)
    with (
        reranker_of(settings) as reranker,
        embedder_of(settings) as embedder,
    ):
        running_node, node_s = _timed(lambda: found_or_started(elasticsearch_url, settings))
        tell(running_node)
        local = running_node.how != "given"
        service = build_service(settings, running_node.url, follow=local) if serve else None
        with connect(running_node.url, settings, request_timeout_s=BULK_TIMEOUT_S) as client:
            _, ingest_s = _timed(lambda: indexed(client, INDEX, packaged(), embedder, topics.documents))
            searcher = RerankClient(
                client, reranker=reranker, embedder=embedder, timeout_s=None, plugin="never"
            )
            if not as_json:
                _show_index(running_node, client)
                _show_queries(searcher, topics, queries, settings.window)
            result = run_experiments(searcher, topics, [Setup(INDEX, window=settings.window)])[0]
            seconds: dict[str, float | None] = {
                "node": round(node_s, 2),
                "ingest": round(ingest_s, 2),
                "search_p50": result.search_p50,
            }
            print_json(summary(running_node, client, result, seconds)) if as_json else _show_result(
                running_node, result, settings
            )
    if service is not None:
        with suppress(KeyboardInterrupt):  # Ctrl-C is the normal end of a demo
            run_sidecar(service, listen(HOST, port), f"index {INDEX}; Ctrl-C ends it", settings)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began


def summary(
    running_node: Node, client: Elasticsearch, result: Result, seconds: dict[str, float | None]
) -> dict[str, Any]:
    """Return what ``--json`` prints; documents and passages are counted in the index, even if an earlier run
    wrote them.
    """
    documents, passages = _counts(client)
    runs = {
        "first_stage": result.first_stage,
        "cross_encoder": result.cross_encoder,
        "reranked": result.reranked,
    }
    return {
        "elasticsearch": {"version": running_node.version, "how": running_node.how},
        "distribution": running_node.distribution,
        "notes": notes(running_node),
        "index": INDEX,
        "documents": documents,
        "passages": passages,
        "queries": result.queries,
        **{name: {"ndcg@10": means.ndcg_at_10} for name, means in runs.items()},
        "p_value": result.difference.p_value,
        "seconds": seconds,
    }


def _counts(client: Elasticsearch) -> tuple[int, int]:
    """Return how many documents and how many passages the index holds."""
    answer = client.search(
        index=INDEX, size=0, track_total_hits=True, aggs={"passages": {"nested": {"path": "passages"}}}
    )
    return answer["hits"]["total"]["value"], answer["aggregations"]["passages"]["doc_count"]


def _show_index(running_node: Node, client: Elasticsearch) -> None:
    documents, passages = _counts(client)
    stdout.print(
        f"Elasticsearch {running_node.version} ({running_node.how}) at {masked(running_node.url)}",
        highlight=False,
    )
    stdout.print(
        f"{documents:,} sentences of Wikipedia ({passages:,} passages with vectors) in the index "
        f"[bold]{INDEX}[/]\n",
        highlight=False,
    )


def _show_queries(client: RerankClient, topics: Topics, number: int, window: int) -> None:
    """Show questions whose first answer is not at rank 1 of the first stage.

    The choice does not depend on whether reranking improves them.
    """
    if number:
        stdout.print(
            "The first questions, by hash, to which the first stage found an answer (✔), but not at the "
            "top:\n",
            highlight=False,
        )
    for query, hits in islice(_not_at_the_top(client, topics, window), number):
        stdout.print(side_by_side(topics.queries[query], hits, topics.qrels[query]))
        stdout.print()


def _not_at_the_top(
    client: RerankClient, topics: Topics, window: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for query, text in topics.queries.items():
        hits = client.rerank(text, index=INDEX, size=window, window=window)["hits"]["hits"]
        relevant = [_is_answer(hit, topics.qrels[query]) for hit in by_first_stage(hits)]
        if any(relevant) and not relevant[0]:
            yield query, hits


def side_by_side(question: str, hits: list[dict[str, Any]], judged: dict[str, int]) -> Table:
    """Return the first hits before and after reranking, as a table that fits 100 columns."""
    before = by_first_stage(hits)
    table = Table(
        Column("#", justify="right"),
        Column("first stage", ratio=1),
        Column("score", justify="right"),
        Column("was", justify="right", no_wrap=True),
        Column("reranked", ratio=1),
        Column("score", justify="right"),
        title=Text(question, style="bold"),
        title_justify="left",
        caption=f"first answer: {_first_answer(before, judged)} before, {_first_answer(hits, judged)} after",
        caption_justify="left",
        expand=True,
        pad_edge=False,
    )
    for rank, (old, new) in enumerate(zip(before[:_SHOWN_HITS], hits[:_SHOWN_HITS], strict=True), 1):
        was = movement(new["fields"]["rerank.first_stage_rank"][0], rank)
        scores = (f"{score:.3f}" for score in (old["fields"]["rerank.first_stage_score"][0], new["_score"]))
        table.add_row(
            str(rank), _sentence(old, judged), next(scores), was, _sentence(new, judged), next(scores)
        )
    return table


def _sentence(hit: dict[str, Any], judged: dict[str, int]) -> Text:
    text = textwrap.shorten(hit["_source"]["text"], _SHOWN_CHARACTERS, placeholder=" …")
    return Text(f"✔ {text}", style="green") if _is_answer(hit, judged) else Text(text)


def _is_answer(hit: dict[str, Any], judged: dict[str, int]) -> bool:
    return judged.get(hit["_id"], 0) > 0


def _first_answer(hits: list[dict[str, Any]], judged: dict[str, int]) -> str:
    """Return the rank of the first relevant hit, as text."""
    return next(
        (f"rank {rank}" for rank, hit in enumerate(hits, 1) if _is_answer(hit, judged)),
        f"not among {len(hits)}",
    )


def _show_result(running_node: Node, result: Result, settings: Settings) -> None:
    stdout.print(table_of(result))
    stdout.print(verdict(result), highlight=False, soft_wrap=True)
    # Without the option, a search goes to ELASTICSEARCH_URL, or else to our own node.
    where = (
        f" --elasticsearch-url {masked(running_node.url)}"
        if running_node.how == "given" or settings.elasticsearch_url
        else ""
    )
    stdout.print(
        f'\nask it yourself: es-rerank search {INDEX} "..."{where}',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if running_node.how != "given":
        stdout.print("the node keeps running; stop it with: es-rerank down", highlight=False)
