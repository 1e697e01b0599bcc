"""The two tools: ``search`` and ``ask``. They read the served indices and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..client import AsyncRerankClient
from ..defaults import SIZE, TIMEOUT_S, WINDOW
from ..errors import EsRerankError
from ..off_loop import off_loop
from ..retrievers.execution.questions import Reading, aschema_for_question, nothing_found, reading_of
from ..retrievers.grammar.tree import FirstStage, Query
from ..retrievers.planning.further_passages import passages_of_question
from ..retrievers.planning.passages import passages_of
from ..text.hit_fields import field_values
from ..text.prompt import INSTRUCTIONS, PROMPT_TOKENS, Prompt, assemble_prompt
from ..text.selection import NumberedPassage, RankedPassage
from .answers import AskAnswer, Hit, SearchAnswer, hit_of, joined, source_of
from .arguments import AskArguments, SearchArguments, hits_wanted, read_arguments, served_index

_CHARACTERS_OF_A_TOKEN = 8
"""A passage with more characters than this for each token of the budget does not fit as a whole: a token of
English has four or five characters. What is longer is not counted, which would take a second a megabyte, for
each length that is tried.
"""

_MOST_PASSAGES = 500
"""Most passages that are tried. A document that was not reranked has all its stored passages, which may be
thousands.
"""

if TYPE_CHECKING:
    from ..integrations.openai_chat import AsyncChatModel
    from ..models import Reranker


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator has chosen for all calls.

    ``indices``: the names that calls may give. ``size`` and ``window``: how many hits ``search`` returns by
    default, and how many are reranked, which is also the most that it returns. ``fields``: the fields that
    are reranked, empty for those that the mapping suggests. ``filters``: queries that each hit matches.
    ``shown``: further fields of each hit. ``passages`` and ``tokens`` bound the prompt of ``ask``.
    ``timeout_s``: how long a call may look at an index, in seconds; its search then has a deadline of the
    client's.
    """

    indices: tuple[str, ...]
    size: int = SIZE
    window: int = WINDOW
    first_stage: FirstStage = "knn"
    fields: tuple[str, ...] = ()
    vector_field: str | None = None
    filters: tuple[Query, ...] = ()
    shown: tuple[str, ...] = ()
    passages: int = 10
    tokens: int = PROMPT_TOKENS
    instructions: str = INSTRUCTIONS
    timeout_s: float = TIMEOUT_S


