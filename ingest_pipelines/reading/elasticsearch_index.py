"""Reads the documents of an Elasticsearch index, alias or data stream, here or in another cluster.

Of an index that es-rerank made, title, text and metadata come back exactly; fields that the caller chooses
are those of the record that was ingested. Of any other, the caller chooses the fields, or they are found by
their names. Vectors are not read. The filter and the routing of an alias hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from elasticsearch import ApiError, AuthorizationException, Elasticsearch

from es_rerank.collection import Document
from es_rerank.errors import SourceError

from ..mapping import MANAGED_BY, METADATA, UNINDEXED
from ..patience import Patience
from ..rejects import Reject
from .fields import Fields, title_named, value_at, without
from .index_pages import Hit, IndexWalk, names_of, readable
from .notes import OnNote

_TEXT_NAMES = ("text", "content", "body")
_TEXT_TYPES = frozenset({"text", "match_only_text", "semantic_text"})
_TITLE_TYPES = _TEXT_TYPES | {"keyword", "constant_keyword", "wildcard"}
_VECTOR_TYPES = frozenset({"dense_vector", "sparse_vector", "rank_vectors"})
_CHUNKS = "_inference_fields"
"""Where Elasticsearch keeps the vectors of ``semantic_text``."""

_RESTRICTIONS = frozenset({"filter", "index_routing", "search_routing"})
"""Options of an alias by which a search of it may find less than its index holds."""

_MOST_LISTED = 30


class IndexPlan(NamedTuple):
    """What is read of the indices. ``indices``: their concrete names. ``own``: those that es-rerank made.
    ``fields``: the chosen fields, with a text field. ``excluded``: paths that are not read. ``whole``: own
    documents are read as they are, since the caller chose no fields.
    """

    indices: tuple[str, ...]
    own: frozenset[str]
    fields: Fields
    excluded: tuple[str, ...] = ()
    whole: bool = True

    @property
    def source(self) -> dict[str, Any]:
        """What of each document is read, as ``_source`` of a search."""
        if len(self.own) == len(self.indices):
            return {"includes": ["title", "text", METADATA, UNINDEXED, "format"]}
        if self.own or self.fields.metadata is None:
            return {"excludes": list(self.excluded)}
        named = [*self.fields.text, self.fields.title, self.fields.id, *self.fields.metadata]
        return {"includes": [name for name in named if name], "excludes": list(self.excluded)}


@contextmanager
def index_documents(
    client: Elasticsearch,
    expression: str,
    *,
    fields: Fields | None = None,
    query: Mapping[str, Any] | None = None,
    patience: Patience | None = None,
    on_note: OnNote | None = None,
) -> Iterator[Iterator[Document | Reject]]:
    """Give an iterator over the documents of an index, alias or data stream that match ``query``.

    They come from one point in time, which is open in the ``with`` block. ``_id`` is the id, unless
    ``fields`` names another. Without a chosen text field, it is ``text``, ``content`` or ``body``, or else
    the only text field; if it is not ``text``, a title is found by its name too, as in JSON lines.
    ``on_note`` gets a sentence that says which fields were found. A document without a text gives a Reject.

    Raises SourceError at once when there is no such index, when it may not be read, when it keeps no
    ``_source``, and when no text field can be chosen.
    """
    patience = patience or Patience()
    plan = index_plan(client, expression, fields or Fields(), patience)
    if on_note and (found := _found(plan, fields or Fields())):
        on_note(f"index {expression}: {found}")
    with IndexWalk(
        client,
        _read_by(client, expression, plan.indices, patience),
        source=plan.source,
        query=query,
        patience=patience,
    ) as walk:
        yield (document_of(hit, plan) for hit in walk.hits())


def _found(plan: IndexPlan, given: Fields) -> str | None:
    """Return which fields were found by their names, None if none was or they need no word."""
    if len(plan.own) == len(plan.indices) or given.text or plan.fields.text == ("text",):
        return None
    title = "no field" if plan.fields.title is None else plan.fields.title
    return (
        f"reads {', '.join(plan.fields.text)} as text and {title} as title; --text-field and --title-field "
        "name others"
    )


def _read_by(client: Elasticsearch, expression: str, indices: Sequence[str], patience: Patience) -> str:
    """Return by which names the indices are read. An alias may move while it is read, and concrete indices do
    not; but they are read by ``expression`` if that finds only a part of them, or if only that is allowed.
    """
    names = names_of(indices, expression)
    if names == expression or ":" in expression:
        return expression  # the aliases of another cluster cannot be looked at
    try:
        found = patience.call(lambda: client.indices.get_alias(index=f"{expression},{names}"))
    except ApiError:
        return expression
    return expression if _restricts(found.body) else names


def finds_a_part(client: Elasticsearch, alias: str) -> bool:
    """Return whether ``alias`` is an alias that finds only a part of an index, by a filter or a routing."""
    found = client.options(ignore_status=404).indices.get_alias(name=alias)
    return _restricts({index: state for index, state in found.items() if isinstance(state, dict)})


def _restricts(found: Mapping[str, Any]) -> bool:
    aliases = (options for state in found.values() for options in state.get("aliases", {}).values())
    return any(_RESTRICTIONS & options.keys() for options in aliases)


def index_plan(client: Elasticsearch, expression: str, fields: Fields, patience: Patience) -> IndexPlan:
    """Look at the indices and choose their fields. Raises SourceError as ``index_documents`` does."""
    indices, types = _types(client, expression, expression, patience)
    if not indices:
        raise SourceError(f"{expression} names no index", path=expression)
    mappings = _mappings(client, expression, patience)
    for index, mapping in mappings.items():
        if mapping.get("_source", {}).get("enabled", True) is False:
            raise SourceError(
                f"index {index} keeps no _source, so its documents cannot be read from it; index them from "
                "where they came from",
                path=index,
            )
    made_here = {
        index
        for index, mapping in mappings.items()
        if mapping.get("_meta", {}).get("managed_by") == MANAGED_BY
    }
    own = frozenset(made_here if mappings else indices if _looks_own(types) else ())
    whole = fields == Fields()
    if own and whole and len(own) == len(indices):
        return IndexPlan(indices, own, Fields(("text",), "title"))
    excluded = tuple(_excluded(types))
    if own:
        # The fields of the record that was ingested, as the caller knows them.
        own_types = {name.removeprefix(f"{METADATA}."): kind for name, kind in types.items()}
        others = ",".join(index for index in indices if index not in own)
        types = (
            _types(client, others, expression, patience)[1] if others and whole else {**own_types, **types}
        )
    chosen = _chosen(expression, fields, types, {} if own else mappings)
    return IndexPlan(indices, own, chosen, excluded, whole)


def _own_fields(fields: Fields) -> Fields:
    """Return the fields as names of the record that was ingested: metadata.year of the index was year."""

    def name(field: str) -> str:
        return field.removeprefix(f"{METADATA}.")

    return Fields(
        tuple(map(name, fields.text)),
        fields.title and name(fields.title),
        fields.id and name(fields.id),
        fields.metadata and tuple(map(name, fields.metadata)),
    )


def _types(
    client: Elasticsearch, names: str, expression: str, patience: Patience
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the concrete indices and the types of their fields."""
    with readable(expression):
        caps = patience.call(lambda: client.field_caps(index=names, fields="*")).body
    indices = tuple([caps["indices"]] if isinstance(caps["indices"], str) else caps["indices"])
    return indices, {
        name: next((kind for kind in kinds if kind != "unmapped"), "object")
        for name, kinds in caps["fields"].items()
        if not name.startswith("_") and not any(kind.get("metadata_field") for kind in kinds.values())
    }


