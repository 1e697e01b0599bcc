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
    from collections.abc import Mapping

    from ..models.manifest import Manifest
    from ..research.tuning.trained import Trained
    from ..research.tuning.tuning import Tuned
    from ..retrievers.planning.index_schema import IndexSchema
    from ..settings import Settings
    from .tune_training import JudgedWindows

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
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Train the model's weights too (extra train). Needs --out and about 100 judged queries.",
        ),
    ] = False,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Fit a reranker's blends and probabilities to an index by judgements or clicks, and with --train its
    weights; half of the queries say whether it is better.
    """
    check_evaluate("tuning")
    from ..client import RerankClient
    from ..models.load import embedder_of, reranker_of
    from ..models.wrappers.cached import ScoreCache
    from ..research.tuning.folder import check_out
    from ..research.tuning.judgements import says_what_is_irrelevant
    from ..research.tuning.loading import Options, load_judgements
    from ..research.tuning.texts_read import NotedTexts
    from ..research.tuning.tuning import check_queries
    from ..research.tuning.verdict import Ratings
    from ..research.tuning.windows import Search, in_index, search_all, with_relevant
    from ..retrievers.execution.questions import schema_for_question
    from ..retrievers.planning.first_stage import origin
    from ..settings import read_settings
    from .connection import BULK_TIMEOUT_S, connect
    from .tune_training import JudgedWindows
    from .tuning_tables import show, show_counts

    settings = read_settings()
    named = reranker or settings.reranker
    _check(named, first_stage, out, keep_anyway=keep_anyway, train=train)
    if out is not None:
        check_out(out)
    folder, manifest = _model(named, train=train)
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
        cache = ScoreCache()
        scores = stack.enter_context(reranker_of(settings, named, cache=None if train else cache))
        noted = NotedTexts(scores, cache) if train else None
        searcher = RerankClient(
            plain,
            reranker=noted or scores,
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
            noted=noted,
        )
    unknown = says_what_is_irrelevant(found, relevant_from)
    ratings = Ratings(found.ratings, relevant_from, unjudged_count=not unknown)
    used = () if bi_encoder is None else (bi_encoder.name,)
    known = origin("dense", schema.embedders, used).embedder
    said = {
        "index": index,
        "reranker": manifest.name,
        "window": search.window,
        "seed": seed,
        "judgements": dict(found.counts),
        "queries": _halves(list(found.ratings), seed),
        "unjudged": "left out" if unknown else "not relevant",
    }
    judged = JudgedWindows(windows, ratings, known, seed)
    answer, result, trained = _fitted(
        folder, manifest, judged, said, settings, out, train=train, anyway=keep_anyway
    )
    print_json(answer) if as_json else show(answer, result, trained)


def _fitted(
    folder: Path,
    manifest: Manifest,
    judged: JudgedWindows,
    said: Mapping[str, Any],
    settings: Settings,
    out: Path | None,
    *,
    train: bool,
    anyway: bool,
) -> tuple[dict[str, Any], Tuned, Trained | None]:
    """Fit, train, judge, and write what is better; return the answer and the verdicts.

    ``said`` begins the answer. ``train`` needs ``out``.
    """
    from ..research.tuning.folder import scratch_beside, write_tuned
    from ..research.tuning.trained import VERSIONS, weights_taken
    from ..research.tuning.tuning import tuned
    from .stopping import signals_as_exit
    from .tune_training import trained_model

    windows, ratings, embedder, seed = judged
    result = tuned(
        windows,
        ratings,
        manifest.coefficients(),
        embedder=embedder,
        seed=seed,
        anyway=anyway,
        versions=VERSIONS if train else 1,
    )
    with ExitStack() as stack:
        trained, made = None, folder
        if train and out is not None:
            stack.enter_context(signals_as_exit())
            scratch = Path(stack.enter_context(scratch_beside(out)))
            made, trained = trained_model(folder, manifest, judged, scratch, settings)
        weights = weights_taken(result, trained, anyway=anyway)
        taken = trained if weights == "trained" else None
        better = result.better if taken is None else taken.better
        report = {
            **said,
            "outcome": "better" if better else "not better",
            **result.as_json(),
            **({} if trained is None else {"weights": weights, "training": trained.model_dump(mode="json")}),
        }
        written = better or anyway
        if out is not None and written:
            if taken is None:
                write_tuned(folder, out, result.record(manifest.calibration, anyway=anyway), report)
            else:
                write_tuned(made, out, taken.record(manifest.calibration), report)
    return {**report, "written": str(out) if out is not None and written else None}, result, trained


def _check(
    named: str, first_stage: list[str] | None, out: Path | None, *, keep_anyway: bool, train: bool
) -> None:
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
    if train and out is None:
        raise SettingsError("--train makes a new model; name its folder with --out")
    if keep_anyway and out is None:
        raise SettingsError("--keep-anyway writes a tuned model; name its folder with --out")


def _model(named: str, *, train: bool) -> tuple[Path, Manifest]:
    """Return a reranker's folder and manifest. With ``train``, raises what ``check_train`` raises."""
    from ..models.finding import manifest_of, model_folder
    from .tune_training import check_train

    folder = model_folder(named)
    manifest = manifest_of(folder)
    if train:
        check_train(manifest)
    return folder, manifest


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


def _halves(queries: list[str], seed: int) -> dict[str, int]:
    from ..research.tuning.judgements import kept_for_verdict

    kept = sum(kept_for_verdict(query, seed) for query in queries)
    return {"learned_from": len(queries) - kept, "kept": kept}
