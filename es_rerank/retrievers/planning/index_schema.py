"""What an index's mapping says that planning needs: types of fields, nested paths, the recorded embedder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import IndexMismatchError

ALL_FIELDS = ("*",)
"""Elasticsearch's default for ``index.query.default_field``."""


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Indices that a question is put to in the same way: the same ``semantic_text`` fields, the same default fields."""

    indices: tuple[str, ...]
    semantic: tuple[str, ...] = ()
    default_fields: tuple[str, ...] = ALL_FIELDS


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """Facts of one or several indices, merged. ``known`` is false where the mapping may not be read."""

    index: str = ""
    types: dict[str, str] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    embedders: frozenset[str] = frozenset()
    known: bool = False
    groups: tuple[FieldGroup, ...] = ()

    def nested_path(self, name: str) -> str | None:
        """Return the innermost nested object that holds the field, or None.

        Without a readable mapping nothing is taken for nested.
        """
        parts = name.split(".")[:-1]
        paths = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
        return next((path for path in paths if self.types.get(path) == "nested"), None)

    def vectors(self) -> list[str]:
        """Return the dense_vector fields, nested ones first."""
        names = [name for name, kind in self.types.items() if kind == "dense_vector"]
        return sorted(names, key=lambda name: (self.nested_path(name) is None, name))

    def texts(self) -> list[str]:
        """Return the full-text fields, those outside nested objects first."""
        names = [
            name for name, kind in self.types.items() if kind in ("text", "match_only_text", "semantic_text")
        ]
        return sorted(names, key=lambda name: (self.nested_path(name) is not None, name))

    def require(self, name: str, purpose: str) -> None:
        """Check that a field is mapped.

        Raises IndexMismatchError, listing the fields of the kind that was asked for, when it is not.
        """
        if self.known and name not in self.types:
            others = ", ".join(self.vectors() if purpose == "vector" else self.texts()) or "none"
            raise IndexMismatchError(
                f"index [{self.index}] has no field [{name}]; its {purpose} fields are: {others}",
                index=self.index,
            )


def schema_of(answer: Mapping[str, Any], index: str) -> IndexSchema:
    """Return the merged schema of the answer to ``GET /{index}``."""
    types: dict[str, str] = {}
    dims: dict[str, int] = {}
    embedders: set[str] = set()
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for concrete, entry in answer.items():
        mapping = entry.get("mappings", {})
        fields = dict(_fields(mapping.get("properties", {})))
        for name, definition in fields.items():
            types.setdefault(name, definition.get("type", "object"))
            if "dims" in definition:
                dims.setdefault(name, definition["dims"])
        semantic = tuple(
            name for name, definition in fields.items() if definition.get("type") == "semantic_text"
        )
        groups.setdefault((semantic, _default_fields(entry.get("settings", {}))), []).append(concrete)
        recorded = mapping.get("_meta", {}).get("embedder")
        if isinstance(recorded, str):
            embedders.add(recorded)
    found = tuple(
        FieldGroup(tuple(indices), semantic, default) for (semantic, default), indices in groups.items()
    )
    return IndexSchema(index, types, dims, frozenset(embedders), known=True, groups=found)


def _default_fields(settings: Mapping[str, Any]) -> tuple[str, ...]:
    default = settings.get("index", {}).get("query", {}).get("default_field", ALL_FIELDS)
    return tuple(default.split(",") if isinstance(default, str) else default)


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, definition in properties.items():
        yield prefix + name, definition
        yield from _fields(definition.get("properties", {}), f"{prefix}{name}.")
        yield from _fields(definition.get("fields", {}), f"{prefix}{name}.")
