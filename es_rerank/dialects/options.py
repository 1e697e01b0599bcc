"""The optional keys of rerank requests: what each means, and which values of it are taken.

A value of null is the same as no value. Keys that are not in ``OPTIONS`` have no effect, and the caller is
told their names. Among them are ``instruction`` (the models have no place for one), ``max_tokens_per_doc``,
``max_tokens_per_query`` and ``truncate_prompt_tokens`` (a text is cut where the model's window ends),
``priority``, ``user`` and ``encoding_format``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from ..errors import RequestError

_LONGEST_NUMBER = 20
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
"""What pydantic takes for a boolean, which many servers of this kind use. Some clients send Python's
``True``."""

_CUT_AT_END, _CUT_AT_START, _NOT_CUT = frozenset({"end", "right"}), frozenset({"start", "left"}), "none"
"""Values of ``truncate`` in the requests of NVIDIA's and Cohere's clients, and of TEI's
``truncation_direction``."""


NO_EFFECT = object()
"""What ``Option.read`` returns for a value without effect here: the caller is told the name of its key."""


class Option(NamedTuple):
    """An optional key. ``field``: the part of the request that it fills, with a value that ``read`` makes."""

    field: str
    read: Callable[[str, Any], Any]


def options_in(
    body: Mapping[str, Any],
    known: Collection[str],
    honoured: Collection[str],
    options: Mapping[str, Option] | None = None,
) -> dict[str, Any]:
    """Return the values of the optional keys of a request, by field, with the names of those ``ignored``.

    ``known``: the keys of the request that are not optional. ``honoured``: the fields that have an effect.
    ``options``: the optional keys, those of rerank requests without it.
    Raises RequestError for a value that cannot be used, and for two keys that contradict each other.
    """
    found: dict[str, Any] = {}
    ignored = []
    for key, value in body.items():
        if key in known or value is None:
            continue
        option = (OPTIONS if options is None else options).get(key)
        if option is None or option.field not in honoured:
            ignored.append(key)
            continue
        read = option.read(key, value)
        if read is NO_EFFECT:
            ignored.append(key)
            continue
        before = found.get(option.field)
        if isinstance(read, bool) and before is not None:
            read = read or before
        elif before is not None and read is not None and before != read:
            raise RequestError(
                f"[{key}] and another key of the request ask for different things; send one of them"
            )
        if read is not None:
            found[option.field] = read
    return {**found, "ignored": tuple(sorted(ignored))}


def flag(key: str, value: Any) -> bool:  # noqa: ANN401 any JSON value
    """Return a boolean, which may be written as a text or a number. Raises RequestError for anything else."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word in _TRUE | _FALSE and not isinstance(value, (list, dict)):
        return word in _TRUE
    raise RequestError(f"[{key}] must be true or false")


def _no_flag(key: str, value: Any) -> bool:  # noqa: ANN401 any JSON value
    return not flag(key, value)


def count(key: str, value: Any) -> int | None:  # noqa: ANN401 any JSON value
    """Return a number of results or dimensions, None for 0: in vLLM and infinity 0 asks for all of them.

    It may be written as a text. Raises RequestError for anything else.
    """
    number = value
    written = isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.strip().isdecimal()
    if written or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise RequestError(f"[{key}] must be a whole number from 0, where 0 means all")
    return number or None


def _name(key: str, value: Any) -> str | None:  # noqa: ANN401 any JSON value
    if not isinstance(value, str):
        raise RequestError(f"[{key}] must be a text")
    return value or None


def _names(key: str, value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 any JSON value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RequestError(f"[{key}] must be a list of names of fields")
    return tuple(value) or None


def _not_cut(key: str, value: Any) -> bool:  # noqa: ANN401 any JSON value
    word = value.lower() if isinstance(value, str) else None
    if word == _NOT_CUT:
        return True
    if word in _CUT_AT_END | _CUT_AT_START:
        return bool(_keeps_end(key, value))
    return not flag(key, value)


def _keeps_end(key: str, value: Any) -> bool | None:  # noqa: ANN401 any JSON value
    """Return true where the end of a long text may not be lost: only the end can be cut here."""
    word = value.lower() if isinstance(value, str) else None
    if word in _CUT_AT_END | _CUT_AT_START:
        return word in _CUT_AT_START or None
    raise RequestError(f"[{key}] must be left or right")


OPTIONS: dict[str, Option] = {
    "model": Option("model", _name),
    "top_n": Option("top_n", count),
    "top_k": Option("top_n", count),
    "raw_scores": Option("raw_scores", flag),
    "use_activation": Option("raw_scores", _no_flag),
    "activation": Option("raw_scores", _no_flag),
    "return_documents": Option("with_texts", flag),
    "return_text": Option("with_texts", flag),
    "truncate": Option("whole", _not_cut),
    "truncation": Option("whole", _not_cut),
    "truncation_direction": Option("whole", _keeps_end),
    "truncation_side": Option("whole", _keeps_end),
    "max_chunks_per_doc": Option("chunks", count),
    "rank_fields": Option("rank_fields", _names),
}
"""The optional keys that have an effect. ``top_k`` and ``truncation`` are Voyage's, ``raw_scores``,
``return_text``, ``truncate`` and ``truncation_direction`` TEI's, ``use_activation``, ``activation`` (older)
and ``truncation_side`` vLLM's, ``max_chunks_per_doc`` and ``rank_fields`` are
Cohere's."""
