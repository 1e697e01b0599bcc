"""From the answer of a search to the passages that a prompt is made of. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...text.selection import RankedPassage
from ...types import Passage
from .index_schema import IndexSchema

DEFAULT_FIELDS = ("title", "text")
"""What ``es-rerank ingest`` fills and the short form reads of its documents."""


def passages_of(response: Mapping[str, Any], fields: Sequence[str] = DEFAULT_FIELDS) -> list[RankedPassage]:
    """Return the passages that the hits of a response say, best first, with the hits' scores.

    Of a hit with ``rerank.passage`` that passage; of any other the text of the last of ``fields`` in its ``_source``:
    every passage stored there, where the field is one of nested objects with ``start`` and ``end``, the whole value
    otherwise, and no text where it has none. The ``fields`` before the last are its context. Offsets are (0, 0) where
    they are not known.
    """
    *context, text = fields
    return [passage for hit in response["hits"]["hits"] for passage in _passages(hit, context, text)]


def source_for(fields: Sequence[str], schema: IndexSchema) -> bool | dict[str, list[str]]:
    """Return which part of ``_source`` ``passages_of`` needs: no vectors, for one; all of it where the mapping may not be read."""
    return (
        {"includes": [name for field in fields for name in _stored_under(field, schema)]}
        if schema.known
        else True
    )


def _stored_under(field: str, schema: IndexSchema) -> list[str]:
    path = schema.nested_path(field)
    if path:
        return [field, f"{path}.start", f"{path}.end"]
    parent = field.rpartition(".")[0]
    return (
        [field] if schema.types.get(parent, "object") == "object" else [parent]
    )  # of a multi-field its parent is stored


def _passages(hit: Mapping[str, Any], context: Sequence[str], field: str) -> Iterator[RankedPassage]:
    source = hit.get("_source") or {}
    before = "\n".join(value for name in context if (value := _joined(_values(source, name))))
    for text, start, end in _reranked(hit) or _stored(source, field):
        yield RankedPassage(hit["_index"], hit["_id"], text, start, end, before, hit.get("_score"))


def _reranked(hit: Mapping[str, Any]) -> list[Passage]:
    return [_passage(found["text"], found) for found in hit.get("fields", {}).get("rerank.passage", [])]


def _stored(source: Mapping[str, Any], field: str) -> list[Passage]:
    path, _, name = field.rpartition(".")
    objects = [each for each in _values(source, path) if isinstance(each, Mapping)] if path else []
    stored = [_passage(each[name], each) for each in objects if isinstance(each.get(name), str)]
    return (
        stored
        if len(stored) > 1 or any(passage.end for passage in stored)
        else [_whole(list(_values(source, field)))]
    )


def _passage(text: str, place: Mapping[str, Any]) -> Passage:
    start, end = place.get("start"), place.get("end")
    return (
        Passage(text, start, end) if isinstance(start, int) and isinstance(end, int) else Passage(text, 0, 0)
    )


def _whole(values: Sequence[Any]) -> Passage:
    """Return a field's values as one text, as the reranker reads it; only a single string has offsets."""
    text = _joined(values)
    return Passage(text, 0, len(text) if len(values) == 1 and isinstance(values[0], str) else 0)


def _values(value: Any, path: str) -> Iterator[Any]:  # noqa: ANN401 any JSON value
    """Yield what stands at a dotted path: keys may themselves hold dots, arrays are walked, and a multi-field is its parent's text."""
    if isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    elif isinstance(value, Mapping) and path:
        for key, inner in value.items():
            if key == path or path.startswith(f"{key}."):
                yield from _values(inner, path[len(key) + 1 :])
    elif not path or isinstance(value, str):
        yield value


def _joined(values: Any) -> str:  # noqa: ANN401 any iterable of JSON values
    return "\n".join(str(value) for value in values if value is not None and not isinstance(value, Mapping))