def _mappings(client: Elasticsearch, expression: str, patience: Patience) -> dict[str, dict[str, Any]]:
    """Return the mappings by index, none where they cannot be read: by privileges, or of another cluster."""
    if ":" in expression:
        return {}
    try:
        answer = patience.call(lambda: client.indices.get_mapping(index=expression))
    except AuthorizationException:
        return {}
    except ApiError:
        with readable(expression):
            raise
    return {index: state["mappings"] for index, state in answer.items()}


def _looks_own(types: Mapping[str, str]) -> bool:
    own = {"content_hash": "keyword", "passages": "nested", "passages.vector": "dense_vector", "text": "text"}
    return own.items() <= types.items()


def _excluded(types: Mapping[str, str]) -> Iterator[str]:
    """Yield the paths of vectors, and of passages that have them."""
    yield _CHUNKS
    for name, kind in types.items():
        if kind in _VECTOR_TYPES:
            above = name.rpartition(".")[0]
            passages = types.get(above) == "nested" and {f"{above}.start", f"{above}.end"} <= types.keys()
            yield above if passages else name


def _chosen(
    expression: str,
    fields: Fields,
    types: Mapping[str, str],
    mappings: Mapping[str, Mapping[str, Any]],
) -> Fields:
    """Return the fields with their defaults. Raises SourceError when one of them cannot be read."""
    title = fields.title or ("title" if "title" in types else None)
    text = fields.text or _text_field(expression, types, title)
    for name in (*text, *(each for each in (fields.title, fields.id) if each), *(fields.metadata or ())):
        if name != "_id" and name not in types:
            raise SourceError(
                f"index {expression} has no field {name}; its fields are: {_listed(types)}", path=expression
            )
    for name in (*text, *(each for each in (title, fields.id) if each and each != "_id")):
        for index, mapping in mappings.items():
            rules = mapping.get("_source", {})
            kept = not rules.get("includes") or _matches(name, rules["includes"])
            if not kept or _matches(name, rules.get("excludes", ())):
                raise SourceError(
                    f"index {index} leaves the field {name} out of _source, so it cannot be read; index the "
                    "documents from where they came from",
                    path=index,
                )
    if title is None and not fields.text and text != ("text",):
        title = title_named(name for name, kind in types.items() if kind in _TITLE_TYPES and name not in text)
    return Fields(tuple(text), title, fields.id, fields.metadata)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") for pattern in patterns)


