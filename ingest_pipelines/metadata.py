"""Chooses how metadata are indexed, so that numbers filter as numbers and no value refuses its document.

Elasticsearch gives a field the type of its first value. What follows is then truncated (1.5 becomes 1),
refused together with its document, or compared as text. Here the ingest chooses the type from the values of a
whole batch. A value of another type is indexed in a sub-field and counted. This module does not call
Elasticsearch.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, NamedTuple

Kind = Literal["number", "long", "date", "boolean", "text"]
"""Kinds of values. ``long``: a whole number that a double cannot hold exactly."""

KEYWORD_LIMIT = 1024
"""Maximum length of a metadata string that searches can filter by, in UTF-16 code units, as Elasticsearch 9.5
counts for ``ignore_above`` (9.1 counts characters). A longer string is stored and returned, but not indexed.
Lucene's own limit is 32766 bytes."""

MOST_FIELDS = 950
"""Most metadata fields that are indexed, sub-fields included: Elasticsearch's default for
``index.mapping.total_fields.limit`` is 1000, and the other fields of the index need some of them."""

_LONGEST_NAME = 512
"""Most characters of the name of a field that is indexed."""

_EXACT = 2**53
"""A double holds every whole number up to this one."""

_LONG = 2**63

_DATES = (
    "strict_date_optional_time||yyyy-MM-dd HH:mm[:ss[.SSSSSS][.SSS]][XXX]"
    "||yyyy/MM/dd[ HH:mm[:ss[.SSSSSS][.SSS]][XXX]]"
)
"""Formats of strings in a field of dates: ISO 8601, the same with a space for the T, as Python and SQL write
it, and with slashes. All formats are one pattern, so that one field may hold both days and times."""

_MAPPINGS: dict[Kind, dict[str, Any]] = {
    "number": {"type": "double", "ignore_malformed": True},
    # Without coerce: false, Elasticsearch would index 1.5 as 1.
    "long": {"type": "long", "ignore_malformed": True, "coerce": False},
    "date": {"type": "date", "format": _DATES, "ignore_malformed": True},
    "boolean": {"type": "boolean", "ignore_malformed": True},
    "text": {"type": "keyword", "ignore_above": KEYWORD_LIMIT},
}
_KINDS: dict[str, Kind] = {mapping["type"]: kind for kind, mapping in _MAPPINGS.items()}
_SUB_FIELDS: dict[Kind, str] = {
    "number": "number",
    "long": "long",
    "date": "date",
    "boolean": "boolean",
    "text": "keyword",
}
_NAMES: dict[Kind, str] = {
    "number": "numbers",
    "long": "whole numbers beyond 2^53",
    "date": "dates",
    "boolean": "booleans",
    "text": "texts",
}

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_ZONE = r"(Z|[+-]\d\d(:?[0-5]\d(:?[0-5]\d)?)?)?"
_DAY = r"\d{4}-\d\d-\d\d"
_SLASHES = _DAY.replace("-", "/")
_DATE = re.compile(
    rf"{_DAY}(T([01]\d|2[0-3]|{_CLOCK}(:[0-5]\d([.,]\d{{1,9}})?)?){_ZONE})?"
    rf"|({_DAY}|{_SLASHES}) {_CLOCK}(:[0-5]\d(\.\d{{3}}|\.\d{{6}})?)?(Z|[+-]\d\d:[0-5]\d)?"
    rf"|{_SLASHES}",
    re.ASCII,
)
_PART_OF_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Unfit(NamedTuple):
    """Values of metadata that are stored but are not indexed as their field's type.

    ``field`` is the field, ``values`` the number of values. ``reason`` says why, and where searches find the
    values instead. If ``others`` is true, values of other fields are counted too.
    """

    field: str
    values: int
    reason: str
    others: bool = False

    def __str__(self) -> str:
        noun = "value" if self.values == 1 else "values"
        return f"{self.values} {noun} of {self.field}{' and others' if self.others else ''}: {self.reason}"


