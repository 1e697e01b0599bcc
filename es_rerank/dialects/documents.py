"""The texts of queries and documents, which clients send as strings or as objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import RequestError

_TEXT_KEYS = ("text", "content")
"""The keys of an object that hold its text: Cohere's and Jina's, and vLLM's."""

_NOT_TEXT = frozenset(
    {"image", "images", "image_url", "video", "video_url", "audio", "audio_url", "input_audio"}
)
"""The keys of an object, or of a part of its ``content``, that hold something else than text: Jina's, vLLM's
and OpenAI's.
"""


def texts_in(
    value: Any,  # noqa: ANN401 any JSON value
    key: str,
    fields: Sequence[str] | None = None,
) -> tuple[list[str], list[Any]]:
    """Return the texts in the value of ``key``, and the same documents as they were sent.

    The value is a list, one document, or vLLM's object with a list in ``content``. Raises RequestError when
    it is none of them, is empty, or holds what is no text.
    """
    if value is None:
        raise RequestError(f"[{key}] field required")
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        value = value["content"]
    documents = [value] if isinstance(value, (str, dict)) else value
    if not isinstance(documents, list) or not documents:
        raise RequestError(f"[{key}] must be a list of texts with at least one entry")
    return [text_of(entry, f"{key}.{place}", fields) for place, entry in enumerate(documents)], documents


def query_in(value: Any, key: str = "query") -> str:  # noqa: ANN401 any JSON value
    """Return the query in the value of ``key``. Raises RequestError when it is empty or no text."""
    if value is None:
        raise RequestError(f"[{key}] field required")
    text = text_of(value, key)
    if not text:
        raise RequestError(f"[{key}] must have at least one character")
    return text


def text_of(value: Any, where: str, fields: Sequence[str] | None = None) -> str:  # noqa: ANN401
    """Return the text of one document, a string or an object.

    An object's text is what its ``fields`` hold, one line ``name: value`` for each of them that it has.
    Without ``fields`` it is its ``text`` or ``content``. Of an object that has neither, it is a line for each
    key, except those of images, sounds and videos. A null is the same as no value.
    Raises RequestError for anything else, also for an object without one of the ``fields``, or whose ``text``
    or ``content`` is no text, and for images, sounds and videos where a text is left out or missing.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if part is not None}
        keys = [name for name in value if name not in _NOT_TEXT] if fields is None else fields
        named = {name: value[name] for name in keys if name in value}
        if fields is None:
            if _is_no_text(value):
                raise RequestError(f"[{where}] holds an image, a sound or a video; only texts are read")
            given = [key for key in _TEXT_KEYS if key in value]
            for key in given:
                if (found := _content(value[key])) is not None:
                    return found
            if given:
                raise RequestError(f"[{where}.{given[0]}] must be a text")
        if named:
            return "\n".join(f"{name}: {_written(part)}" for name, part in named.items())
    raise RequestError(f"[{where}] must be a text, or an object with a text")


def _is_no_text(value: dict[str, Any]) -> bool:
    """Whether an object, or a part of its ``content``, is an image, a sound or a video."""
    content = value.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return any(
        not part.keys().isdisjoint(_NOT_TEXT) and part.keys() <= _NOT_TEXT | {"type", "uuid"}
        for part in (value, *parts)
    )


def not_read_in(documents: Sequence[Any], key: str, fields: Sequence[str] | None = None) -> set[str]:
    """Return the names of what is no text in documents that have a text as well, behind the ``key`` of the
    documents.
    """
    of_objects = (document.keys() for document in documents if isinstance(document, dict))
    return {
        f"{key}.{name}" for names in of_objects for name in _NOT_TEXT.intersection(names) - {*(fields or ())}
    }


def _content(value: Any) -> str | None:  # noqa: ANN401 any JSON value
    """Return a text, or the texts of the parts of vLLM's ``content``; None for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in value]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def _written(value: Any) -> str:  # noqa: ANN401 any JSON value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
