"""Manages versioned indices with an alias: ``articles`` is an alias of the index ``articles-000001``.

A rebuild makes the index ``articles-000002`` and moves the alias to it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError, TransportError

from es_rerank.errors import IndexMismatchError, IngestError, SettingsError

from .aliases import CLAIM, has_alias, move_aliases
from .lifecycle.lease import held
from .mapping import UNFINISHED, IndexRecipe, index_body, recorded_recipe
from .patience import Patience, own
from .vector_options import EXACT_FLOAT, VectorOptions

_CREATIONS = 10
"""How often a new version is created when another run creates one of the same name first, or when somebody
removes it before it is shown to be in work."""

_CROWDED = "other runs create versions of {name} at the same time; repeat the run when they have ended"


@contextmanager
def writable_index(
    client: Elasticsearch,
    name: str,
    recipe: IndexRecipe,
    patience: Patience,
    *,
    rebuild: bool = False,
    vectors: VectorOptions = EXACT_FLOAT,
) -> Iterator[str]:
    """Yield the name of the concrete index into which documents for ``name`` are written.

    ``vectors``: how Elasticsearch indexes the vectors of an index that is made here. The index is created if
    it does not exist. With ``rebuild`` it is a new version beside the current one. When the ``with`` block
    ends without an error, the alias moves to the new version in one step. When it raises an error, the new
    version is deleted and the alias does not move. The earlier version is always kept. Raises
    IndexMismatchError when es-rerank did not make the current index, and when the current index has another
    recipe and ``rebuild`` is false. Raises SettingsError when ``name`` is not the name of one index.
    """
    current, new = _found_or_made(client, name, recipe, patience, rebuild=rebuild, vectors=vectors)
    if rebuild and not new:
        with _successor(client, name, current, recipe, patience, vectors) as successor:
            yield successor
    else:
        yield current


def _found_or_made(
    client: Elasticsearch,
    name: str,
    recipe: IndexRecipe,
    patience: Patience,
    *,
    rebuild: bool,
    vectors: VectorOptions,
) -> tuple[str, bool]:
    """Return the concrete index that ``name`` names, and whether this run has made it."""
    for _ in range(_CREATIONS):
        current = _current(client, name, recipe, patience, rebuild=rebuild)
        if current is not None:
            return current, False
        following = _following(client, name, patience)
        # Looked at again, now that the number is chosen: of two first runs at once, both choose the same, and
        # one of them creates it. Else one could make a second index with the same alias.
        if _current(client, name, recipe, patience, rebuild=rebuild) is None and _create(
            client, following, index_body(recipe, vectors), patience, aliases={name: {}}
        ):
            return following, True
    raise IngestError(_CROWDED.format(name=name))


@contextmanager
def _successor(
    client: Elasticsearch,
    name: str,
    current: str,
    recipe: IndexRecipe,
    patience: Patience,
    vectors: VectorOptions,
) -> Iterator[str]:
    successor, lease = _begun(client, name, recipe, patience, vectors)
    try:
        with lease:
            made, _ = _state_of(client, successor, patience)
            yield successor
            claim = _finish(client, successor, made, patience)
            move_aliases(client, name, current, successor, claim, patience)
    except BaseException:
        with suppress(ApiError, TransportError):  # the first error is more important than one of the clean-up
            # The answer to the move of the alias may have been lost: the new version may be in use.
            if not has_alias(client, name, successor):
                client.indices.delete(index=successor)
        raise


def _begun(
    client: Elasticsearch, name: str, recipe: IndexRecipe, patience: Patience, vectors: VectorOptions
) -> tuple[str, ExitStack]:
    """Create the next version and show that it is in work (see ``lifecycle.lease``)."""
    body = index_body(recipe, vectors)
    for attempt in range(_CREATIONS):
        body["mappings"]["_meta"][UNFINISHED] = mark = uuid.uuid4().hex
        successor = _following(client, name, patience)
        if not _create(client, successor, body, patience) and not _is_marked(
            client, successor, mark, patience
        ):
            continue  # another rebuild has made it
        try:
            with ExitStack() as lease:
                lease.enter_context(held(client, successor, patience))
                return successor, lease.pop_all()
        except NotFoundError:
            # ``es-rerank index clean`` took it for an orphan, in the moment between the two requests.
            if attempt == _CREATIONS - 1:
                raise
        except BaseException:
            with suppress(ApiError, TransportError):
                client.indices.delete(index=successor)
            raise
    raise IngestError(_CROWDED.format(name=name))


def _is_marked(client: Elasticsearch, index: str, mark: str, patience: Patience) -> bool:
    """Return whether an index that exists is of this run: the answer to its creation may have been lost."""
    try:
        return _state_of(client, index, patience)[1].get(UNFINISHED) == mark
    except NotFoundError:
        return False


def _state_of(client: Elasticsearch, index: str, patience: Patience) -> tuple[str, dict[str, Any]]:
    """Return the uuid of an index and the ``_meta`` of its mapping."""
    state = patience.call(lambda: client.indices.get(index=index))[index]
    return state["settings"]["index"]["uuid"], state["mappings"].get("_meta", {})


def _finish(client: Elasticsearch, successor: str, made: str, patience: Patience) -> str | None:
    """Write that the version is complete. From then on it is an earlier version and no orphan, whatever
    happens before the alias moves. ``made`` is the uuid of the index that this run has made.

    Return the claim of a re-embedding that has completed the version (see ``aliases``).

    Raises IngestError when somebody removed the version: a bulk request may have made another index of its
    name.
    """
    try:
        now, meta = _state_of(client, successor, patience)
    except NotFoundError:
        now, meta = "", {}
    if now != made:
        raise IngestError(
            f"{successor} was removed by somebody while it was built; repeat the run with --rebuild"
        )
    complete = {key: value for key, value in meta.items() if key not in (UNFINISHED, CLAIM)}
    patience.call(lambda: client.indices.put_mapping(index=successor, meta=complete))
    return meta.get(CLAIM)


_NOT_ONE_NAME = re.compile(r"""[-_+]|\.{0,2}$|.*[\s*?,:#/\\|<>"]""", re.DOTALL)
"""Names that Elasticsearch takes for several indices, for those of another cluster, or for none:
https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create"""

_BAD_NAMES = ("invalid_index_name_exception", "invalid_alias_name_exception")


def _check_name(name: str) -> None:
    if _NOT_ONE_NAME.match(name):
        raise SettingsError(
            f"{name!r} does not name one index; write the name of an index or alias, which does not begin "
            'with - _ or + and has no spaces and none of * ? , : # / \\ | < > "'
        )


def managed_index(client: Elasticsearch, name: str, patience: Patience) -> tuple[str, IndexRecipe] | None:
    """Return the concrete index that ``name`` names and the recipe that it records, None if there is none.

    Raises SettingsError when ``name`` is not the name of one index, and IndexMismatchError when it is an
    alias of several indices or when es-rerank did not make the index.
    """
    _check_name(name)
    try:
        indices: dict[str, Any] = patience.call(lambda: client.indices.get(index=name)).body
    except NotFoundError:
        return None
    if len(indices) > 1:
        raise IndexMismatchError(
            f"{name} is an alias of several indices ({', '.join(sorted(indices))}); "
            "ingest into one of them by its name",
            index=name,
        )
    ((index, state),) = indices.items()
    recorded = recorded_recipe(state["mappings"].get("_meta", {}))
    if recorded is None:
        raise IndexMismatchError(
            f"{_described(name, index)} was not made by es-rerank ingest; choose another name", index=index
        )
    return index, recorded


def _current(
    client: Elasticsearch, name: str, recipe: IndexRecipe, patience: Patience, *, rebuild: bool
) -> str | None:
    """Return the concrete index that ``name`` names, None if it does not exist.

    Raises as ``managed_index`` does, and IndexMismatchError when the ingest cannot write into this index.
    """
    found = managed_index(client, name, patience)
    if found is None:
        return None
    index, recorded = found
    if rebuild and index == name:
        raise IndexMismatchError(
            f"{name} is an index and not an alias, so it cannot be replaced by a new version; "
            "choose another name",
            index=index,
        )
    if recorded != recipe and not rebuild:
        raise IndexMismatchError(
            f"{_described(name, index)} was made with {recorded}; this run uses {recipe}. "
            "Use the same settings, or --rebuild to make a new version of the index and switch to it",
            index=index,
        )
    return index


def _described(name: str, index: str) -> str:
    return name if name == index else f"{name} (alias of {index})"


def _following(client: Elasticsearch, name: str, patience: Patience) -> str:
    """Return the name of the next version. Its number is 1 more than the highest number in use. Versions
    without an alias count too.
    """
    pattern = re.compile(re.escape(name) + r"-(\d{6})")
    versions = [
        int(match[1])
        for existing in patience.call(lambda: client.indices.get(index=f"{name}-*", expand_wildcards="all"))
        if (match := pattern.fullmatch(existing))
    ]
    return f"{name}-{max(versions, default=0) + 1:06d}"


def _create(
    client: Elasticsearch,
    index: str,
    body: dict[str, Any],
    patience: Patience,
    *,
    aliases: dict[str, Any] | None = None,
) -> bool:
    """Create an index. Return False when it exists: another run has made it, or the answer to an earlier
    attempt was lost. Raises SettingsError when no index can have this name.
    """

    def create() -> bool:
        try:
            own(client.indices.create(index=index, aliases=aliases, **body))
        except BadRequestError as error:
            if error.error in _BAD_NAMES:
                reason = error.info["error"]["reason"]
                raise SettingsError(f"Elasticsearch makes no index of this name: {reason}") from error
            if error.error != "resource_already_exists_exception":
                raise
            return False
        return True

    return patience.call(create)