class UnfitValues:
    """Counts the values that an ingest stored but did not index as their field's type."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()
        self._first: dict[str, str] = {}  # reason to its first field, for values that have no field
        self._several: set[str] = set()

    def add(self, misfits: Iterable[tuple[str, str]], unmapped: Iterable[tuple[str, str]]) -> None:
        """Add (field, reason) of values in a field of another type, and of values without a field.

        Fields that are not in the mapping have no bound, so all with the same reason are counted as one.
        """
        self._values.update(misfits)
        for name, reason in unmapped:
            first = self._first.setdefault(reason, name)
            if name != first:
                self._several.add(reason)
            self._values[first, reason] += 1

    def counts(self) -> tuple[Unfit, ...]:
        """Return the counts, the largest first."""
        counts = [
            Unfit(name, values, reason, reason in self._several)
            for (name, reason), values in self._values.items()
        ]
        return tuple(sorted(counts, key=lambda unfit: (-unfit.values, unfit.field, unfit.reason)))


@dataclass(slots=True)
class _Field:
    """An indexed field: the kind of its values, and the kinds that have a sub-field."""

    kind: Kind
    also: set[Kind] = field(default_factory=set)

    def mapping(self) -> dict[str, Any]:
        subs = {_SUB_FIELDS[kind]: _MAPPINGS[kind] for kind in sorted(self.also)}
        return {**_MAPPINGS[self.kind], **({"fields": subs} if subs else {})}


class MetadataFields:
    """The metadata fields of an index. ``properties`` is what its mapping has for the object ``metadata``.

    A field with a type that the ingest does not choose was mapped by somebody else. It stays as it is.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._foreign = {
            path for path, definition in properties.items() if definition.get("type") not in _KINDS
        }
        self._fields = {
            path: _Field(
                _KINDS[definition["type"]],
                {
                    _KINDS[sub["type"]]
                    for sub in definition.get("fields", {}).values()
                    if sub["type"] in _KINDS
                },
            )
            for path, definition in properties.items()
            if path not in self._foreign
        }
        # Names of sub-fields too: an index cannot have two fields of one name.
        self._taken = {
            f"{path}.{name}"
            for path, definition in properties.items()
            for name in definition.get("fields", {})
        }

    def learn(self, batch: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the properties that the mapping needs for the metadata of these documents, often none.

        A new field gets the kind that most of its values have; of a tie: number, date, boolean, text. A field
        whose values are whole numbers, some beyond 2^53, is a ``long``. A field gets a sub-field for each
        further kind of its values. A list of objects gets a field too: without one, Elasticsearch reads no
        object of the list, and with one, it reads them all (observed on 9.5).
        """
        found: dict[str, Counter[Kind]] = {}
        fractions: set[str] = set()
        for metadata in batch:
            for path, value, lists in _leaves(metadata):
                if value != "" and _nameable(path):
                    for above in lists:
                        found.setdefault(above, Counter())
                    found.setdefault(path, Counter())[_kind_of(value)] += 1
                    if isinstance(value, float) and not value.is_integer():
                        fractions.add(path)
        changed = [path for path, kinds in found.items() if self._learn(path, kinds, path in fractions)]
        # A value may fit its field although it is of another kind, and needs no sub-field then.
        for metadata in batch:
            for path, value, _ in _leaves(metadata):
                entry = self._fields.get(path)
                if entry is not None and not _fits(entry.kind, value) and self._add(path, _kind_of(value)):
                    changed.append(path)
        return {path: self._fields[path].mapping() for path in changed}

    def _learn(self, path: str, kinds: Counter[Kind], fractions: bool) -> bool:  # noqa: FBT001
        if path in self._fields or path in self._taken or self._is_foreign(path) or self._full():
            return False
        numbers = kinds["number"] + kinds["long"]
        whole: Kind = "long" if kinds["long"] and not fractions else "number"
        votes: list[tuple[int, Kind]] = [
            (numbers, whole),
            (kinds["date"], "date"),
            (kinds["boolean"], "boolean"),
            (kinds["text"], "text"),
        ]
        only_objects: Kind = "text"
        self._fields[path] = _Field(max(votes, key=lambda vote: vote[0])[1] if kinds else only_objects)
        return True

    def _add(self, path: str, kind: Kind) -> bool:
        """Give a field a sub-field for values of this kind. Return whether it is new."""
        entry, name = self._fields[path], f"{path}.{_SUB_FIELDS[kind]}"
        if kind == entry.kind or kind in entry.also or name in self._fields or self._full():
            return False
        entry.also.add(kind)
        self._taken.add(name)
        return True

    def _is_foreign(self, path: str) -> bool:
        """Whether somebody else mapped this field, or an object above it, as with the type ``flattened``."""
        parts = path.split(".") if self._foreign else []
        return any(".".join(parts[:depth]) in self._foreign for depth in range(1, len(parts) + 1))

    def _full(self) -> bool:
        return len(self._fields) + len(self._foreign) + len(self._taken) >= MOST_FIELDS

    def unfit(self, metadata: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Return (field, reason) of each value that is not indexed under its field's own name: first of those
        in a field of another kind, then of those without a field.
        """
        misfits, unmapped = [], []
        for path, value, lists in _leaves(metadata):
            if self._is_foreign(path) or (value == "" and path not in self._fields):
                continue
            entry = self._fields.get(path)
            unread = [name for name in lists if name not in self._fields and name not in self._taken]
            if entry is None or unread:
                unmapped.append((f"metadata.{path}", self._no_field(unread[0] if unread else path)))
            elif value != "" and not _fits(entry.kind, value):
                misfits.append((f"metadata.{path}", self._misfit(path, entry, value)))
        return misfits, unmapped

    def _no_field(self, path: str) -> str:
        if path in self._taken:
            return "not indexed, because a sub-field has this name"
        if not _nameable(path):
            return "not indexed, because Elasticsearch takes no field of such a name"
        return f"not indexed, because the index has {MOST_FIELDS} metadata fields already"

    def _misfit(self, path: str, entry: _Field, value: object) -> str:
        kind = _kind_of(value)
        if isinstance(value, str) and _length(value) > KEYWORD_LIMIT:
            return f"not indexed, because they are longer than {KEYWORD_LIMIT} characters"
        name = "whole numbers beyond 2^63" if kind == "text" and isinstance(value, int) else _NAMES[kind]
        what = f"{name} in a field of {_NAMES[entry.kind]}"
        if kind in entry.also:
            return f"{what}; filter them by metadata.{path}.{_SUB_FIELDS[kind]}"
        return f"{what}; not indexed as such"


def split_blank_keys(metadata: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata without the keys that Elasticsearch refuses with their document, and these keys.

    They are the empty key and keys of white space, as a table without a name for one column gives.
    """
    blank = {key: value for key, value in metadata.items() if not str(key).strip()}
    return ({k: v for k, v in metadata.items() if k not in blank}, blank) if blank else (metadata, blank)


class _Leaf(NamedTuple):
    """A value that is no object, list or null. ``lists``: the paths of the lists of objects that hold it."""

    path: str
    value: Any
    lists: tuple[str, ...] = ()


def _leaves(metadata: Mapping[str, Any]) -> Iterator[_Leaf]:
    """Yield every value that is no object, list or null. Objects may be nested very deep."""
    waiting = [_Leaf(str(key), value) for key, value in reversed(list(metadata.items()))]
    while waiting:
        leaf = path, value, lists = waiting.pop()
        if isinstance(value, Mapping):
            inside = [_Leaf(f"{path}.{key}", inner, lists) for key, inner in value.items()]
            waiting.extend(reversed(inside))
        elif isinstance(value, list | tuple):
            of_objects = (*lists, path) if path not in lists else lists
            waiting.extend(
                _Leaf(path, inner, of_objects if isinstance(inner, Mapping) else lists)
                for inner in reversed(value)
            )
        elif value is not None:
            yield leaf


def _nameable(path: str) -> bool:
    return len(path) <= _LONGEST_NAME and all(part.strip() for part in path.split("."))


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "number" if abs(value) <= _EXACT else "long" if -_LONG <= value < _LONG else "text"
    if isinstance(value, float):
        return "number"
    return "date" if isinstance(value, str) and _is_date(value) else "text"


def _fits(kind: Kind, value: Any) -> bool:  # noqa: ANN401 any JSON value
    """Return whether a field of this kind indexes the value as what it is."""
    own = _kind_of(value)
    if kind == "text":
        return own in ("text", "boolean") and not (isinstance(value, str) and _length(value) > KEYWORD_LIMIT)
    if kind == "number" and isinstance(value, str):
        return _is_decimal(value.strip())
    if kind == "long":
        whole = isinstance(value, int | float) and own != "boolean" and value == value // 1
        return whole and -_LONG <= value < _LONG
    if kind == "date" and isinstance(value, str):
        return own == "date" or _PART_OF_DATE.fullmatch(value) is not None
    return own == kind or (kind == "boolean" and value in ("true", "false"))


def _is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None and math.isfinite(float(text))


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        # Elasticsearch takes the year 0, which is a leap year.
        date(int(text[:4]) or 2000, int(text[5:7]), int(text[8:10]))
    except ValueError:
        return False
    return True


def _length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
