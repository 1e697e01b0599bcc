"""Which fields of a record are its text, title, id and metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from es_rerank.errors import SettingsError

_TEXTS = ("text", "content", "body", "正文", "内容")
_TITLES = ("title", "headline", "name", "标题")
_IDS = ("_id", "id")


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of fields that the caller chose. A dotted name is a path into nested objects.

    Several ``text`` fields are joined by a blank line. ``metadata`` None means all other fields.
    """

    text: tuple[str, ...] = ()
    title: str | None = None
    id: str | None = None
    metadata: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raise SettingsError where a name is blank or occurs twice, or ``metadata`` names no field."""
        for option, names in (
            ("--text-field", self.text),
            ("--title-field", () if self.title is None else (self.title,)),
            ("--id-field", () if self.id is None else (self.id,)),
            ("--metadata", self.metadata or ()),
        ):
            if any(not name.strip() for name in names) or len(set(names)) < len(names):
                raise SettingsError(
                    f"{option} must name a field, each once, found {', '.join(map(repr, names))}"
                )
        if self.metadata == ():
            raise SettingsError("the fields that become metadata are none; None means all")

    def named(self) -> list[str]:
        """Return all names that the caller chose."""
        single = [name for name in (self.title, self.id) if name is not None]
        return [*self.text, *single, *(self.metadata or ())]


class Plan(NamedTuple):
    """The fields that are read as text, title and id. ``guessed`` are those with other names."""

    text: tuple[str, ...]
    title: str | None
    id: str | None
    guessed: tuple[str, ...] = ()

    def told(self) -> str:
        """Return what is told of guessed names."""
        read = [
            f'"{name}" as {role}'
            for role, names in (("text", self.text), ("title", [self.title]), ("id", [self.id]))
            for name in names
            if name in self.guessed
        ]
        return f"reads {', '.join(read)}; --text-field, --title-field and --id-field name others"


def plan_of(names: Iterable[str], fields: Fields, *, guess: bool = False) -> Plan | str:
    """Return the plan for a record with fields of these names, or why there is none.

    The names ``text``, ``title``, ``_id`` and ``id`` need no option. Where there is no ``text``, one field
    whose name says that it is the text is taken, and likewise a title; with ``guess`` also where ``text`` is
    there.
    """
    known = list(names)
    guessed = []
    text = fields.text or (("text",) if "text" in known else ())
    guess = guess or not text
    if not text:
        found = _named(known, _TEXTS)
        if len(found) != 1:
            several = f"both {' and '.join(found)} may be the text" if found else "none of them is the text"
            shown = ", ".join(name[:_LONGEST] for name in known[:_SHOWN]) + (
                ", …" if len(known) > _SHOWN else ""
            )
            return f"its fields are {shown or 'none'}; {several}; name it by --text-field"
        text = (found[0],)
        guessed.append(found[0])
    title = fields.title or ("title" if "title" in known else None)
    identifier = fields.id or next((name for name in _IDS if name in known), None)
    if guess:
        for role, candidates in (("title", _TITLES), ("id", _IDS)):
            found = _first([name for name in _named(known, candidates) if name not in text], candidates)
            if len(found) == 1 and (title if role == "title" else identifier) is None:
                guessed.append(found[0])
                title, identifier = (found[0], identifier) if role == "title" else (title, found[0])
    return Plan(text, title, identifier, tuple(guessed))


_SHOWN, _LONGEST = 30, 100
"""Most names of fields in a message, and most characters of one: a table may have no header."""


def _named(names: list[str], wanted: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.strip().casefold() in wanted]


def title_named(names: Iterable[str]) -> str | None:
    """Return the one field whose name says that it is the title, None if none or several do."""
    found = _first(_named(list(names), _TITLES), _TITLES)
    return found[0] if len(found) == 1 else None


def _first(found: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return those of the names that are the first of ``wanted`` that any of them is."""
    best = min((wanted.index(name.strip().casefold()) for name in found), default=0)
    return [name for name in found if name.strip().casefold() == wanted[best]]


def value_at(record: dict[str, Any], name: str) -> Any:  # noqa: ANN401 any JSON value
    """Return the value of a field, None where there is none. ``a.b`` is the field ``b`` of the object ``a``.

    A field of this very name comes first. Of a list of objects, the values of all of them are a list.
    """
    if name in record:
        return record[name]
    for head, rest in _splits(name):
        inner = record.get(head)
        if isinstance(inner, dict):
            value = value_at(inner, rest)
        elif isinstance(inner, list):
            inside = [value_at(item, rest) for item in inner if isinstance(item, dict)]
            value = [item for item in inside if item is not None] or None
        else:
            value = None
        if value is not None:
            return value
    return None


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the record without a field, and without an object that is empty then. It is copied."""
    if name in record:
        return {key: value for key, value in record.items() if key != name}
    for head, rest in _splits(name):
        inner = record.get(head)
        if isinstance(inner, dict) and value_at(inner, rest) is not None:
            return _with(record, head, without(inner, rest))
        if isinstance(inner, list) and value_at(record, name) is not None:
            left = [without(item, rest) if isinstance(item, dict) else item for item in inner]
            return _with(record, head, [item for item in left if item != {}])
    return record


def _with(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 any JSON value
    rest = {key: other for key, other in record.items() if key != name}
    return {**rest, name: value} if value not in ({}, []) else rest


def _splits(name: str) -> Iterator[tuple[str, str]]:
    start = name.find(".")
    while start >= 0:
        yield name[:start], name[start + 1 :]
        start = name.find(".", start + 1)
