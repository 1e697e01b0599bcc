"""Takes from the answer of a search the passages for a prompt. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...text.selection import RankedPassage
from ...types import Passage
from .index_schema import IndexSchema

DEFAULT_FIELDS = ("title", "text")
"""The fields that ``es-rerank ingest`` fills and the short form reads."""


def passages_of(response: Mapping[str, Any], fields: Sequence[str] = DEFAULT_FIELDS) -> list[RankedPassage]:
    """Return the passages of the hits of a response, best first, each with the score of its hit.

    A hit with ``rerank.passage`` gives this passage. Any other hit gives the text of the last of ``fields``
    in its ``_source``: each stored passage if the field is in nested objects with ``start`` and ``end``, else
    the whole value, or an empty text if the field is missing. The other ``fields`` are the context of the
    passage. ``start`` and ``end`` are character offsets in the source text, or (0, 0) if unknown.
    """
    *context, text = fields
    return [passage for hit in response["hits"]["hits"] for passage in _passages(hit, context, text)]


def source_for(fields: Sequence[str], schema: IndexSchema) -> bool | dict[str, list[str]]:
    """Return the ``_source`` parameter that fetches what ``passages_of`` needs, without vectors.

    Returns True (the whole ``_source``) when the mapping may not be read.
    """
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
    # For a multi-field, ``_source`` holds its parent.
    return [field] if schema.types.get(parent, "object") == "object" else [parent]


def _passages(hit: Mapping[str, Any], context: Sequence[str], field: str) -> Iterator[RankedPassage]:
    source = hit.get("_source") or {}
    before = "\n".join(value for name in context if (value := _joined(_values(source, name))))
    for text, start, end in _reranked(hit) or _stored(source, field):
        yield RankedPassage(hit["_index"], hit["_id"], text, start, end, before, hit.get("_score"))


def _reranked(hit: Mapping[str, Any]) -> list[Passage]:
    return [_passage(passage["text"], passage) for passage in hit.get("fields", {}).get("rerank.passage", [])]


def _stored(source: Mapping[str, Any], field: str) -> list[Passage]:
    path, _, name = field.rpartition(".")
    objects = [value for value in _values(source, path) if isinstance(value, Mapping)] if path else []
    stored = [_passage(entry[name], entry) for entry in objects if isinstance(entry.get(name), str)]
    if len(stored) > 1 or any(passage.end for passage in stored):
        return stored
    return [_whole(list(_values(source, field)))]


def _passage(text: str, offsets: Mapping[str, Any]) -> Passage:
    start, end = offsets.get("start"), offsets.get("end")
    return (
        Passage(text, start, end) if isinstance(start, int) and isinstance(end, int) else Passage(text, 0, 0)
    )


def _whole(values: Sequence[Any]) -> Passage:
    """Return the values of a field as one text, the text that the reranker reads.

    Offsets are known only if the value is a single string.
    """
    text = _joined(values)
    return Passage(text, 0, len(text) if len(values) == 1 and isinstance(values[0], str) else 0)


def _values(value: Any, path: str) -> Iterator[Any]:  # noqa: ANN401 any JSON value
    """Yield the values at a dotted path of ``_source``.

    A key may itself contain dots. All elements of an array are searched. A multi-field has the text of its
    parent.
    """
    if isinstance(value, list):
        for element in value:
            yield from _values(element, path)
    elif isinstance(value, Mapping) and path:
        for key, inner in value.items():
            if key == path or path.startswith(f"{key}."):
                yield from _values(inner, path[len(key) + 1 :])
    elif not path or isinstance(value, str):
        yield value


def _joined(values: Any) -> str:  # noqa: ANN401 any iterable of JSON values
    return "\n".join(str(value) for value in values if value is not None and not isinstance(value, Mapping))
