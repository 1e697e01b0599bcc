"""Builds a part of a retriever tree from its JSON object. Errors use Elasticsearch's sentences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ...errors import RetrieverParsingError
from .faults import content_fault, required_fields, token_of, unknown_field, wrong_type
from .values import read_value

Model = TypeVar("Model", bound=BaseModel)


def model_of(model: type[Model], kind: str, content: Any, path: str) -> Model:  # noqa: ANN401 any JSON value may arrive
    """Return the instance of ``model`` that a JSON object describes. ``kind`` is its name in messages.

    Raises RetrieverParsingError, in Elasticsearch's words, when ``content`` is not an object, holds an
    unknown key or a value that is not accepted, or lacks a required key.
    """
    if not isinstance(content, dict):
        raise content_fault(f"[{kind}] Expected START_OBJECT but was: {token_of(content)}", path)
    known = {field.alias or name for name, field in model.model_fields.items()}
    # Keep one key more than the model knows. If there are that many keys, at least one is unknown and is
    # reported. A body with very many keys then costs no more time.
    content = dict(islice(content.items(), len(known) + 1))
    values, faults = dict(content), {}
    for key in known.intersection(content):
        try:
            values[key] = read_value(kind, key, content[key], path)
        except RetrieverParsingError as error:
            faults[key] = error
            del values[key]  # else pydantic would report each entry of a list again
    try:
        node = model.model_validate(values)
    except ValidationError as error:
        raise _first_fault(
            _in_elastic_words(model, kind, content, error.errors(), path) | faults, content
        ) from error
    if faults:
        raise _first_fault(faults, content)
    return node


def _first_fault(faults: dict[str, RetrieverParsingError], content: dict[str, Any]) -> RetrieverParsingError:
    """Return the error that Elasticsearch reports first.

    Elasticsearch reads the keys in the order of the body. After the last key it checks for missing keys.
    """
    return next(faults[key] for key in (*content, "") if key in faults)


def _in_elastic_words(
    model: type[BaseModel], kind: str, content: dict[str, Any], faults: Sequence[ErrorDetails], path: str
) -> dict[str, RetrieverParsingError]:
    """Return pydantic's errors in Elasticsearch's words, by key.

    All missing keys together are one error, under the key ``""``.
    """
    names = [field.alias or name for name, field in model.model_fields.items()]
    errors = {}
    for fault in faults:
        if not fault["loc"]:  # a key that is no text, or holds half a surrogate pair
            key = next(key for key in content if key not in names)
            errors[key] = unknown_field(kind, str(key), names, path)
            continue
        key = str(fault["loc"][0])
        if fault["type"] == "extra_forbidden":
            errors[key] = unknown_field(kind, key, names, path)
        elif fault["type"] != "missing":
            errors.setdefault(key, wrong_type(kind, key, content[key], path))
    missing = [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing"]
    return errors | ({"": required_fields(missing, path)} if missing else {})
