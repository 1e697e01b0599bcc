"""``es-rerank evaluate``: measure what reranking is worth on collections with qrels."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, get_args

import typer
from rich.markup import escape
from rich.progress import TaskID

from ..addresses import masked
from ..defaults import MOST_WINDOW, WINDOW
from ..errors import EsRerankError, SettingsError, SourceError
from ..research.evaluation.comparison import comparison
from ..research.evaluation.experiment import Result, Setup, experiments
from ..research.evaluation.topics import HELD_OUT, CollectionArgument, Topics, lacks, read_topics, the_split
from ..retrievers.grammar.tree import FirstStage
from .evaluation_tables import show_comparison, show_result
from .extras import check_evaluate
from .output import ElasticsearchUrl, Json, print_json, progress, stderr

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from ..client import RerankClient
    from ..models import LoadedEmbedder, LoadedReranker
    from ..models.wrappers.cached import ScoreCache
    from ..settings import Settings

_STAGES: tuple[FirstStage, ...] = get_args(FirstStage)
"""The first stages, as text: typer cannot read a list of a Literal."""


def evaluate(
    collections: Annotated[
        list[str],
        typer.Argument(
            metavar=f"DIR[:SPLIT[:{HELD_OUT}]]...",
            help="Collections in BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; plain or .gz. "
            f"With {HELD_OUT}, only the tenth of the split's queries, chosen by a hash of their id, that a "
            "training recipe can leave out.",
            show_default=False,
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="Split whose qrels are used for a collection that names none.", show_default="the only one"
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_STAGES),
            help="The first stage; may be given several times. BM25 is measured once, the others with each "
            "embedder.",
            show_default="knn",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WINDOW, help="How many first-stage hits are reranked.", show_default=str(WINDOW)
        ),
    ] = None,
    reranker: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name, exported folder or Hub id; may be given several times: the first one is the "
            "baseline.",
            show_default="the bundled one",
        ),
    ] = None,
    embedder: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled name, model folder, Hub id, maven:NAME or a service; may be given several times.",
            show_default="the bundled one",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use this many queries, drawn by a hash of their id.", show_default="all"),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="Field whose text is reranked; several are joined.", show_default="title and nearest passage"
        ),
    ] = None,
    same_title: Annotated[
        bool,
        typer.Option(
            "--same-title",
            help="Search each query only among the judged documents that have the title of a relevant one: "
            "the passages of one article.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write one self-contained page with tables and plots, FILE.html.", show_default=False
        ),
    ] = None,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Index collections (unchanged documents are skipped) and compare nDCG@10 of first stage and reranked
    order.
    """
    from ..client import RerankClient
    from ..models.wrappers.cached import ScoreCache
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect

    check_evaluate("measuring")
    stages = _stages(first_stage)
    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise SettingsError(
            f"--html {html} cannot be written: it is a folder, or there is no folder {html.parent}; name a "
            "file in one that is there"
        )
    settings = read_settings()
    sources = [CollectionArgument.named(name) for name in collections]
    topics = _topics(sources, split, limit, same_title=same_title)
    named = {masked(name): name for name in reranker or [settings.reranker]}
    asked_embedders = _asked_embedders(embedder or [settings.embedder], stages)
    several = len(asked_embedders) > 1 or len(stages) > 1
    client = connect(elasticsearch_url, settings, request_timeout_s=BULK_TIMEOUT_S)
    with (
        client,
        _rerankers(settings, named, ScoreCache() if several else None) as rerankers,
        _embedders(settings, asked_embedders) as embedders,
    ):
        searcher = RerankClient(
            client, reranker=rerankers, embedder=embedders, timeout_s=None, plugin="never"
        )
        results: list[Result] = []
        for source, asked in zip(sources, topics, strict=True):
            indices = _indices(client, source, asked, embedders)
            setup = Setup("", window=window or settings.window, fields=tuple(field or ()))
            results += run_experiments(
                searcher,
                asked,
                [
                    replace(
                        setup,
                        index=indices[over.index_of],
                        first_stage=over.kind,
                        reranker=name,
                        embedder=over.embedder,
                    )
                    for over in first_stages(stages, list(embedders))
                    for name in named
                ],
            )
    compared = comparison(results)
    if len(results) == 1:
        print_json(results[0].as_json()) if as_json else show_result(results[0])
    else:
        print_json(compared.as_json()) if as_json else show_comparison(compared)
    if html is not None:  # last: if the page cannot be written, the results are printed already
        from ..research.evaluation.report import page

        _write(html, page(compared, [masked(argument) for argument in sys.argv[1:]]))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--html {path} could not be written: {error}") from error


def _stages(named: list[str] | None) -> list[FirstStage]:
    if unknown := sorted(set(named or ()) - set(_STAGES)):
        raise SettingsError(
            f"--first-stage {', '.join(unknown)} is not a known first stage; choose one of: "
            f"{', '.join(_STAGES)}"
        )
    return [stage for stage in _STAGES if stage in (named or ["knn"])]


class Over(NamedTuple):
    """A first stage to measure: its kind, and the embedder whose index it searches.

    ``embedder`` is the embedder by which results are told apart; None for BM25, which uses no vectors.
    """

    kind: FirstStage
    index_of: str
    embedder: str | None


