"""Reads from a mapping what planning needs: field types, nested paths, and the recorded embedder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import IndexMismatchError

ALL_FIELDS = ("*",)
"""Elasticsearch's default for ``index.query.default_field``."""


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Indices that have the same ``semantic_text`` fields and the same default fields.

    A multi-field query searches all indices of a group with the same fields.
    """

    indices: tuple[str, ...]
    semantic: tuple[str, ...] = ()
    default_fields: tuple[str, ...] = ALL_FIELDS


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """The merged schema of one or several indices.

    ``types`` gives the type of each field, ``dims`` the dimensions of each vector field. ``embedders`` holds
    the names of embedders in the mapping's ``_meta``. ``known`` is false when the caller may not read the
    mapping.
    """

    index: str = ""
    types: dict[str, str] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    embedders: frozenset[str] = frozenset()
    known: bool = False
    groups: tuple[FieldGroup, ...] = ()

    def nested_path(self, name: str) -> str | None:
        """Return the path of the innermost nested object that holds the field ``name``, or None.

        Returns None for every field when the mapping may not be read.
        """
        parts = name.split(".")[:-1]
        paths = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
        return next((path for path in paths if self.types.get(path) == "nested"), None)

    def vectors(self) -> list[str]:
        """Return the names of the dense_vector fields, fields in nested objects first."""
        names = [name for name, kind in self.types.items() if kind == "dense_vector"]
        return sorted(names, key=lambda name: (self.nested_path(name) is None, name))

    def texts(self) -> list[str]:
        """Return the names of the full-text fields, fields outside nested objects first."""
        names = [
            name for name, kind in self.types.items() if kind in ("text", "match_only_text", "semantic_text")
        ]
        return sorted(names, key=lambda name: (self.nested_path(name) is not None, name))

    def require(self, name: str, purpose: str) -> None:
        """Check that the mapping has the field ``name``; ``purpose`` is "vector" or "text".

        Raises IndexMismatchError, with the list of the vector or text fields, when the mapping lacks the
        field.
        """
        if self.known and name not in self.types:
            others = ", ".join(self.vectors() if purpose == "vector" else self.texts()) or "none"
            raise IndexMismatchError(
                f"index [{self.index}] has no field [{name}]; its {purpose} fields are: {others}",
                index=self.index,
            )


def schema_of(answer: Mapping[str, Any], index: str) -> IndexSchema:
    """Return the merged schema of all indices in the answer to ``GET /{index}``."""
    types: dict[str, str] = {}
    dims: dict[str, int] = {}
    embedders: set[str] = set()
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for index_name, entry in answer.items():
        mapping = entry.get("mappings", {})
        fields = dict(_fields(mapping.get("properties", {})))
        for name, definition in fields.items():
            types.setdefault(name, definition.get("type", "object"))
            if "dims" in definition:
                dims.setdefault(name, definition["dims"])
        semantic = tuple(
            name for name, definition in fields.items() if definition.get("type") == "semantic_text"
        )
        groups.setdefault((semantic, _default_fields(entry.get("settings", {}))), []).append(index_name)
        recorded = mapping.get("_meta", {}).get("embedder")
        if isinstance(recorded, str):
            embedders.add(recorded)
    field_groups = tuple(
        FieldGroup(tuple(indices), semantic, default) for (semantic, default), indices in groups.items()
    )
    return IndexSchema(index, types, dims, frozenset(embedders), known=True, groups=field_groups)


def _default_fields(settings: Mapping[str, Any]) -> tuple[str, ...]:
    default = settings.get("index", {}).get("query", {}).get("default_field", ALL_FIELDS)
    return tuple(default.split(",") if isinstance(default, str) else default)


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, definition in properties.items():
        yield prefix + name, definition
        yield from _fields(definition.get("properties", {}), f"{prefix}{name}.")
        yield from _fields(definition.get("fields", {}), f"{prefix}{name}.")
