"""Whether a model makes sense: it has to put ten plain pairs of passages in their order, in some language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ...types import Scores
from ..manifest import Sense
from .embedder_sense import CHINESE, ENGLISH, Embeds, Question

if TYPE_CHECKING:
    from tokenizers import Tokenizer

QUESTIONS: dict[str, tuple[Question, ...]] = {"en": ENGLISH, "zh": CHINESE}
_SCRIPTS = {"en": "Latin", "zh": "Han"}
_MOST_UNKNOWN = 0.05
"""Largest share of unknown tokens in texts of a language that a tokenizer reads."""
_LEAST = 9
"""Fewer of ten than this, in the language that suits the model best, and a warning is given."""
_REVERSED = 2


class Ranks(Protocol):
    """What scores the passages."""

    def score(self, query: str, passages: Sequence[str]) -> Scores:
        """Return a score for each passage."""


def languages(tokenizer: Tokenizer, scripts: Sequence[str] | None) -> list[str]:
    """Return the languages whose texts the tokenizer reads; of ``scripts``, where they are known."""
    return [
        language
        for language, questions in QUESTIONS.items()
        if (scripts is None or _SCRIPTS[language] in scripts) and _reads(tokenizer, questions)
    ]


def reranker_sense(reranker: Ranks, languages: Sequence[str]) -> tuple[Sense, ...]:
    """Return in how many triples the right passage has the higher score, for each language."""

    def right(question: Question) -> bool:
        good, bad = reranker.score(question.query, [question.right, question.wrong]).values
        return bool(good > bad)

    return tuple(
        Sense(language=language, right=sum(map(right, QUESTIONS[language])), of=len(QUESTIONS[language]))
        for language in languages
    )


def embedder_sense(embedder: Embeds, languages: Sequence[str]) -> tuple[Sense, ...]:
    """Return in how many triples the right passage has the higher cosine, for each language."""

    def right(question: Question) -> bool:
        (query,) = embedder.embed([question.query], purpose="query")
        good, bad = embedder.embed([question.right, question.wrong], purpose="passage")
        return float(query @ good) > float(query @ bad)

    return tuple(
        Sense(language=language, right=sum(map(right, QUESTIONS[language])), of=len(QUESTIONS[language]))
        for language in languages
    )


def sense_warning(name: str, sense: Sequence[Sense]) -> str | None:
    """Return what is wrong with a model that orders too few pairs, None for one that makes sense.

    A model need not know all languages, so that the one that suits it best counts.
    """
    if not sense:
        return (
            f"warning: the tokenizer of {name} reads neither English nor Chinese, so nobody tried whether "
            "its scores make sense; try it on texts of your own"
        )
    if max(each.right for each in sense) >= _LEAST:
        return None
    figures = " and ".join(f"{each.right} of {each.of} pairs ({each.language})" for each in sense)
    backwards = max(each.right for each in sense) <= _REVERSED
    why = (
        "its labels may be in the wrong order"
        if backwards
        else "it was trained for something else, or its tokenizer, pooling or prefixes are wrong"
    )
    return (
        f"warning: {name} puts {figures} of plain passages in their order, and any model of its kind gets "
        f"ten right: {why}, or it reads other languages; try it on texts of your own before you use it"
    )


def _reads(tokenizer: Tokenizer, questions: Sequence[Question]) -> bool:
    """Return whether a tokenizer knows the words of a language, as those without an unknown token do."""
    unknown = getattr(tokenizer.model, "unk_token", None) or "<unk>"
    number = tokenizer.token_to_id(str(unknown))
    ids = [
        token
        for encoding in tokenizer.encode_batch(
            [text for question in questions for text in question], add_special_tokens=False
        )
        for token in encoding.ids
    ]
    return bool(ids) and ids.count(-1 if number is None else number) <= _MOST_UNKNOWN * len(ids)