def first_stages(stages: Sequence[FirstStage], embedders: Sequence[str]) -> list[Over]:
    """Return the first stages to measure, those of one kind together.

    BM25 counts once: it searches the index of the first embedder. The others count once for each embedder.
    """
    return [
        Over(kind, name, None if kind == "bm25" else name)
        for kind in stages
        for name in (embedders[:1] if kind == "bm25" else embedders)
    ]


def _asked_embedders(named: Sequence[str], stages: Sequence[FirstStage]) -> list[str]:
    """Return the embedders that the command line names, each once.

    Raises SettingsError when an embedder would not be used.
    """
    asked = list(dict.fromkeys(named))
    if len(asked) > 1 and set(stages) == {"bm25"}:
        raise SettingsError(
            f"--first-stage bm25 uses no vectors, so it would not use --embedder "
            f"{', '.join(map(masked, asked[1:]))}; leave them out, or add --first-stage knn or hybrid"
        )
    return asked


@contextmanager
def _embedders(settings: Settings, named: Sequence[str]) -> Iterator[dict[str, LoadedEmbedder]]:
    """Load all embedders, by the names that an index records; the block's end closes them.

    Raises SettingsError when two have one name: their indices could not be told apart.
    """
    from ..models.load import embedder_of

    with ExitStack() as stack:
        loaded: dict[str, LoadedEmbedder] = {}
        given: dict[str, str] = {}
        for text in named:
            model = stack.enter_context(embedder_of(settings, text))
            if model.name in loaded:
                raise SettingsError(
                    f"--embedder {given[model.name]} and {masked(text)} are both called {model.name}, so "
                    "their vectors could not be told apart; leave one out, or export it under another name"
                )
            loaded[model.name], given[model.name] = model, masked(text)
        yield loaded


def _indices(
    client: Elasticsearch, source: CollectionArgument, asked: Topics, embedders: Mapping[str, LoadedEmbedder]
) -> dict[str, str]:
    """Index a collection with each embedder; return the index of each, by the embedder's name."""
    from ingest_pipelines.collection_index import collection_alias

    indices = {name: collection_alias(source.folder, name) for name in embedders}
    for name, model in embedders.items():
        indexed(client, indices[name], source.folder, model, asked.documents)
    return indices


def _topics(
    sources: Sequence[CollectionArgument], split: str | None, limit: int | None, *, same_title: bool
) -> list[Topics]:
    """Return the topics of each collection; the faults of all collections are reported together, before
    indexing.
    """
    faults: list[EsRerankError] = []
    topics: list[Topics] = []
    for source in sources:
        try:
            chosen = the_split(source.folder, source.split or split)
            topics.append(
                read_topics(
                    source.folder, chosen, limit=limit, only_held_out=source.held_out, same_title=same_title
                )
            )
        except (SourceError, SettingsError) as error:
            faults.append(error)
    if len(faults) > 1:
        raise SourceError("\n".join(fault.message for fault in faults), path=str(sources[0].folder))
    if faults:
        raise faults[0]
    for asked in topics:
        if note := lacks(asked):
            stderr.print(note, highlight=False, markup=False)
    names = [(asked.collection, asked.split) for asked in topics]
    if twice := sorted({":".join(name) for name in names if names.count(name) > 1}):
        raise SettingsError(
            f"{', '.join(twice)} is given twice; folders of the same name cannot be distinguished in a "
            "table, so rename one of them"
        )
    return topics


@contextmanager
def _rerankers(
    settings: Settings, named: Mapping[str, str], cache: ScoreCache | None
) -> Iterator[dict[str, LoadedReranker]]:
    """Load all rerankers, so that a wrong name is reported before indexing; the block's end closes them."""
    from ..models.load import check_instruction, instruction_for, reranker_of

    told = settings.instruction
    if named and told is not None:
        check_instruction(named.values())
    with ExitStack() as stack:
        loaded = {}
        for shown, name in named.items():
            own = settings.model_copy(update={"instruction": instruction_for(name, told)})
            loaded[shown] = stack.enter_context(reranker_of(own, name, cache=cache))
        yield loaded


def indexed(
    client: Elasticsearch, index: str, folder: Path, embedder: LoadedEmbedder, documents: int
) -> None:
    """Make an index hold exactly one collection, with a bar on stderr; see ``index_collection``."""
    from ingest_pipelines.collection_index import index_collection

    from ..text.chunking import Chunker

    with progress(documents, f"indexing into {index}") as bar:
        index_collection(
            client,
            index,
            folder,
            embedder,
            Chunker(embedder.tokenizer),
            documents,
            lambda done: bar.update(TaskID(0), completed=done),
        )


def run_experiments(client: RerankClient, topics: Topics, setups: Sequence[Setup]) -> list[Result]:
    """Run an experiment for each setup, with a bar of the searches on stderr."""
    searches = len(topics.queries) * len(setups)
    with progress(searches, f"{escape(topics.collection)}: searching, window {setups[0].window}") as bar:
        return experiments(
            client, topics, setups, on_progress=lambda done: bar.update(TaskID(0), completed=done)
        )
