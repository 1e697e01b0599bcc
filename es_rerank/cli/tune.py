"""``es-rerank tune``: fit a reranker to an index by judgements or clicks, and say whether it is better."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ..addresses import masked
from ..defaults import MOST_WINDOW, WINDOW
from ..errors import IndexMismatchError, SettingsError
from ..research.tuning.clicks import LEAST_SHOWN
from ..research.tuning.judgements import HIGHEST_RATING, RELEVANT_FROM, SEED
from ..research.tuning.reading import JudgementFormat
from ..research.tuning.ubi import CLICK
from ..retrievers.grammar.tree import FirstStage
from .extras import check_evaluate
from .output import ElasticsearchUrl, Json, print_json, progress, say
from .search_options import EmbedderOption, FieldsOption

if TYPE_CHECKING:
    from ..models.manifest import Manifest
    from ..research.tuning.judgements import Judgements
    from ..research.tuning.tuning import Tuned
    from ..retrievers.planning.index_schema import IndexSchema

_STAGES: tuple[FirstStage, ...] = get_args(FirstStage)


def tune(
    index: Annotated[str, typer.Argument(help="Index or alias whose searches are tuned. It is only read.")],
    judgements: Annotated[
        str,
        typer.Argument(
            help="File of judgements (a table with query, docid and rating, or TREC qrels) or of UBI events, "
            "or the index of UBI events, such as ubi_events."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the tuned model, which must not exist.", show_default="only the verdict"
        ),
    ] = None,
    form: Annotated[
        JudgementFormat | None,
        typer.Option("--format", help="The format of a file.", show_default="told by its first line"),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            help="The texts of the queries of qrels: JSON lines, or id, tab, text. For events: the file or "
            "index of their searches.",
            show_default="ubi_queries for an index",
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_STAGES),
            help="The first stage; may be given several times.",
            show_default="all that the index allows",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=2, max=MOST_WINDOW, help="How many first-stage hits are reranked.", show_default=str(WINDOW)
        ),
    ] = None,
    field: FieldsOption = None,
    reranker: Annotated[
        str | None,
        typer.Option(
            help="Reranker to tune: bundled name, exported folder or Hub id.", show_default="the bundled one"
        ),
    ] = None,
    embedder: EmbedderOption = None,
    id_field: Annotated[
        str | None,
        typer.Option(help="Keyword field that holds the ids of the judgements.", show_default="_id"),
    ] = None,
    relevant_from: Annotated[
        float, typer.Option(min=0.0, help="Least rating of a relevant document.")
    ] = RELEVANT_FROM,
    highest_rating: Annotated[
        float, typer.Option(min=0.0, help="Highest rating of the scale; others are left out and counted.")
    ] = HIGHEST_RATING,
    click_action: Annotated[
        list[str] | None,
        typer.Option(
            help="Action of UBI that counts as a click; may be given several times.", show_default=CLICK
        ),
    ] = None,
    least_shown: Annotated[
        int,
        typer.Option(
            min=1, help="How often a document must have been shown for a query to be judged by clicks."
        ),
    ] = LEAST_SHOWN,
    seed: Annotated[
        int, typer.Option(help="Seed of the draw of the half that is kept for the verdict.")
    ] = SEED,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Write the tuned model even if it is not better.")
    ] = False,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Fit a reranker's blends and probabilities to an index by judgements or clicks; half of the queries say
    whether it is better.
    """
    check_evaluate("tuning")
    from ..client import RerankClient
    from ..models.finding import manifest_of, model_folder
    from ..models.load import embedder_of, reranker_of
    from ..models.wrappers.cached import ScoreCache
    from ..research.tuning.folder import check_out, write_tuned
    from ..research.tuning.judgements import says_what_is_irrelevant
    from ..research.tuning.loading import Options, load_judgements
    from ..research.tuning.tuning import check_queries, tuned
    from ..research.tuning.verdict import Ratings
    from ..research.tuning.windows import Search, in_index, search_all, with_relevant
    from ..retrievers.execution.questions import schema_for_question
    from ..retrievers.planning.first_stage import origin
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect
    from .tuning_tables import show, show_counts

    settings = read_settings()
    named = reranker or settings.reranker
    _check(named, first_stage, out, keep_anyway=keep_anyway)
    if out is not None:
        check_out(out)
    folder = model_folder(named)
    manifest = manifest_of(folder)
    with ExitStack() as stack:
        plain = stack.enter_context(connect(elasticsearch_url, settings, request_timeout_s=BULK_TIMEOUT_S))
        schema = schema_for_question(plain, index)
        options = Options(form, queries, highest_rating, tuple(click_action or (CLICK,)), least_shown)
        found = in_index(plain, index, load_judgements(plain, judgements, options), id_field)
        found = with_relevant(found, relevant_from)
        show_counts(found.counts)
        check_queries(list(found.ratings), seed)
        stages = _stages(first_stage, schema, embedder, index)
        bi_encoder = None if stages == ["bm25"] else stack.enter_context(embedder_of(settings, embedder))
        searcher = RerankClient(
            plain,
            reranker=stack.enter_context(reranker_of(settings, named, cache=ScoreCache())),
            embedder=bi_encoder,
            timeout_s=None,
            plugin="never",
        )
        search = Search(index, window or settings.window, tuple(field or ()))
        bar = stack.enter_context(progress(len(found.ratings), "searching"))
        windows = search_all(
            searcher,
            search,
            found,
            stages,
            on_progress=lambda done: bar.update(bar.task_ids[0], completed=done),
        )
    unknown = says_what_is_irrelevant(found, relevant_from)
    ratings = Ratings(found.ratings, relevant_from, unjudged_count=not unknown)
    used = () if bi_encoder is None else (bi_encoder.name,)
    known = origin("dense", schema.embedders, used).embedder
    result = tuned(windows, ratings, manifest.coefficients(), embedder=known, seed=seed, anyway=keep_anyway)
    report = _report(
        index, manifest, search.window, seed, found, "left out" if unknown else "not relevant", result
    )
    written = out is not None and (result.better or keep_anyway)
    if written and out is not None:
        write_tuned(folder, out, result.record(manifest.calibration, anyway=keep_anyway), report)
    answer = {**report, "written": str(out) if written else None}
    print_json(answer) if as_json else show(answer, result)


