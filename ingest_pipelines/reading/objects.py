"""Reads documents that a Python program holds: dicts, and the documents of LangChain and LlamaIndex."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from es_rerank.collection import Document, as_document
from es_rerank.errors import SourceError

from ..rejects import Reject
from .fields import Fields, plan_of
from .files import FoundFile
from .plain_values import NoMetadataError, plain_metadata
from .records import planned_document, record_id

_MOST_SHOWN = 1000
"""Most characters that a reject shows of an object of another kind."""

_NOWHERE = Path("-")


def documents_of(items: Iterable[Any]) -> Iterator[Document | Reject]:
    """Yield the document of each item, one at a time: a generator stays a stream.

    An item is

    - a ``Document`` or a ``Reject``, which stays as it is,
    - a dict as a JSON line is: ``{"_id", "title", "text", "metadata"}``; all other keys are metadata too,
    - a document of LangChain: ``page_content``, ``metadata``, ``id``,
    - a document or node of LlamaIndex: its text, ``metadata``, ``id_``. A node with a score stands for its
      node. Relationships to other nodes and vectors are dropped.

    These packages need not be installed. ``title`` of the metadata becomes the title. An item without an id
    gets one that is computed from its content; the random id that LlamaIndex gives is none. Values of
    metadata that JSON does not have become text (see ``plain_metadata``). Any other item gives a Reject that
    names its place and type.

    Raises SourceError for one document where many are expected.
    """
    many = isinstance(items, Iterable) or hasattr(items, "__getitem__")  # as a Dataset of torch
    if isinstance(items, str | bytes | Mapping | Document | Reject) or not many:
        raise SourceError(
            f"an iterable of documents is expected, such as a list, found one {type(items).__name__}"
        )
    return (_document_of(item, number) for number, item in enumerate(items, 1))


def _document_of(item: Any, number: int) -> Document | Reject:  # noqa: ANN401 any object
    if isinstance(item, Document | Reject):
        return item
    try:
        if isinstance(item, Mapping):
            return _of_mapping(item)
        return _of_attributes(item)
    except (SourceError, NoMetadataError) as error:
        return _reject(str(error), item, number)
    except Exception as error:  # noqa: BLE001 the attributes of an object may fail in any way
        return _reject(f"{type(error).__name__}: {error}", item, number)


def _of_mapping(item: Mapping[Any, Any]) -> Document:
    for name in ("text", "title", "_id", "id"):
        _check_plain(name, item.get(name))
    record = plain_metadata(item)
    if "text" not in record:
        return _of_other_names(item, record)
    if record_id(record) is None:
        record["_id"] = _content_id(record)
    try:
        return as_document(record, _NOWHERE, 0)
    except SourceError as error:
        raise SourceError(error.message.removeprefix(f"{_NOWHERE}, line 0: ")) from error


def _of_other_names(item: Mapping[Any, Any], record: dict[str, Any]) -> Document:
    """Return the document of a dict whose text is named otherwise, as it is of such a line of JSON."""
    plan = plan_of(record, Fields())
    if isinstance(plan, str):
        raise SourceError(f'it is no document: {plan.partition("; name it by")[0]}; name it "text"')
    for name, role in ((plan.text[0], "text"), (plan.title, "title"), (plan.id, "id")):
        _check_plain(role, item.get(name))
    try:
        return planned_document(record, plan, FoundFile(_NOWHERE, ""), None)
    except SourceError as error:
        raise SourceError(error.message.removeprefix("standard input: ")) from error


def _check_plain(name: str, value: Any) -> None:  # noqa: ANN401 any object
    """Raise SourceError where a text or an id would become what the caller cannot mean, as NaN of pandas."""
    if name in ("text", "title"):
        fits = value is None or isinstance(value, str)
    else:
        as_python = getattr(value, "tolist", None)
        plain = as_python() if callable(as_python) and not isinstance(value, type) else value
        fits = not isinstance(plain, float | bytes | bytearray | memoryview)
    if not fits:
        raise SourceError(f'"{name}" must be a text, found {type(value).__name__}')


def _of_attributes(item: Any) -> Document:  # noqa: ANN401 any object
    inner = getattr(item, "node", None)
    if inner is not None and hasattr(item, "score"):
        return _of_attributes(inner)
    text = _text_of(item)
    metadata = getattr(item, "metadata", None)
    if text is None or not isinstance(metadata, Mapping):
        raise SourceError(
            f"an object of type {type(item).__module__}.{type(item).__qualname__} is no document; "
            'a dict with "text", or a document of LangChain or LlamaIndex is one'
        )
    said = plain_metadata(metadata)
    title = said.pop("title") if isinstance(said.get("title"), str) else ""
    if not (text.strip() or title.strip()):
        raise SourceError("its text and its title are empty")
    names = () if _has_random_id(item) else ("id_", "node_id", "id")
    ids = (getattr(item, name, None) for name in names)
    identifier = next((each for each in ids if isinstance(each, str | int) and each != ""), None)
    if identifier is None:
        identifier = _content_id({"title": title, "text": text, "metadata": said})
    return Document(str(identifier), title, text, said)


def _has_random_id(item: Any) -> bool:  # noqa: ANN401 any object
    """Return whether nobody named the id of a document of LlamaIndex: it is another one in each run then."""
    named = getattr(item, "model_fields_set", None)
    return isinstance(named, set) and "id_" in getattr(type(item), "model_fields", ()) and "id_" not in named


def _text_of(item: Any) -> str | None:  # noqa: ANN401 any object
    """Return the text of a document, None for an object that is none."""
    if isinstance(item, type):
        return None
    for holder, name in (
        (item, "page_content"),
        (item, "text"),
        (getattr(item, "text_resource", None), "text"),
    ):
        text = getattr(holder, name, None)
        if isinstance(text, str):
            return str(text)
    return None


def _content_id(record: dict[str, Any]) -> str:
    content = json.dumps(record, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _reject(reason: str, item: Any, number: int) -> Reject:  # noqa: ANN401 any object
    shown: dict[str, Any] | str
    if isinstance(item, Mapping):
        shown = {str(key): value for key, value in item.items()}
        identifier = record_id(shown)
    else:
        identifier = None
        try:
            shown = repr(item)[:_MOST_SHOWN]
        except Exception:  # noqa: BLE001 as above
            shown = f"<{type(item).__qualname__}>"
    return Reject(f"item {number}: {reason}", shown, identifier)
