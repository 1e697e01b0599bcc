"""The internal API that the plugin in Elasticsearch uses: scores for a window of documents, and vectors.

The API has a version. A plugin refuses an answer of another version. Other callers should use the public
endpoints, which do not change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, FailFast, Field

from ...caller import KNOWN_BY, as_a_whole
from ...collection import DocumentFormat
from ...engine.other_threads import text_threads
from ...engine.pool import Rate
from ...errors import DeadlineError, RequestError, UnknownModelError
from ...models import Embedder, LongTextReranker, room_of
from ...models.unblocked import aembed
from ...off_loop import off_loop, off_loop_if
from ...retrievers.execution.commands import Context
from ...retrievers.execution.plugin_info import API_VERSION
from ...retrievers.execution.run import Connection, arun
from ...retrievers.execution.scoring import rerank_window
from ...retrievers.execution.served import ServedModels
from ...retrievers.execution.window_texts import WindowTexts
from ...retrievers.grammar.parsing import parse
from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID, TextSimilarityReranker
from ...retrievers.planning.first_stage import WindowOrigin, origin
from ...retrievers.planning.search_defaults import not_served
from ...retrievers.planning.text_source import TextSource
from ...retrievers.ranking.rerank import Reranked
from ...retrievers.response.answer import SearchStats, best_passage
from ...text.chunking import Chunker
from ...text.documents import CutDocument, cut_document
from ...text.hit_fields import HEADING
from ...text.strategies import strategy_of
from ...text.watch import TimeUpError, Watch
from ...types import Candidate, FirstStageKind, Passage
from ..access.authority import KeyedRoute
from ..messages.wire import answer, cancel_on_disconnect, timeout_s
from ..observation.log import RELEASE
from ..upstream.headers import USER_HEADER
from .search import Running

_CUTTING, _CUTTING_ALONE = Rate(), Rate()
"""Seconds for each character: of cutting and tokenising what is cut, and of cutting alone."""

_FEW_TEXTS = 200
"""Documents and passages that are ranked in about a millisecond."""

_MOST_PASSAGES = 100
"""Most passages of a document: Elasticsearch's default for ``index.max_inner_result_window``."""

router = APIRouter(prefix="/_rerank/v1", route_class=KeyedRoute, tags=["plugin"])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScorePassage(_Body):
    """A passage: ``text`` goes from character ``start`` to character ``end`` of the document, if known.

    ``heading`` is read before it, after the ``context`` of the document.
    """

    text: str
    start: int | None = None
    end: int | None = None
    heading: str = ""


class ScoreDocument(_Body):
    """One document of the window, in first-stage order.

    ``context`` is read before each passage. ``first_stage_score`` is missing if the first stage gave none.
    """

    context: str = ""
    passages: Annotated[list[ScorePassage], FailFast(), Field(max_length=_MOST_PASSAGES)] = []
    first_stage_score: float | None = None


class ScoreRequest(_Body):
    """The body of a request for scores.

    ``passages_stored``: the passages were cut when the documents were indexed. If false, each document has
    one passage, its whole text, which is cut here if it is too long. ``chunk_rescorer``, ``aggregation`` and
    ``blend`` mean what they mean in ``text_similarity_reranker``. ``allow_failures``: if the
    deadline passes, documents without a score are no error. ``recorded_model``: the model that the index
    records, for a request without ``model``; if it is not served, the default one scores.
    ``first_stage``: its kind, which an older plugin does not tell. ``recorded_embedders``: those that the
    indices record. ``vector_models``: the embedders that make query vectors, null for the default one.
    """

    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[ScoreDocument], FailFast()]
    model: str = DEFAULT_INFERENCE_ID
    recorded_model: str | None = None
    passages_stored: bool = False
    chunk_rescorer: dict[str, Any] | None = None
    aggregation: Any = None
    allow_failures: bool = False
    blend: bool = False
    first_stage: FirstStageKind | None = None
    recorded_embedders: Annotated[list[str], FailFast()] = []
    vector_models: Annotated[list[str | None], FailFast()] = []


class SourceDocument(_Body):
    """A document to index. Its passages are cut from ``text`` and embedded with ``title`` before them.

    ``format``: what ``text`` is written in. Passages of "markdown" also have a ``heading``.
    """

    title: str = ""
    text: str = ""
    format: DocumentFormat = "text"


class PassagesRequest(_Body):
    """The body of a request for the passages of documents and their vectors."""

    documents: Annotated[list[SourceDocument], FailFast(), Field(min_length=1)]
    model: str | None = None


class EmbedRequest(_Body):
    """The body of a request for vectors: texts, and whether they are queries or passages."""

    texts: Annotated[list[str], FailFast(), Field(min_length=1)]
    purpose: Literal["query", "passage"]
    model: str | None = None


