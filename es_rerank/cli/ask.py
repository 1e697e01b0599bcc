"""``es-rerank ask``: print a prompt of the best passages for a question, or a model's answer to it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from ..defaults import MOST_WINDOW
from ..errors import EsRerankError, GenerationError, RequestError, SearchError, SettingsError
from ..text.citations import Citations
from ..text.prompt import INSTRUCTIONS, PROMPT_TOKENS, Order, Prompt, assemble_prompt, token_count
from ..text.selection import RankedPassage
from .output import ElasticsearchUrl, Json, print_json, print_text, stderr, stdout, warn_if_incomplete
from .search_options import (
    EmbedderOption,
    FieldsOption,
    FiltersOption,
    FirstStageOption,
    IndexArgument,
    LlmModelOption,
    QueryVectorOption,
    RerankerOption,
    VectorFieldOption,
    WindowOption,
    fields_that_lack,
    filters_of,
    open_client,
    vector_of,
)

if TYPE_CHECKING:
    from ..integrations.openai_chat import ChatModel
    from ..models import Reranker
    from ..retrievers.planning.further_passages import PassagesOfQuestion
    from ..settings import Settings
    from ..types import Scores


def ask(
    index: IndexArgument,
    question: Annotated[str, typer.Argument(help="The question, in words.")],
    passages: Annotated[int, typer.Option(min=1, max=MOST_WINDOW, help="Most passages in the prompt.")] = 10,
    tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens in the prompt: instructions, question and passages.")
    ] = PROMPT_TOKENS,
    order: Annotated[
        Order,
        typer.Option(
            help="Order of the passages. ends: the best first, the second best last. Numbers follow the rank."
        ),
    ] = "best_first",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="tokenizer.json, or a folder with one, that counts the tokens. Give the language model's "
            "tokenizer for an exact count.",
            show_default="the reranker's, or else the embedder's",
        ),
    ] = None,
    instructions: Annotated[
        str | None,
        typer.Option(
            help="Instructions to the model, or @FILE with the instructions.", show_default="built in"
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible server that gets the prompt: http://localhost:8000/v1",
            show_default=False,
        ),
    ] = None,
    llm_model: LlmModelOption = None,
    first_stage: FirstStageOption = "knn",
    window: WindowOption = None,
    field: FieldsOption = None,
    vector_field: VectorFieldOption = None,
    query_vector: QueryVectorOption = None,
    filter_: FiltersOption = None,
    reranker: RerankerOption = None,
    embedder: EmbedderOption = None,
    elasticsearch_url: ElasticsearchUrl = None,
    as_json: Json = False,
) -> None:
    """Print a prompt of the best passages for a question, numbered for citations; with --llm, print a model's
    answer instead.
    """
    from ..retrievers.execution.questions import nothing_found, reading_of, schema_for_question
    from ..retrievers.planning.further_passages import passages_of_question
    from ..settings import read_settings

    settings = read_settings()
    chat = _chat_model(llm, llm_model, settings)
    vector, wording, filters = vector_of(query_vector), wording_of(instructions), filters_of(filter_)
    hits = window or settings.window
    with open_client(
        elasticsearch_url, settings, reranker, embedder, embeds=vector is None and first_stage != "bm25"
    ) as opened:
        count = token_counter(tokenizer, opened.reranker, embedder or settings.embedder)
        schema = schema_for_question(opened.client, index, settings.timeout_ms / 1000)
        fields, source = reading_of(
            question,
            schema,
            first_stage=first_stage,
            field=field,
            vector_field=vector_field,
            query_vector=vector,
        )
        answer = opened.client.rerank(
            question,
            index=index,
            size=hits,
            window=hits,
            first_stage=first_stage,
            field=fields,
            vector_field=vector_field,
            query_vector=vector,
            filter=filters,
            source=source,
        ).body
        found = passages_of_question(question, answer, fields, passages)
        prompt = assemble_prompt(
            question,
            found.ranked(_scores(opened.reranker, found, settings.timeout_ms / 1000)),
            count=count,
            budget=tokens,
            most=passages,
            order=order,
            instructions=wording,
        )
    if not prompt.passages:
        lacking = [] if answer["hits"]["hits"] else fields_that_lack(filters, schema)
        raise SearchError("; ".join([nothing_found(index, fields, answer, first_stage), *lacking]))
    _say_what_was_left_out(prompt)
    warn_if_incomplete(answer["rerank"])
    report = _report(question, prompt, order, answer["rerank"])
    if chat is None and as_json:
        print_json(report)
    elif chat is None:
        _show_places(prompt)
        print_text(prompt.text + "\n")
    else:
        _answer(chat, prompt, report if as_json else None)


def _scores(reranker: Reranker, found: PassagesOfQuestion, timeout_s: float) -> Scores | None:
    """Return the scores of further passages; None if there are none, or if the reranker fails."""
    if not found.texts:
        return None
    try:
        return reranker.score(found.question, found.texts, deadline=time.monotonic() + timeout_s)
    except EsRerankError as error:
        said = f"warning: the further passages of the documents are not reranked: {error}"
        stderr.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
        return None


def _chat_model(url: str | None, name: str | None, settings: Settings) -> ChatModel | None:
    check_llm_model(url, name)
    if url is None:
        return None
    from ..integrations.openai_chat import ChatModel  # the SDK is an extra

    return ChatModel(url, name, api_key=settings.llm_api_key)


def check_llm_model(url: str | None, name: str | None) -> None:
    """Check that ``--llm-model`` comes with ``--llm``. Raises RequestError."""
    if url is None and name is not None:
        raise RequestError(f"--llm-model {name} needs the address of its server; add --llm URL")


def wording_of(given: str | None) -> str:
    """Return the instructions in ``--instructions``, or else the default ones.

    Raises RequestError when their file cannot be read.
    """
    if given is None or not given.startswith("@"):
        return INSTRUCTIONS if given is None else given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RequestError(f"--instructions {given} cannot be read: {error}") from error


def token_counter(given: str | None, reranker: Reranker, embedder: str) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text.

    It uses the tokenizer ``given``, or else the reranker's own tokenizer, or else the embedder's, or
    else the bundled one. Raises SettingsError when ``given`` is not a tokenizer.json and not a folder with
    one.
    """
    from ..models.embedder_spec import parse_embedder
    from ..models.load import model_folder
    from ..models.local.local import LocalReranker
    from ..models.manifest import TOKENIZER
    from ..settings import BUNDLED_EMBEDDER
    from ..text.pairs import open_tokenizer

    if given is not None:
        path = Path(given, TOKENIZER) if Path(given).is_dir() else Path(given)
        if not path.is_file():
            raise SettingsError(
                f"--tokenizer {given} is not a tokenizer.json and not a folder with one; give the path of one"
            )
        return token_count(open_tokenizer(path))
    if isinstance(reranker, LocalReranker):
        return token_count(reranker.tokenizer)
    local = BUNDLED_EMBEDDER if parse_embedder(embedder).hosted else embedder
    return token_count(open_tokenizer(model_folder(local) / TOKENIZER))


