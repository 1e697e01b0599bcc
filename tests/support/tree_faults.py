"""Faults of retrievers as parameters of a test: where each is, its sentence, its type and its cause."""

from __future__ import annotations

from typing import Any

import pytest
from retriever_bodies import (
    CONTENT,
    ILLEGAL,
    NOT_A_NUMBER,
)

from es_rerank.errors import RetrieverParsingError
from es_rerank.retrievers.grammar.parsing import parse

UNKNOWN = "named_object_not_found_exception"


def fault(body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None = None) -> Any:
    """A retriever, where the fault is below «retriever», its sentence, its type,
    and (type, reason) of what caused it.
    """
    return pytest.param(body, f"retriever{path}", sentence, kind, cause, id=sentence[:60])


def wrong_type(body: dict[str, Any], key: str, token: str, path: str = "", kind: str = "") -> Any:
    root = next(iter(body))
    return fault(
        body, path or f".{root}", f"[{kind or root}] {key} doesn't support values of type: {token}", CONTENT
    )


def failed(body: dict[str, Any], key: str, cause: tuple[str, str], path: str = "", kind: str = "") -> Any:
    root = next(iter(body))
    return fault(body, path or f".{root}", f"[{kind or root}] failed to parse field [{key}]", CONTENT, cause)


def failed_build(body: dict[str, Any], kind: str, path: str, reason: str) -> Any:
    return fault(
        body,
        path,
        f"Failed to build [{kind}] after last required field arrived: {reason}",
        CONTENT,
        (ILLEGAL, reason),
    )


def no_number(written: str) -> tuple[str, str]:
    return NOT_A_NUMBER, f'For input string: "{written}"'


FIRST = ".retrievers[0]"
CHUNKS = ".text_similarity_reranker.chunk_rescorer"
MADE = ".knn.query_vector_builder.text_embedding"
NO_PINS = "Either 'ids' or 'docs' must be provided and non-empty for pinned retriever"


def assert_refused(body: Any, path: str, sentence: str, kind: str, cause: tuple[str, str] | None) -> None:
    """Parse ``body`` and compare its fault with what ``fault`` was given."""
    with pytest.raises(RetrieverParsingError) as caught:
        parse(body)
    error = caught.value
    assert (str(error), error.path, error.kind, error.cause) == (f"[{path}] {sentence}", path, kind, cause)
