"""Lists the indices that es-rerank made, each with what it holds and whether it is in use.

``versions_of`` reads Elasticsearch's answers and asks nothing; ``catalog`` asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from elasticsearch import Elasticsearch

from ..aliases import served_names
from ..mapping import MANAGED_BY, UNFINISHED
from ..patience import Patience

State = Literal["in_use", "earlier", "building", "orphan"]
"""``in_use``: an alias names the version. ``building``: a rebuild writes it. ``orphan``: a rebuild began it
and was killed. ``earlier``: it is complete, and no alias names it."""

_VERSION = re.compile(r"(?P<name>.+)-(?P<number>\d{6})")

_SHOWN = (
    "*.aliases",
    "*.mappings._meta",
    "*.mappings.properties.passages.properties.vector.index_options",
    "*.settings.index.blocks",
    "*.settings.index.creation_date",
    "*.settings.index.uuid",
    "*.settings.index.verified_before_close",
)


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """A version of an index that es-rerank made.

    ``name`` is the name that it was made for, and ``number`` its number; an index that was renamed has no
    number. ``documents`` and ``passages`` are counts, and ``size`` is in bytes on all nodes together; they
    are None where Elasticsearch does not tell them, as for a closed index. ``vectors`` are the index options
    of the vectors, as in the mapping. ``created`` is a time in ISO 8601. ``blocks`` are the blocks that are
    set, and ``closed`` for a closed index. ``watched`` says that a search, a scroll or a point in time holds
    it open; None if Elasticsearch does not tell it, as without the privilege. ``uuid`` tells it from
    a later index of the same name.
    """

    name: str
    index: str
    number: int | None
    aliases: tuple[str, ...]
    state: State
    uuid: str
    embedder: str | None = None
    dims: int | None = None
    vectors: Mapping[str, Any] | None = None
    created: str | None = None
    blocks: tuple[str, ...] = ()
    size: int | None = None
    documents: int | None = None
    passages: int | None = None
    watched: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the version as the JSON object that ``es-rerank index list --json`` prints."""
        hidden = ("uuid", "watched")
        return {key: value for key, value in asdict(self).items() if key not in hidden}


def base_name(index: str) -> str:
    """Return the name that a version was made for: ``articles`` for ``articles-000001``."""
    match = _VERSION.fullmatch(index)
    return match["name"] if match else index


def versions_of(
    indices: Mapping[str, Any], stats: Mapping[str, Any], name: str | None = None
) -> list[IndexVersion]:
    """Return the versions among Elasticsearch's answers to ``GET name`` and ``GET name/_stats``, in order.

    With ``name``, only those that have it as their name, as an alias, or as the name they were made for.
    """
    found = [
        _version(index, state, stats.get(index, {}).get("total"))
        for index, state in indices.items()
        if state.get("mappings", {}).get("_meta", {}).get("managed_by") == MANAGED_BY
    ]
    wanted = [
        version
        for version in found
        if name is None or name in (version.index, version.name, *version.aliases)
    ]
    return sorted(wanted, key=lambda version: (version.name, version.number or 0, version.index))


def _version(index: str, state: Mapping[str, Any], total: Mapping[str, Any] | None) -> IndexVersion:
    match = _VERSION.fullmatch(index)
    meta, settings = state["mappings"]["_meta"], state.get("settings", {}).get("index", {})
    aliases = tuple(served_names(state.get("aliases", {})))
    closed = settings.get("verified_before_close") == "true"
    watched = None if total is None else total.get("search", {}).get("open_contexts", 0) > 0
    vector = state["mappings"]
    for key in ("properties", "passages", "properties", "vector"):
        vector = vector.get(key, {})
    blocks = sorted(name for name, value in settings.get("blocks", {}).items() if value == "true")
    created = settings.get("creation_date")
    return IndexVersion(
        name=match["name"] if match else index,
        index=index,
        number=int(match["number"]) if match else None,
        aliases=aliases,
        state=_state(
            aliases, unfinished=bool(meta.get(UNFINISHED)), watched=not closed and watched is not False
        ),
        uuid=settings.get("uuid", ""),
        embedder=meta.get("embedder"),
        dims=meta.get("dims"),
        vectors=vector.get("index_options"),
        created=created and datetime.fromtimestamp(int(created) / 1000, UTC).isoformat(timespec="seconds"),
        blocks=(*blocks, "closed") if closed else tuple(blocks),
        size=None if total is None else total.get("store", {}).get("size_in_bytes"),
        watched=False if closed else watched,
    )


def _state(aliases: Sequence[str], *, unfinished: bool, watched: bool) -> State:
    if aliases:
        return "in_use"
    if not unfinished:
        return "earlier"
    return "building" if watched else "orphan"


def catalog(
    client: Elasticsearch, name: str | None = None, *, counts: bool = True, patience: Patience | None = None
) -> list[IndexVersion]:
    """Return the versions of one name, or of all, sorted. ``counts``: with documents and passages.

    Raises the errors of the client.
    """
    wait = patience or Patience()
    # Without a name, hidden indices are left out: Elasticsearch's own are among them.
    pattern, hidden = (f"{name}*", ",hidden") if name else ("*", "")
    indices = wait.call(
        lambda: client.indices.get(
            index=pattern, expand_wildcards=f"open,closed{hidden}", filter_path=",".join(_SHOWN)
        )
    ).body
    stats = wait.call(
        lambda: client.indices.stats(
            index=pattern,
            metric="store,search",
            expand_wildcards=f"open{hidden}",
            filter_path="indices.*.total.store.size_in_bytes,indices.*.total.search.open_contexts",
        )
    ).body.get("indices", {})
    found = versions_of(indices, stats, name)
    return _counted(client, found) if counts else found


def _counted(client: Elasticsearch, versions: Iterable[IndexVersion]) -> list[IndexVersion]:
    """Return the versions with their counts. Elasticsearch's own statistics count passages as documents."""
    # An index that is closed, or whose shards are lost, has no counts, and the others have theirs.
    asked = client.options(ignore_status=(400, 404, 429, 503), max_retries=0)
    counted = []
    for version in versions:
        answer = asked.search(
            index=version.index,
            size=0,
            track_total_hits=True,
            allow_partial_search_results=False,
            aggs={"passages": {"nested": {"path": "passages"}}},
        )
        if "hits" in answer:
            total, inside = answer["hits"]["total"]["value"], answer["aggregations"]["passages"]["doc_count"]
            counted.append(replace(version, documents=total, passages=inside))
        else:
            counted.append(version)
    return counted
