"""Manages versioned indices with an alias: ``articles`` is an alias of the index ``articles-000001``.

A rebuild makes the index ``articles-000002`` and moves the alias to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError, TransportError

from es_rerank.errors import IndexMismatchError, IngestError, SettingsError

from .lifecycle.lease import held
from .mapping import UNFINISHED, IndexRecipe, index_body, recorded_recipe
from .patience import Patience
from .vector_options import EXACT_FLOAT, VectorOptions

_CREATIONS = 3
"""How often a new version is created when somebody removes it before it is shown to be in work."""


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
    current = _current(client, name, recipe, patience, rebuild=rebuild)
    if current is None:
        yield _create(client, name, recipe, patience, aliases={name: {}}, vectors=vectors)
    elif rebuild:
        with _successor(client, name, current, recipe, patience, vectors) as successor:
            yield successor
    else:
        yield current


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
            uuid, _ = _state_of(client, successor, patience)
            yield successor
            _finish(client, successor, uuid, patience)
            patience.call(lambda: _move_alias(client, name, current, successor))
    except BaseException:
        with suppress(ApiError, TransportError):  # the first error is more important than one of the clean-up
            # The answer to the move of the alias may have been lost: the new version may be in use.
            if not _has_alias(client, name, successor):
                client.indices.delete(index=successor)
        raise


def _begun(
    client: Elasticsearch, name: str, recipe: IndexRecipe, patience: Patience, vectors: VectorOptions
) -> tuple[str, ExitStack]:
    """Create the next version and show that it is in work (see ``lifecycle.lease``)."""
    for attempt in range(_CREATIONS):
        successor = _create(client, name, recipe, patience, aliases={}, vectors=vectors, unfinished=True)
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
    raise AssertionError("the last attempt raises")


def _state_of(client: Elasticsearch, index: str, patience: Patience) -> tuple[str, dict[str, Any]]:
    """Return the uuid of an index and the ``_meta`` of its mapping."""
    state = patience.call(lambda: client.indices.get(index=index))[index]
    return state["settings"]["index"]["uuid"], state["mappings"].get("_meta", {})


def _finish(client: Elasticsearch, successor: str, uuid: str, patience: Patience) -> None:
    """Write that the version is complete. From then on it is an earlier version and no orphan, whatever
    happens before the alias moves.

    Raises IngestError when somebody removed the version: a bulk request may have made another index of its
    name.
    """
    try:
        now, meta = _state_of(client, successor, patience)
    except NotFoundError:
        now, meta = "", {}
    if now != uuid:
        raise IngestError(
            f"{successor} was removed by somebody while it was built; repeat the run with --rebuild"
        )
    complete = {key: value for key, value in meta.items() if key != UNFINISHED}
    patience.call(lambda: client.indices.put_mapping(index=successor, meta=complete))


def _move_alias(client: Elasticsearch, name: str, current: str, successor: str) -> None:
    moves: list[dict[str, Any]] = [
        {"remove": {"index": current, "alias": name, "must_exist": True}},
        {"add": {"index": successor, "alias": name}},
    ]
    try:
        client.indices.update_aliases(actions=moves)
    except NotFoundError:
        # An earlier attempt moved it, and its answer was lost.
        if not _has_alias(client, name, successor):
            raise


def _has_alias(client: Elasticsearch, name: str, index: str) -> bool:
    return bool(client.indices.exists_alias(index=index, name=name))


def _check_name(name: str) -> None:
    if not name or re.search(r"[*?,]", name):
        raise SettingsError(
            f"{name!r} does not name one index; write the name of an index or alias, without * ? or a comma"
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


def _create(
    client: Elasticsearch,
    name: str,
    recipe: IndexRecipe,
    patience: Patience,
    *,
    aliases: dict[str, Any],
    vectors: VectorOptions,
    unfinished: bool = False,
) -> str:
    """Create the next version of the index and return its name. ``unfinished``: with the mark of a rebuild.

    The number of the version is 1 more than the highest number in use. Versions without an alias count too.
    """
    pattern = re.compile(re.escape(name) + r"-(\d{6})")
    versions = [
        int(match[1])
        for existing in patience.call(lambda: client.indices.get(index=f"{name}-*", expand_wildcards="all"))
        if (match := pattern.fullmatch(existing))
    ]
    index = f"{name}-{max(versions, default=0) + 1:06d}"
    body = index_body(recipe, vectors)
    if unfinished:
        body["mappings"]["_meta"][UNFINISHED] = True
    attempts = 0

    def create() -> None:
        nonlocal attempts
        attempts += 1
        try:
            # Without retries of the client's own, which would hide that there was an earlier attempt.
            client.options(max_retries=0).indices.create(index=index, aliases=aliases, **body)
        except BadRequestError as error:
            # An earlier attempt created it, and its answer was lost.
            if attempts == 1 or error.error != "resource_already_exists_exception":
                raise

    patience.call(create)
    return index