def _say_what_was_left_out(prompt: Prompt) -> None:
    reasons = Counter(left.reason for left in prompt.left_out)
    candidates = len(prompt.passages) + len(prompt.left_out)
    notes = [f"{len(prompt.passages)} of {candidates} passages, {prompt.tokens} of {prompt.budget} tokens"]
    if reasons:
        notes.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    if any(numbered.cut for numbered in prompt.passages):
        notes.append("the best passage is cut to fit")
    stderr.print("; ".join(notes), style="dim", markup=False, highlight=False, soft_wrap=True)


def _show_places(prompt: Prompt) -> None:
    """Say on stderr which document each number is: the prompt does not, as a model needs no ids."""
    for numbered in prompt.passages:
        passage = numbered.passage
        place = f", characters {passage.start}-{passage.end}" if passage.end else ""
        said = f"[{numbered.number}] {' '.join(passage.id.split())}{place}"
        stderr.print(said, style="dim", markup=False, highlight=False, soft_wrap=True)


def _report(question: str, prompt: Prompt, order: Order, account: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt as ``--json`` prints it."""
    numbered = [
        {
            "number": item.number,
            **_place(item.passage),
            "title": item.passage.context,
            "text": item.passage.text,
            "score": item.passage.score,
            "cut": item.cut,
        }
        for item in prompt.passages
    ]
    left_out = [
        {**_place(left.passage), "reason": left.reason, "number": left.number} for left in prompt.left_out
    ]
    return {
        "question": question,
        "prompt": prompt.text,
        "passages": numbered,
        "left_out": left_out,
        "tokens": prompt.tokens,
        "budget": prompt.budget,
        "order": order,
        "status": account["status"],
        **({"reason": account["reason"]} if account.get("reason") else {}),
    }


def _place(passage: RankedPassage) -> dict[str, Any]:
    """Return where a passage is in its document; unknown offsets are None."""
    known = passage.end > 0
    return {
        "index": passage.index,
        "id": passage.id,
        "start": passage.start if known else None,
        "end": passage.end if known else None,
    }


class _Answer(NamedTuple):
    """A model's answer; ``fault`` is the error when the answer stopped early."""

    text: str
    finish_reason: str | None
    fault: GenerationError | None


def _answer(chat: ChatModel, prompt: Prompt, report: dict[str, Any] | None) -> None:
    """Ask the model and print its answer.

    Without a ``report``, the answer is printed while it arrives, and its sources follow. With a ``report``,
    both are printed as one JSON document.
    """
    with chat:
        answer = _stream(chat, prompt, show=report is None)
        citations = prompt.citations(answer.text)
        if report is None:
            _show_sources(citations)
        else:
            print_json(report | {"model": chat.model} | _answered(answer, citations))
    _say_what_is_wrong(answer, citations)
    if answer.fault is not None:
        raise answer.fault


def _stream(chat: ChatModel, prompt: Prompt, *, show: bool) -> _Answer:
    """Return the model's answer, printing it while it arrives when ``show`` is True.

    An answer that stops early is returned as far as it came. If nothing came, the error is raised.
    """
    parts: list[str] = []
    finish_reason, fault = None, None
    try:
        for delta in chat.stream(prompt.messages):
            parts.append(delta.text)
            finish_reason = delta.finish_reason or finish_reason
            if show:
                print_text(delta.text)
    except GenerationError as error:
        if not any(parts):
            raise
        fault = error
    if show:
        print_text("\n")
    return _Answer("".join(parts), finish_reason, fault)


def _answered(answer: _Answer, citations: Citations) -> dict[str, Any]:
    cited = [{"number": item.number, **_place(item.passage)} for item in citations.passages]
    return {
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "citations": cited,
        "unknown_citations": list(citations.unknown),
    }


def _show_sources(citations: Citations) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("cited", "id", "characters", "passage"):
        table.add_column(title, no_wrap=title != "passage")
    for numbered in citations.passages:
        passage = numbered.passage
        text = " ".join(passage.text.split())
        place = f"{passage.start}-{passage.end}" if passage.end else "-"
        table.add_row(
            Text(f"[{numbered.number}]"),
            Text(passage.id),
            place,
            Text(text if len(text) <= 100 else text[:99] + "…"),
        )
    if table.row_count:
        stdout.print()
        stdout.print(table)


def _say_what_is_wrong(answer: _Answer, citations: Citations) -> None:
    faults = []
    if citations.unknown:
        faults.append(
            f"the answer cites {', '.join(f'[{number}]' for number in citations.unknown)}, which are not in "
            "the prompt"
        )
    if not citations.mentions:
        faults.append("the answer cites no passage")
    if answer.finish_reason not in ("stop", None):
        faults.append(f"the answer is incomplete: the server says {answer.finish_reason}")
    for fault in faults:
        stderr.print(f"warning: {fault}", style="yellow", markup=False, highlight=False, soft_wrap=True)
