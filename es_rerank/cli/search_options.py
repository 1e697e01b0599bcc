"""What the commands ``search`` and ``ask`` share: their options, and how the options are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..defaults import MOST_WINDOW, WINDOW
from ..errors import RequestError
from ..retrievers.grammar.tree import FirstStage

if TYPE_CHECKING:
    from ..client import RerankClient
    from ..models import LoadedReranker
    from ..retrievers.planning.index_schema import IndexSchema
    from ..settings import Settings

IndexArgument = Annotated[str, typer.Argument(help="Index, alias or pattern to search.")]
FirstStageOption = Annotated[FirstStage, typer.Option("--first-stage", help="The first stage.")]
WindowOption = Annotated[
    int | None,
    typer.Option(
        "--window",
        min=1,
        max=MOST_WINDOW,
        help="How many first-stage hits are reranked.",
        show_default=str(WINDOW),
    ),
]
FieldsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="Field whose text is reranked; several are joined.",
        show_default="found in the mapping",
    ),
]
VectorFieldOption = Annotated[
    str | None,
    typer.Option(
        "--vector-field",
        help="The dense_vector field that kNN searches.",
        show_default="found in the mapping",
    ),
]
QueryVectorOption = Annotated[
    str | None,
    typer.Option(
        "--query-vector",
        help="Your own query vector: a JSON array, or @FILE with one.",
        show_default="made by the embedder",
    ),
]
FiltersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help='An Elasticsearch query that hits must match, as JSON: {"range":{"year":{"gte":2020}}}',
    ),
]
LlmModelOption = Annotated[
    str | None, typer.Option(help="The model's name at that server.", show_default="the only one it serves")
]
RerankerOption = Annotated[
    str | None,
    typer.Option(
        "--reranker",
        help="Bundled name, exported folder, Hub id, cohere:MODEL, remote:URL or remote:DIALECT:URL.",
        show_default="the bundled one",
    ),
]
InstructionOption = Annotated[
    str | None,
    typer.Option(
        "--instruction",
        help="What makes a passage relevant, in a sentence, for a decoder such as Qwen3-Reranker.",
        show_default="the model's own",
    ),
]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="Bundled name, exported folder, Hub id, maven:NAME, openai:MODEL, cohere:MODEL or remote:URL.",
        show_default="the bundled one",
    ),
]


class OpenedClient(NamedTuple):
    """A client that reranks, and its reranker."""

    client: RerankClient
    reranker: LoadedReranker


def with_instruction(settings: Settings, instruction: str | None) -> Settings:
    """Return the settings with the instruction of the command line, if there is one."""
    return settings if instruction is None else settings.model_copy(update={"instruction": instruction})


@contextmanager
def open_client(
    url: str | None, settings: Settings, reranker: str | None, embedder: str | None, *, embeds: bool
) -> Iterator[OpenedClient]:
    """Open a reranking client, which the end of the block closes.

    Its Elasticsearch is the one at ``url``, or else at the address in the settings, or else the running local
    node. ``reranker`` and ``embedder`` replace the models in the settings. ``embeds`` says whether queries
    need an embedder. Raises what ``connect`` raises, and ModelFolderError, SettingsError or MissingExtraError
    for a model that cannot be loaded.
    """
    from ..client import RerankClient
    from ..models.load import embedder_of, reranker_of
    from .connection import connect

    with ExitStack() as stack:
        plain = stack.enter_context(connect(url, settings))
        loaded = stack.enter_context(reranker_of(settings, reranker))
        embedding = stack.enter_context(embedder_of(settings, embedder)) if embeds else None
        yield OpenedClient(
            RerankClient(
                plain,
                reranker=loaded,
                embedder=embedding,
                timeout_s=settings.timeout_ms / 1000,
                plugin=settings.plugin,
            ),
            loaded,
        )


def vector_of(given: str | None) -> list[float] | None:
    """Return the vector in ``--query-vector``.

    Raises RequestError when it is not an array of numbers.
    """
    if given is None:
        return None
    try:
        value = json.loads(Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"--query-vector {given[:60]!r} is neither a JSON array nor @FILE with one: {error}"
        ) from error
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    ):
        raise RequestError(f"--query-vector must be an array of numbers, found {str(value)[:60]!r}")
    return [float(x) for x in value]


def filters_of(given: list[str] | None) -> list[dict[str, Any]]:
    """Return the queries in ``--filter``.

    Raises RequestError when one is not a JSON object.
    """
    return [_object(text, "--filter") for text in given or []]


def fields_that_lack(filters: Sequence[Mapping[str, Any]], schema: IndexSchema) -> list[str]:
    """Return a sentence for each field of a filter that no index has. What is not sure is no fault."""
    if not schema.known or not schema.indices:
        return []
    sentences = []
    for name in dict.fromkeys(name for query in filters for name in _fields_of(query)):
        if not schema.has(name) and not name.startswith("_"):
            there = f"metadata.{name}"
            hint = f"; {there} is there" if schema.has(there) else ""
            sentences.append(f"--filter: index [{schema.index}] has no field [{name}]{hint}")
    return sentences


_OF_ONE_FIELD = ("term", "terms", "range", "match", "match_phrase", "prefix", "wildcard", "fuzzy", "regexp")


def _fields_of(query: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of plain fields in a query, and in those of a ``bool`` query."""
    for kind, body in query.items():
        if not isinstance(body, Mapping):
            continue
        if kind in _OF_ONE_FIELD:
            yield from (name for name in body if name not in ("boost", "_name") and "*" not in name)
        elif kind == "exists" and isinstance(name := body.get("field"), str) and "*" not in name:
            yield name
        elif kind == "bool":
            for part in body.values():
                for inner in part if isinstance(part, list) else [part]:
                    yield from _fields_of(inner) if isinstance(inner, Mapping) else ()


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RequestError(f"{option} {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"{option} must be a JSON object, found {text!r}")
    return value