class Tools:
    """The tools over one Elasticsearch.

    ``count`` returns the number of tokens of a text, for the budget of a prompt. ``chat`` is the language
    model that answers, None if the caller's own is to answer. ``reranker``, that of the client, ranks further
    passages of a document; without it they come last. Both tools raise RequestError for arguments
    that are wrong, and what ``AsyncRerankClient.rerank`` raises.
    """

    def __init__(
        self,
        client: AsyncRerankClient,
        choices: Choices,
        count: Callable[[str], int],
        chat: AsyncChatModel | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.choices = choices
        self.chat = chat
        self._client = client
        self._count = count
        self._reranker = reranker

    async def search(self, given: Mapping[str, Any]) -> SearchAnswer:
        """Return the best documents for a query, in the order of ``es-rerank search``."""
        wanted, choices = read_arguments(given, SearchArguments), self.choices
        index = served_index(wanted.index, choices.indices)
        size = hits_wanted(wanted.size, choices.size, choices.window)
        reading = await self._reading(wanted.query, index)
        answer = await self._searched(wanted.query, index, size, reading)
        return SearchAnswer(
            query=wanted.query,
            index=index,
            hits=[self._hit(number, hit, reading) for number, hit in enumerate(answer["hits"]["hits"], 1)],
            status=answer["rerank"]["status"],
            note=_note(answer["rerank"]),
        )

    async def ask(self, given: Mapping[str, Any]) -> AskAnswer:
        """Return the answer of the language model to a question, or else the prompt for the caller's own."""
        wanted, choices = read_arguments(given, AskArguments), self.choices
        index = served_index(wanted.index, choices.indices)
        reading = await self._reading(wanted.question, index)
        answer = await self._searched(wanted.question, index, choices.window, reading)
        longest = choices.tokens * _CHARACTERS_OF_A_TOKEN
        ranked = await self._ranked(wanted.question, answer, reading)
        prompt = await off_loop(
            assemble_prompt,
            wanted.question,
            [_shortened(found, longest) for found in ranked[:_MOST_PASSAGES]],
            count=self._count,
            budget=choices.tokens,
            most=choices.passages,
            instructions=choices.instructions,
        )
        missing = None
        if not prompt.passages:
            missing = nothing_found(index, reading.fields, answer, choices.first_stage)
        found = AskAnswer(
            question=wanted.question,
            index=index,
            answer=None,
            model=None,
            passages=[source_of(_told(numbered, longest)) for numbered in prompt.passages],
            cited=[],
            unknown_citations=[],
            prompt=prompt.text if prompt.passages else None,
            status=answer["rerank"]["status"],
            note=joined([missing, None if missing else _note(answer["rerank"])]),
        )
        return found if self.chat is None or missing else await _answered(self.chat, prompt, found)

    async def _ranked(self, question: str, answer: dict[str, Any], reading: Reading) -> list[RankedPassage]:
        found = await off_loop(passages_of_question, question, answer, reading.fields, self.choices.passages)
        scores = None
        if self._reranker is not None and found.texts:
            deadline = time.monotonic() + self.choices.timeout_s
            with suppress(EsRerankError):  # then the further passages come last
                scores = await self._reranker.ascore(found.question, found.texts, deadline=deadline)
        return found.ranked(scores)

    async def _reading(self, text: str, index: str) -> Reading:
        choices = self.choices
        return reading_of(
            text,
            await aschema_for_question(self._client, index, choices.timeout_s),
            first_stage=choices.first_stage,
            field=choices.fields,
            vector_field=choices.vector_field,
        )

    async def _searched(self, text: str, index: str, size: int, reading: Reading) -> dict[str, Any]:
        choices = self.choices
        answer = await self._client.rerank(
            text,
            index=index,
            size=size,
            window=choices.window,
            first_stage=choices.first_stage,
            field=reading.fields,
            vector_field=choices.vector_field,
            filter=list(choices.filters),
            source=_with(reading.source, choices.shown),
        )
        body: dict[str, Any] = answer.body
        return body

    def _hit(self, number: int, hit: Mapping[str, Any], reading: Reading) -> Hit:
        best = passages_of({"hits": {"hits": [hit]}}, reading.fields)[0]
        return hit_of(number, best, {name: field_values(hit, name) for name in self.choices.shown})


def _with(source: bool | dict[str, list[str]], shown: Sequence[str]) -> bool | dict[str, list[str]]:  # noqa: FBT001 a value of _source
    if isinstance(source, bool) or not shown:
        return source
    return {"includes": [*source["includes"], *shown]}


def _shortened(passage: RankedPassage, most: int) -> RankedPassage:
    """Return a passage with at most ``most`` characters, and an eighth of them in its context, so that the
    budget has room for both.
    """
    context, heading = passage.context[: most // 8], passage.heading[: most // 8]
    if len(passage.text) <= most:
        return replace(passage, context=context, heading=heading)
    end = passage.start + most if passage.located else passage.end
    return replace(passage, text=passage.text[:most], end=end, context=context, heading=heading)


def _told(numbered: NumberedPassage, most: int) -> NumberedPassage:
    """Return a passage that says whether it was shortened to ``most`` characters."""
    return replace(numbered, cut=numbered.cut or len(numbered.passage.text) >= most)


def _note(block: Mapping[str, Any]) -> str | None:
    """Return why an answer is not whole, and what is to be known about its scores."""
    return joined([block.get("reason"), *block.get("warnings", ())])


async def _answered(chat: AsyncChatModel, prompt: Prompt, found: AskAnswer) -> AskAnswer:
    """Return what was found with the language model's answer. Raises GenerationError."""
    parts: list[str] = []
    reason: str | None = None
    async for delta in chat.stream(prompt.messages):
        parts.append(delta.text)
        reason = delta.finish_reason or reason
    answer = "".join(parts)
    citations = prompt.citations(answer)
    return found.model_copy(
        update={
            "answer": answer,
            "model": await chat.named(),
            "cited": [numbered.number for numbered in citations.passages],
            "unknown_citations": list(citations.unknown),
            "prompt": None,
            "note": joined(
                [
                    found.note,
                    None if citations.mentions else "the answer cites no passage",
                    None
                    if reason in ("stop", None)
                    else f"the answer is incomplete: the server says {reason}",
                ]
            ),
        }
    )