def _text_field(expression: str, types: Mapping[str, str], title: str | None) -> tuple[str]:
    for name in _TEXT_NAMES:
        if types.get(name) in _TEXT_TYPES:
            return (name,)
    vectors = tuple(f"{path}." for path in _excluded(types))
    found = [
        name
        for name, kind in types.items()
        if kind in _TEXT_TYPES
        and name != title
        and not name.startswith(vectors)
        # the sub-field of a field, such as title.english, holds what the field holds
        and types.get(name.rpartition(".")[0], "object") in ("object", "nested", "passthrough")
    ]
    if len(found) == 1:
        return (found[0],)
    raise SourceError(
        f"index {expression} has no field text, content or body that holds text, and "
        + (f"{len(found)} others: {_listed(found)}" if found else "no other text field")
        + "; choose with --text-field",
        path=expression,
    )


def _listed(names: Mapping[str, str] | Sequence[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return ", ".join(listed[:_MOST_LISTED]) + more


def document_of(hit: Hit, plan: IndexPlan) -> Document | Reject:
    """Return the document of a hit; a Reject, which names index and id, if it has no text."""
    source = hit.get("_source") or {}
    fields = plan.fields
    if hit["_index"] in plan.own:
        metadata = {**(source.get(METADATA) or {}), **(source.get(UNINDEXED) or {})}
        form = source.get("format", "text")
        title, text = source.get("title") or "", source.get("text") or ""
        if plan.whole:
            return Document(hit["_id"], title, text, metadata, form)
        return _own_document(hit, metadata, title, text, form, _own_fields(fields))
    return _chosen_of(hit, source, fields)


def _own_document(
    hit: Hit,
    metadata: dict[str, Any],
    title: str,
    text: str,
    form: Literal["text", "markdown"],
    fields: Fields,
) -> Document | Reject:
    """Return the document that has the chosen fields of a document of ours."""
    document = _chosen_of(hit, {**metadata, "title": title, "text": text}, fields, empty=not text)
    if isinstance(document, Reject):
        return document
    kept: dict[str, Any] = {name: metadata[name] for name in ("title", "text") if name in metadata}
    if fields.metadata is None and kept:  # metadata that have the name of a field
        document = document._replace(metadata={**document.metadata, **kept})
    return document._replace(format=form) if fields.text == ("text",) else document


def _chosen_of(hit: Hit, source: dict[str, Any], fields: Fields, *, empty: bool = False) -> Document | Reject:
    """Return the document that has the chosen fields of a record. ``empty``: it may have no text."""
    try:
        texts = [text for name in fields.text if (text := _text_of(source, name)) is not None]
        title = (_text_of(source, fields.title) if fields.title else None) or ""
        identifier = _id_of(source, fields.id) if fields.id not in (None, "_id") else hit["_id"]
    except ValueError as error:
        return _reject(hit, str(error))
    if not texts and not (empty and fields.text == ("text",)):
        return _reject(hit, f"it has no {' and no '.join(fields.text)}")
    return Document(identifier, title, "\n\n".join(texts), _metadata(source, fields))


def _reject(hit: Hit, reason: str) -> Reject:
    document = {"_id": hit["_id"], **(hit.get("_source") or {})}
    return Reject(f"index {hit['_index']}, document {hit['_id']}: {reason}", document, hit["_id"])


def _text_of(source: dict[str, Any], path: str) -> str | None:
    """Return the text at a path, several joined by line breaks. Raises ValueError for an object."""
    values = _values(source, path)
    if any(isinstance(value, Mapping) for value in values):
        raise ValueError(f"{path} holds an object and no text")
    return "\n".join(value if isinstance(value, str) else _scalar(value) for value in values) or None


def _values(source: dict[str, Any], path: str) -> list[Any]:
    """Return the values of a field, of lists in lists too. A null is no value."""
    found, waiting = [], [value_at(source, path)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif value is not None:
            found.append(value)
    return found


def _scalar(value: Any) -> str:  # noqa: ANN401 any JSON value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _id_of(source: dict[str, Any], path: str | None) -> str:
    assert path is not None  # noqa: S101 the caller chose a field
    values = _values(source, path)
    if len(values) != 1 or isinstance(values[0], Mapping):
        raise ValueError(f"{path} holds {len(values) or 'no'} values, and the id must be one")
    return values[0] if isinstance(values[0], str) else _scalar(values[0])


def _metadata(source: dict[str, Any], fields: Fields) -> dict[str, Any]:
    if fields.metadata is not None:
        found = {name: value_at(source, name) for name in fields.metadata}
        return {name: value for name, value in found.items() if value is not None}
    rest = source
    for name in (*fields.text, fields.title, fields.id):
        if name:
            rest = without(rest, name)
    nested = rest.get("metadata")
    if not isinstance(nested, dict):
        return rest
    return {**{key: value for key, value in rest.items() if key != "metadata"}, **nested}
