"""The arguments of the tools: their JSON schemas, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..defaults import MAX_QUERY_CHARACTERS
from ..errors import RequestError
from ..text.pairs import well_formed
from .answers import in_a_line

T = TypeVar("T", bound=BaseModel)

_SHOWN = 60
"""Most characters of a wrong value in a message."""


class SearchArguments(BaseModel):
    """The arguments of ``search``. ``index`` and ``size`` are None where the caller names none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str
    index: str | None = None
    size: int | None = None


class AskArguments(BaseModel):
    """The arguments of ``ask``. ``index`` is None where the caller names none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    index: str | None = None


def search_schema(indices: Sequence[str], size: int, most: int) -> dict[str, Any]:
    """Return the JSON schema of the arguments of ``search``.

    ``indices`` are the served ones, ``size`` is the default number of hits and ``most`` the largest.
    """
    return _schema(
        {
            "query": _text("What to search for, in words. A whole question works well."),
            "index": _index(indices),
            "size": {
                "type": "integer",
                "minimum": 1,
                "maximum": most,
                "default": size,
                "description": "How many hits are returned.",
            },
        },
        "query",
        indices,
    )


def ask_schema(indices: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of the arguments of ``ask``. ``indices`` are the served ones."""
    asked = {"question": _text("The question, in words."), "index": _index(indices)}
    return _schema(asked, "question", indices)


def read_arguments(given: Mapping[str, Any], model: type[T]) -> T:
    """Return the arguments of a tool. An argument that is null counts as one that is left out. Half a
    surrogate pair in a text, which no encoding can write, becomes U+FFFD.

    A number is an integer if its value is one, as in JSON Schema: 5.0 is, true and "5" are none.

    Raises RequestError, which names the argument, for one that is missing, unknown or of a wrong type.
    """
    whole = {well_formed(name): _plain(value) for name, value in given.items() if value is not None}
    try:
        return model.model_validate(whole)
    except ValidationError as error:
        first = error.errors()[0]
        name = in_a_line(str(first["loc"][0])[:_SHOWN])
        known = ", ".join(model.model_fields)
        if first["type"] == "extra_forbidden":
            raise RequestError(f"there is no argument [{name}]; the arguments are {known}") from None
        if first["type"] == "missing":
            raise RequestError(f"the argument [{name}] is missing; the arguments are {known}") from None
        found = well_formed(repr(first["input"]))
        found = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…"
        raise RequestError(f"argument [{name}]: {first['msg']} (found {found})") from None


def _plain(value: Any) -> Any:  # noqa: ANN401 any JSON value
    if isinstance(value, str):
        return well_formed(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def served_index(wanted: str | None, indices: Sequence[str]) -> str:
    """Return the index that a call is about: the one that it names, or else the only one.

    Raises RequestError for one that is not served. Names are compared as they are: a caller can write no
    pattern and no list.
    """
    names = ", ".join(f"[{name}]" for name in indices)
    if wanted is None:
        if len(indices) > 1:
            raise RequestError(f"several indices are served, so name one (index): {names}")
        return indices[0]
    if wanted not in indices:
        raise RequestError(f"index [{in_a_line(wanted[:_SHOWN])}] is not served here; served: {names}")
    return wanted


def hits_wanted(wanted: int | None, size: int, most: int) -> int:
    """Return how many hits a call gets. Raises RequestError for a number below 1 or above ``most``."""
    if wanted is None:
        return size
    if not 1 <= wanted <= most:
        raise RequestError(f"argument [size]: {str(wanted)[:_SHOWN]} is not a number from 1 to {most}")
    return wanted


def _text(description: str) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_QUERY_CHARACTERS,
        "description": description,
    }


def _index(indices: Sequence[str]) -> dict[str, Any]:
    alone = {"default": indices[0]} if len(indices) == 1 else {}
    return {"type": "string", "enum": list(indices), **alone, "description": "The index that is searched."}


def _schema(properties: dict[str, Any], text: str, indices: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [text] if len(indices) == 1 else [text, "index"],
        "additionalProperties": False,
    }