def _check(named: str, first_stage: list[str] | None, out: Path | None, *, keep_anyway: bool) -> None:
    """Check the options that need neither Elasticsearch nor a model. Raises SettingsError."""
    from ..models.spec import parse_model

    if unknown := sorted(set(first_stage or ()) - set(_STAGES)):
        raise SettingsError(
            f"--first-stage {', '.join(unknown)} is not a known first stage; choose one of: "
            f"{', '.join(_STAGES)}"
        )
    if (kind := parse_model(named).kind) != "local":
        raise SettingsError(
            f"--reranker {masked(named)} is of the kind {kind} and has no calibration of its own; name a "
            "bundled model, an exported folder or a Hub id"
        )
    if keep_anyway and out is None:
        raise SettingsError("--keep-anyway writes a tuned model; name its folder with --out")


def _stages(
    asked: list[str] | None, schema: IndexSchema, embedder: str | None, index: str
) -> list[FirstStage]:
    """Return the first stages that were asked for, or all that the index allows.

    Raises IndexMismatchError when it allows none.
    """
    if asked:
        return [stage for stage in _STAGES if stage in asked]
    vectors, texts = bool(schema.vectors()), bool(schema.texts())
    if vectors and not schema.embedders and embedder is None:
        vectors = False
        say(
            f"note: [{index}] does not record which embedder made its vectors, so knn and hybrid are not "
            "tuned; name it with --embedder"
        )
    allowed = {"knn": vectors, "bm25": texts, "hybrid": vectors and texts}
    if not any(allowed.values()):
        raise IndexMismatchError(
            f"index [{index}] has neither a text field nor vectors of a known embedder, so nothing can be "
            "searched; name the embedder with --embedder, or index documents with: es-rerank ingest",
            index=index,
        )
    return [stage for stage in _STAGES if allowed[stage]]


def _report(
    index: str,
    manifest: Manifest,
    window: int,
    seed: int,
    found: Judgements,
    unjudged: str,
    result: Tuned,
) -> dict[str, Any]:
    from ..research.tuning.judgements import kept_for_verdict

    kept = sum(kept_for_verdict(query, seed) for query in found.ratings)
    return {
        "index": index,
        "reranker": manifest.name,
        "window": window,
        "seed": seed,
        "judgements": dict(found.counts),
        "queries": {"learned_from": len(found.ratings) - kept, "kept": kept},
        "unjudged": unjudged,
        "outcome": "better" if result.better else "not better",
        **result.as_json(),
    }