@router.post("/score")
async def score(request: Request, wanted: ScoreRequest, service: Running) -> Response:
    """Return the documents in their new order, each with ``index`` (its place in the request), ``score``,
    ``logit``, ``probability`` and ``passage``. A document without a score has ``index``
    alone.

    ``blend`` names the blend that counted. ``order`` says that the order of the first stage was left alone.
    ``warning`` says why documents have no score, ``notes`` what else a caller should know about the scores.
    Raises TooLargeError, DeadlineError, UnknownModelError, and RetrieverParsingError for settings that a
    ``text_similarity_reranker`` refuses.
    """
    service.check_documents(len(wanted.documents))
    KNOWN_BY.set(_known_by(request))
    context = Context(
        None,
        {},
        service.models(),
        SearchStats(),
        deadline=service.deadline(timeout_s(request)),
    )
    if wanted.recorded_model is not None and wanted.model == DEFAULT_INFERENCE_ID:
        if wanted.recorded_model in context.served.rerankers:
            wanted.model = wanted.recorded_model
        else:
            context.stats.warn(not_served(wanted.recorded_model))
    node = _node(wanted)
    context.stats.models.append(context.served.reranker(node.inference_id).name)
    large = sum(1 + len(document.passages) for document in wanted.documents) > _FEW_TEXTS
    candidates = await off_loop_if(large, _candidates, wanted)
    texts = WindowTexts({id(node): _source(wanted, node)})
    steps = rerank_window(node, candidates, texts, context, _origin(wanted, context.served))
    ranking = await cancel_on_disconnect(
        request, arun(steps, Connection(service.elasticsearch), context, large=large)
    )
    stats = context.stats
    return answer(
        request,
        {
            "version": API_VERSION,
            "model": context.served.reranker(node.inference_id).name,
            "documents": [_entry(hit) for hit in ranking.hits],
            "truncated": stats.truncated,
            "cached": stats.cached,
            "capped": stats.capped,
            **({"blend": ", ".join(stats.blends)} if stats.blends else {}),
            **({"order": "first_stage"} if stats.left_alone else {}),
            **({"warning": stats.reason} if stats.reason else {}),
            **({"notes": stats.warnings} if stats.warnings else {}),
        },
    )


def _known_by(request: Request) -> bytes | None:
    """Return whose scores the cache may use.

    The key of the request is that of Elasticsearch. Behind it are all users, and the plugin tells which one
    by ``X-Rerank-User``. An older plugin does not.
    """
    user = request.headers.get(USER_HEADER)
    return None if user is None else hashlib.sha256(repr((KNOWN_BY.get(), user)).encode()).digest()


@router.post("/embed")
async def embed(request: Request, wanted: EmbedRequest, service: Running) -> Response:
    """Return ``vectors``: one unit vector for each text, in order.

    Raises TooLargeError, UnknownModelError, and RequestError when no embedder is served.
    """
    embedder = service.embedder(wanted.model)
    vectors = await cancel_on_disconnect(
        request, service.embed(wanted.texts, wanted.purpose, timeout_s(request), embedder)
    )
    rows = await off_loop_if(len(vectors) > 1, vectors.tolist)
    return answer(request, {"version": API_VERSION, "model": embedder.name, "vectors": rows})


@router.post("/passages")
async def passages(request: Request, wanted: PassagesRequest, service: Running) -> Response:
    """Return for each document its passages, each with ``text``, ``start``, ``end`` and ``vector``, and with
    ``heading`` if it has one.

    They are cut and embedded as ``es-rerank ingest`` does it. Raises TooLargeError, UnknownModelError, and
    RequestError when no embedder is served or it has no tokenizer to cut with.
    """
    service.check_documents(len(wanted.documents))
    embedder = service.embedder(wanted.model)
    tokenizer = getattr(embedder, "tokenizer", None)
    if tokenizer is None:
        raise RequestError(
            f"embedder {embedder.name} has no tokenizer, so it cannot cut documents into passages; "
            "serve an exported bi-encoder"
        )
    deadline = service.deadline(timeout_s(request))
    documents = await cancel_on_disconnect(
        request, _with_vectors(wanted.documents, embedder, Chunker(tokenizer), deadline)
    )
    return answer(request, {"version": API_VERSION, "model": embedder.name, "documents": documents})


@router.post("/info")
async def info(request: Request, service: Running) -> Response:
    """Return the names of the served models, the defaults first, and the release of the sidecar.

    ``embedders`` are their own names, which an index records; ``embedder`` is the default.

    ``sends_texts_onward`` names the rerankers that are services: they get the texts over the network.
    """
    served = service.models()
    return answer(
        request,
        {
            "version": API_VERSION,
            "release": RELEASE,
            "models": list(served.rerankers),
            "sends_texts_onward": [
                name
                for name, reranker in served.rerankers.items()
                if not isinstance(reranker, LongTextReranker)
            ],
            "embedder": served.embedder.name if served.embedder else None,
            "embedders": [embedder.name for embedder in served.embedders.values()],
        },
    )


