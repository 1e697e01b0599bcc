"""Reads from a mapping what planning needs: field types, nested paths, and the recorded embedder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...errors import IndexMismatchError

ALL_FIELDS = ("*",)
"""Elasticsearch's default for ``index.query.default_field``."""

_MOST_LEVELS = 20
"""Most levels of objects: Elasticsearch's default for ``index.mapping.depth.limit``."""


@dataclass(frozen=True, slots=True)
class FieldGroup:
    """Indices that have the same ``semantic_text`` fields and the same default fields.

    A multi-field query searches all indices of a group with the same fields. Without ``default_fields``, each
    index applies its own.
    """

    indices: tuple[str, ...]
    semantic: tuple[str, ...] = ()
    default_fields: tuple[str, ...] = ALL_FIELDS


class SearchDefaults(NamedTuple):
    """What an index records in ``_meta.search`` for searches that name no field.

    ``field``: the fields that a reranker reads. ``vector_field``: the field of the vectors that a short form
    searches. ``inference_id``: the reranker. Both may be None.
    """

    field: tuple[str, ...]
    vector_field: str | None = None
    inference_id: str | None = None


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """The merged schema of one or several indices.

    ``types`` gives the type of each field, ``dims`` the dimensions of each vector field. ``embedders`` holds
    the names of embedders in the mapping's ``_meta``. ``known`` is false when the fields of some index cannot
    be read. ``indices`` names the indices that were read: none of a schema that is known, if the expression
    names no index. ``defaults``: what indices record for searches, by the name of the index.
    """

    index: str = ""
    types: dict[str, str] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    embedders: frozenset[str] = frozenset()
    known: bool = False
    groups: tuple[FieldGroup, ...] = ()
    indices: frozenset[str] = frozenset()
    defaults: dict[str, SearchDefaults] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a field of this name can be read. Below a ``flattened`` field every name can."""
        return name in self.types or any(
            self.types.get(parent) == "flattened" for parent in names_above(name)
        )

    def nested_path(self, name: str) -> str | None:
        """Return the path of the innermost nested object that holds the field ``name``, or None.

        Returns None for every field when the mapping may not be read.
        """
        return next((path for path in names_above(name) if self.types.get(path) == "nested"), None)

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

    def absent(self, name: str, purpose: str) -> IndexMismatchError:
        """Return the error for a field that no index has, with the list of the fields of its kind.

        ``purpose`` is "vector" or "text".
        """
        others = ", ".join(self.vectors() if purpose == "vector" else self.texts()) or "none"
        return IndexMismatchError(
            f"index [{self.index}] has no field [{name}]; its {purpose} fields are: {others}",
            index=self.index,
        )

    def joined(self, other: IndexSchema) -> IndexSchema:
        """Return what this schema and ``other`` say together, of the same indices or of further ones.

        A field that is nested in one of them is nested. Both must be known for the result to be known.
        """
        nested = {name: kind for name, kind in other.types.items() if kind == "nested"}
        return IndexSchema(
            self.index,
            other.types | self.types | nested,
            other.dims | self.dims,
            self.embedders | other.embedders,
            known=self.known and other.known,
            groups=self.groups + other.groups,
            indices=self.indices | other.indices,
            defaults=other.defaults | self.defaults,
        )


def names_above(name: str) -> list[str]:
    """Return the names of the objects that may hold a field, the innermost first, at most 20."""
    parts = name.split(".")[:-1][:_MOST_LEVELS]
    return [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def schema_of(answer: Mapping[str, Any], index: str) -> IndexSchema:
    """Return the merged schema of all indices in the answer to ``GET /{index}``."""
    types: dict[str, str] = {}
    dims: dict[str, int] = {}
    embedders: set[str] = set()
    defaults: dict[str, SearchDefaults] = {}
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for index_name, entry in answer.items():
        mapping = entry.get("mappings", {})
        fields = dict(_fields(mapping.get("properties", {})))
        for name, definition in fields.items():
            types.setdefault(name, definition.get("type", "object"))
            target = fields.get(definition.get("path", ""), {}) if definition.get("type") == "alias" else {}
            if (length := definition.get("dims", target.get("dims"))) is not None:
                dims.setdefault(name, length)
        for name, kind in runtime_types(mapping.get("runtime")).items():
            types.setdefault(name, kind)
        semantic = tuple(
            name for name, definition in fields.items() if definition.get("type") == "semantic_text"
        )
        groups.setdefault((semantic, _default_fields(entry.get("settings", {}))), []).append(index_name)
        meta = mapping.get("_meta", {})
        if isinstance(embedder := meta.get("embedder"), str):
            embedders.add(embedder)
        if (record := recorded_defaults(meta)) is not None:
            defaults[index_name] = record
    field_groups = tuple(
        FieldGroup(tuple(indices), semantic, default) for (semantic, default), indices in groups.items()
    )
    return IndexSchema(
        index,
        types,
        dims,
        frozenset(embedders),
        known=True,
        groups=field_groups,
        indices=frozenset(answer),
        defaults=defaults,
    )


def recorded_defaults(meta: Mapping[str, Any]) -> SearchDefaults | None:
    """Return what the ``_meta`` of a mapping records for searches, None if it is nothing that can be read."""
    record = meta.get("search")
    fields = record.get("field") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(fields, list) or not fields:
        return None
    if not all(isinstance(name, str) and name for name in fields):
        return None
    vector, reranker = record.get("vector_field"), record.get("inference_id")
    return SearchDefaults(
        tuple(fields),
        vector if isinstance(vector, str) and vector else None,
        reranker if isinstance(reranker, str) and reranker else None,
    )


def schema_of_fields(answer: Mapping[str, Any], index: str) -> IndexSchema:
    """Return the schema in the answer to ``_field_caps``: the types of the fields that were asked for.

    It holds indices of other clusters too. It says nothing about the embedder and the default fields. A field
    that is nested in one index is nested.
    """
    types = {
        name: "nested" if "nested" in kinds else next(iter(kinds))
        for name, kinds in answer.get("fields", {}).items()
        if kinds
    }
    indices = answer.get("indices", [])
    return IndexSchema(index, types, known=True, indices=frozenset(indices))


def runtime_types(runtime: Any) -> dict[str, str]:  # noqa: ANN401 any JSON value may arrive
    """Return the types of the fields that a ``runtime`` or ``runtime_mappings`` object defines."""
    types: dict[str, str] = {}
    for name, definition in runtime.items() if isinstance(runtime, Mapping) else ():
        if not isinstance(definition, Mapping):
            continue
        types[name] = str(definition.get("type", "runtime"))
        if isinstance(below := definition.get("fields"), Mapping):  # of a composite field
            types |= dict.fromkeys((f"{name}.{key}" for key in below), "runtime")
    return types


def _default_fields(settings: Mapping[str, Any]) -> tuple[str, ...]:
    default = settings.get("index", {}).get("query", {}).get("default_field", ALL_FIELDS)
    return tuple(default.split(",") if isinstance(default, str) else default)


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, definition in properties.items():
        yield prefix + name, definition
        yield from _fields(definition.get("properties", {}), f"{prefix}{name}.")
        yield from _fields(definition.get("fields", {}), f"{prefix}{name}.")
