"""Converts values of a retriever tree as Elasticsearch's parser does.

It accepts a number or a boolean that is written as a string, and a single text where a list is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ...types import Aggregation
from .faults import ILLEGAL, JSON, PARSING, content_fault, illegal_argument, token_of, wrong_type
from .scalars import NotTakenError, as_boolean, as_integer, as_number, written
from .tree import Normalizer

_MAY_BE_NULL = frozenset({"chunking_settings"})

_NORMALIZERS: tuple[Normalizer, ...] = ("none", "minmax", "l2_norm")


def read_value(kind: str, key: str, value: Any, path: str) -> Any:  # noqa: ANN401 any JSON value may arrive
    """Return the value of ``key`` converted as Elasticsearch's parser does (see the module's description).

    Raises RetrieverParsingError when Elasticsearch's parser does not accept the value.
    """
    if value is None and key not in _MAY_BE_NULL:
        raise wrong_type(kind, key, value, path)
    try:
        return _READERS[key](value) if key in _READERS else value
    except NotTakenError as error:
        if error.cause is None:
            raise wrong_type(kind, key, value, path) from error
        raise content_fault(f"[{kind}] failed to parse field [{key}]", path, error.cause) from error


def _texts(value: object) -> list[str]:
    """Return a list of texts. Numbers and booleans in the list become their JSON text."""
    texts = []
    for item in as_list(value):
        if not isinstance(item, (str, int, float)):
            raise NotTakenError(
                (ILLEGAL, f"Expected text but found {token_of(item)}") if isinstance(value, list) else None
            )
        texts.append(str(item).lower() if isinstance(item, bool) else str(item))
    return texts


def _queries(value: object) -> object:
    if isinstance(value, list) and not all(isinstance(query, dict) for query in value):
        raise NotTakenError((PARSING, "[_na] query malformed, must start with start_object"))
    return value


def _vector(value: object) -> object:
    if isinstance(value, dict):
        raise NotTakenError((PARSING, "Unknown type [START_OBJECT] for parsing vector"))
    return [_dimension(number) for number in value] if isinstance(value, list) else value


def _dimension(value: object) -> float:
    try:
        return as_number(value)
    except NotTakenError as error:
        raise NotTakenError(
            error.cause or (PARSING, f"Type [{token_of(value)}] not supported for query vector")
        ) from error


def _aggregation(value: object) -> Aggregation:
    """Return the aggregation of passages that a value means: a name, or ``{"top_k_mean": k}``."""
    if isinstance(value, str) and value in {"max", "first", "mean"}:
        return Aggregation(value)  # type: ignore[arg-type] # one of its names
    if isinstance(value, dict) and set(value) == {"top_k_mean"}:
        count = as_integer(value["top_k_mean"])
        if count < 1:
            raise NotTakenError((ILLEGAL, f"[top_k_mean] must be greater than 0, was: {count}"))
        return Aggregation("top_k_mean", count)
    raise NotTakenError(
        (ILLEGAL, f'Unknown aggregation [{value}]; use "max", "first", "mean" or {{"top_k_mean": k}}')
    )


_READERS: dict[str, Callable[[object], Any]] = {
    **dict.fromkeys(
        ("k", "num_candidates", "rank_constant", "rank_window_size", "size", "terminate_after"), as_integer
    ),
    **dict.fromkeys(("min_probability", "min_score", "similarity", "visit_percentage", "weight"), as_number),
    **dict.fromkeys(("fields", "ids"), _texts),
    "aggregation": _aggregation,
    "allow_rerank_failures": as_boolean,
    "blend": as_boolean,
    "filter": _queries,
    "query_vector": _vector,
}


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 one value or several
    """Return a list or tuple as a list, None as an empty list, and any other value as a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def with_window_size(rescore: dict[str, Any], path: str) -> dict[str, Any]:
    """Return one entry of ``rescore`` with its ``window_size`` converted to an integer.

    Raises RetrieverParsingError when Elasticsearch does not accept the ``window_size``.
    """
    window = rescore["window_size"]
    try:
        return {**rescore, "window_size": as_integer(window)}
    except NotTakenError as error:
        token = f"VALUE_{window}".upper() if isinstance(window, bool) else token_of(window)
        odd = (PARSING, f"unexpected token [{token}] after [window_size]")
        if isinstance(window, bool):
            odd = (
                JSON,
                f"Current token ({token}) not numeric, can not use numeric value accessors",
            )
        raise content_fault("[rescorer] failed to parse field [rescore]", path, error.cause or odd) from error


def read_weight(kind: str, entry: dict[str, Any], path: str) -> float:
    """Return the weight of one of several retrievers; 1 if ``entry`` has none.

    Raises RetrieverParsingError when the weight is not a number or is infinite.
    """
    weight = float(read_value(kind, "weight", entry.get("weight", 1.0), path))
    if math.isinf(weight):
        raise illegal_argument(f"[weight] of [{kind}] must be finite, found [{weight}]", path)
    return weight


def read_normalizer(kind: str, name: Any, path: str) -> Normalizer:  # noqa: ANN401 any JSON value may arrive
    """Return the normalizer that a name means, upper or lower case (observed on Elasticsearch 9.5).

    Raises RetrieverParsingError for any other name.
    """
    if not isinstance(name, str):
        raise wrong_type(kind, "normalizer", name, path)
    normalizer: Normalizer | None = next((known for known in _NORMALIZERS if known == name.lower()), None)
    if normalizer is None:
        raise illegal_argument(
            f"Unknown normalizer [{name}]; the normalizers are {', '.join(_NORMALIZERS)}", path
        )
    return normalizer


def check_minimum(kind: str, key: str, value: float | None, path: str) -> None:
    """Check a minimum of a retriever that es-rerank runs; None is no minimum.

    Raises RetrieverParsingError when it is NaN or infinite, or negative in a linear retriever.
    """
    if value is None:
        return
    if not math.isfinite(value):
        raise illegal_argument(
            f"[{key}] of [{kind}] must be a number, found [{written(value)}]; leave it out for no minimum",
            path,
        )
    if kind == "linear" and value < 0:
        raise illegal_argument(
            f"[{key}] must be greater than or equal to 0, was: [{float(value)}]; leave it out for no minimum",
            path,
        )


def field_weights(kind: str, fields: Iterable[str], path: str) -> dict[str, float]:
    """Return the weight of each field of a multi-field query: the number after ``^``, or 1.

    Raises RetrieverParsingError when a weight is not a finite number from 0 on.
    """
    weights = {}
    for field in fields:
        name, caret, weight = field.partition("^")
        try:
            weights[name] = as_number(weight) if caret else 1.0
        except NotTakenError as error:
            raise content_fault(
                f"[{kind}] [fields] holds [{field}], whose weight is not a number", path, error.cause
            ) from error
        if weights[name] < 0:
            raise illegal_argument(f"[{kind}] per-field weights must be non-negative", path)
        if not math.isfinite(weights[name]):
            raise illegal_argument(f"[{kind}] [fields] holds [{field}], whose weight is not finite", path)
    return weights