async def _with_vectors(
    documents: list[SourceDocument], embedder: Embedder, chunker: Chunker, deadline: float
) -> list[list[dict[str, Any]]]:
    room, watch = room_of(embedder), Watch(deadline)

    def cut(document: SourceDocument) -> tuple[CutDocument, list[str]]:
        made = cut_document(document.title, document.text, chunker, room, watch, format=document.format)
        return made, made.embedded()

    try:
        with watch:
            found, vectors = await _made(documents, cut, embedder, deadline)
    except TimeUpError as error:
        raise DeadlineError("the deadline came when documents were cut") from error
    return await off_loop(_joined, found, vectors)


async def _made(
    documents: list[SourceDocument],
    cut: Callable[[SourceDocument], tuple[CutDocument, list[str]]],
    embedder: Embedder,
    deadline: float,
) -> tuple[list[CutDocument], Iterable[Any]]:
    """Return the documents as they were cut, and their vectors. One of ours does both in one call."""
    if (made := getattr(embedder, "aembed_made", None)) is not None:
        found, vectors = await made(
            documents,
            cut,
            length=_characters,
            rate=_CUTTING,
            expected=[document.text or document.title for document in documents],
            deadline=deadline,
        )
        return found, vectors
    with as_a_whole():
        some = await text_threads().arun(
            cut, documents, length=_characters, rate=_CUTTING_ALONE, deadline=deadline
        )
    done = [each for each in some if each is not None]
    if len(done) < len(documents):
        raise DeadlineError(f"the deadline came when {len(done)} of {len(documents)} documents were cut")
    texts = [text for _, embedded in done for text in embedded]
    return [each for each, _ in done], await aembed(embedder, texts, deadline=deadline) if texts else []


def _characters(document: SourceDocument) -> int:
    return len(document.title) + len(document.text) + 1


def _joined(cut: list[CutDocument], vectors: Iterable[Any]) -> list[list[dict[str, Any]]]:
    """Return the passages of documents, each with its vector. ``vectors`` are in the order of passages."""
    rest = iter(vectors)
    return [
        [{**_stored(passage), "vector": next(rest).tolist()} for passage in document.passages]
        for document in cut
    ]


def _stored(passage: Passage) -> dict[str, Any]:
    return {name: value for name, value in passage._asdict().items() if name != HEADING or value}


def _node(wanted: ScoreRequest) -> TextSimilarityReranker:
    """Return the request as the retriever that it is a part of, so that both have the same checks."""
    content = {
        "retriever": {"standard": {}},
        "field": "text",
        "inference_text": wanted.query,
        "inference_id": wanted.model,
        "allow_rerank_failures": wanted.allow_failures,
        "chunk_rescorer": wanted.chunk_rescorer,
        "aggregation": wanted.aggregation,
        "blend": wanted.blend,
    }
    node = parse(
        {TextSimilarityReranker.kind: {key: value for key, value in content.items() if value is not None}}
    )
    assert isinstance(node, TextSimilarityReranker)  # noqa: S101 its name was parsed
    return node


def _origin(wanted: ScoreRequest, served: ServedModels) -> WindowOrigin:
    """Return where the window comes from. The sidecar has made the vectors by the time it scores."""
    asked = set(wanted.vector_models if served.embedders and not wanted.recorded_embedders else ())
    try:
        used = {served.embedder_for(model).name for model in asked}
    except UnknownModelError:  # another sidecar made them: the plugin's address has changed meanwhile
        used = set()
    return origin(wanted.first_stage, wanted.recorded_embedders, used)


def _source(wanted: ScoreRequest, node: TextSimilarityReranker) -> TextSource:
    if wanted.passages_stored:
        return TextSource((), passage="text", nested="passages")
    if node.chunk_rescorer is None:
        return TextSource((), chunked="text")
    return TextSource(
        (),
        chunked="text",
        nearest=node.chunk_rescorer.size,
        chunking=strategy_of(node.chunk_rescorer.chunking_settings),
    )


def _candidates(wanted: ScoreRequest) -> list[Candidate]:
    whole = not wanted.passages_stored and wanted.chunk_rescorer is None
    return [
        Candidate(
            "",
            str(place),
            math.nan if document.first_stage_score is None else document.first_stage_score,
            place + 1,
            document.context,
            tuple(
                Passage(part.text, part.start or 0, part.end or 0, part.heading) for part in document.passages
            ),
            whole=whole and bool(document.passages),
        )
        for place, document in enumerate(wanted.documents)
    ]


def _entry(hit: Reranked) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": hit.candidate.rank - 1}
    if hit.probability is None:
        return entry
    entry |= {
        "score": hit.score,
        "logit": hit.logit,
        "probability": hit.probability,
    }
    if (passage := best_passage(hit)) is not None:
        entry["passage"] = passage
    return entry
