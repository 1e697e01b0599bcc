"""Makes a document of a record: of a JSON object, or of a row of a table."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from es_rerank.collection import RECORD_SHAPE, Document, as_document
from es_rerank.errors import SourceError

from ..rejects import Reject
from .fields import Fields, Plan, plan_of, value_at, without
from .files import TABLES, FoundFile

_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
"""Corpora in BEIR layout: the judgements count their empty documents too."""


def document_of(record: dict[str, Any], file: FoundFile, line: int | None) -> Document:
    """Return the document of a JSON object.

    Without options, a record with ``text`` is read as the corpus of a BEIR collection is (``as_document``).
    A record without an id gets one that is computed from its content. Raises SourceError for a record that
    is no document.
    """
    if file.fields == Fields() and "text" in record:
        document = usual_document(record, file, line)
        if not (document.text.strip() or document.title.strip() or file.path.name in _CORPUS):
            raise file.fault("its text and its title are empty", line)
        return document
    plan = plan_of(record, file.fields)
    if isinstance(plan, str):
        _note_fields(record, file)
        raise file.fault(f"it is no document: {plan}. {RECORD_SHAPE}", line)
    if plan.guessed:
        file.tell(plan.told())
    return planned_document(record, plan, file, line)


def document_of_row(record: dict[str, Any], file: FoundFile, line: int | None) -> Document:
    """Return the document of a row of a table that stands in a rejects file, with all its columns.

    Raises SourceError for a row that is no document.
    """
    plan = plan_of(record, file.fields, guess=True)
    if isinstance(plan, str):
        raise file.fault(f"it is no document: {plan}", line)
    kept = {name: value for name, value in record.items() if value != "" or name in plan.text}
    if isinstance(kept.get("metadata"), str | int | float):  # as ``_metadata`` reads it in a table
        kept["metadata"] = {"metadata": kept["metadata"]}
    return planned_document(kept, plan, file, line)


def usual_document(record: dict[str, Any], file: FoundFile, line: int | None) -> Document:
    """Return the document of a JSON object whose fields have the usual names.

    Raises SourceError for a record that is no document.
    """
    identified = (
        record if record_id(record) is not None else {**record, "_id": _content_id(record, file, line)}
    )
    try:
        return as_document(identified, file.shown, line or 0)
    except SourceError as error:
        raise SourceError(f"{error.message}. {RECORD_SHAPE}", path=error.path, line=line) from error


def planned_document(record: dict[str, Any], plan: Plan, file: FoundFile, line: int | None) -> Document:
    """Return the document of a record whose fields are read as ``plan`` says.

    Raises SourceError for a record that is no document.
    """
    _note_fields(record, file)
    if takes_other_id(record, plan, file.fields):
        record, plan = without(record, "_id"), plan._replace(id="id")
    values = [(name, value_at(record, name)) for name in plan.text]
    texts = [_text(name, value, file, line) for name, value in values if value is not None]
    title_value = value_at(record, plan.title) if plan.title else None
    title = _text(plan.title or "", title_value, file, line) if title_value is not None else ""
    if not texts:
        shown = ", ".join(record) or "none"
        raise file.fault(f"it has no field {' or '.join(plan.text)}; its fields are: {shown[:1000]}", line)
    if not (title.strip() or any(text.strip() for text in texts)):
        raise file.fault("its text and its title are empty", line)
    return Document(
        _identifier(record, plan, file, line),
        title,
        "\n\n".join(text for text in texts if text.strip()),
        _metadata(record, plan, file, line),
    )


def _note_fields(record: dict[str, Any], file: FoundFile) -> None:
    """Note which of the fields that the caller named a record has, also if it is no document."""
    file.notes.found.update(
        name for name in file.fields.named() if value_at(record, name) not in (None, {}, [])
    )


def takes_other_id(record: dict[str, Any], plan: Plan, fields: Fields) -> bool:
    """Return whether ``id`` is the id of a record because its ``_id`` is null or not there."""
    without_option = plan.id == "_id" and fields.id is None
    return without_option and record.get("_id") is None and record.get("id") is not None


def _text(name: str, value: Any, file: FoundFile, line: int | None) -> str:  # noqa: ANN401 any JSON value
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [_text(name, item, file, line) for item in value if item is not None]
        return "\n\n".join(part for part in parts if part.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise file.fault(f'"{name}" must be a text or a list of texts, found {type(value).__name__}', line)


def _identifier(record: dict[str, Any], plan: Plan, file: FoundFile, line: int | None) -> str:
    value = value_at(record, plan.id) if plan.id else None
    if value is None and file.fields.id is None:
        return _content_id(record, file, line)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise file.fault(
            f'"{plan.id}" must be a non-empty string or a whole number, found {repr(value)[:100]}', line
        )
    return str(value)


def _metadata(record: dict[str, Any], plan: Plan, file: FoundFile, line: int | None) -> dict[str, Any]:
    left = record
    for name in (*plan.text, plan.title, plan.id):
        if name is not None:
            left = without(left, name)
    nested = left.get("metadata")
    if isinstance(nested, str | int | float) and file.suffix in TABLES:
        nested = {"metadata": nested}  # a column of a table cannot hold an object
    if nested is not None and not isinstance(nested, dict):
        raise file.fault(f'"metadata" must be an object, found {type(nested).__name__}', line)
    left = {**{key: value for key, value in left.items() if key != "metadata"}, **(nested or {})}
    if file.fields.metadata is None:
        return left
    chosen = {}
    for name in file.fields.metadata:
        value = next(
            (value for value in (value_at(left, name), value_at(record, name)) if value is not None), None
        )
        if value is not None:
            chosen[name] = value
            file.notes.found.add(name)
    return chosen


def _content_id(record: dict[str, Any], file: FoundFile, line: int | None) -> str:
    """Return an id that is computed from the content: the same record always gets the same."""
    try:
        content = json.dumps(record, sort_keys=True)
    except RecursionError as error:
        raise file.fault(f"its objects are nested too deep ({error})", line) from error
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def record_id(record: dict[str, Any] | str) -> str | None:
    """Return the id that a record itself has, else None."""
    if isinstance(record, str):
        return None
    identifier = record.get("id") if record.get("_id") is None else record["_id"]
    return None if identifier is None else str(identifier)


def record_reject(fault: SourceError, record: dict[str, Any] | str, file: FoundFile) -> Reject:
    """Return the reject of one record of a file."""
    identifier = record_id(record)
    if isinstance(record, dict) and file.fields.id:
        named = value_at(record, file.fields.id)
        identifier = None if named is None else str(named)
    return Reject(fault.message, record, identifier, str(file.path), fault.line)
