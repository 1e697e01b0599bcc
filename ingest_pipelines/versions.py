"""Versioned indices behind an alias: ``articles`` names ``articles-000001``, a rebuild makes ``articles-000002``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError

from es_rerank.errors import IndexMismatchError, SettingsError

from .mapping import Recipe, index_body, recorded_recipe


@contextmanager
def writable_index(
    client: Elasticsearch, name: str, recipe: Recipe, *, rebuild: bool = False
) -> Iterator[str]:
    """Yield the concrete index that documents for ``name`` go to, made where there is none.

    With ``rebuild`` that is a new version beside the one in use. The alias moves to it in one step when the block ends
    well; when it does not, the new version is deleted and the alias stays. The earlier version is kept either way.
    Raises IndexMismatchError when the index in use is not ours or was made by another recipe (which a rebuild changes).
    """
    _check_name(name)
    current = _current(client, name, recipe, rebuild=rebuild)
    if current is None:
        yield _create(client, name, recipe, aliases={name: {}})
    elif rebuild:
        with _successor(client, name, current, recipe) as successor:
            yield successor
    else:
        yield current


@contextmanager
def _successor(client: Elasticsearch, name: str, current: str, recipe: Recipe) -> Iterator[str]:
    successor = _create(client, name, recipe, aliases={})
    try:
        yield successor
        moves: list[dict[str, Any]] = [
            {"remove": {"index": current, "alias": name, "must_exist": True}},
            {"add": {"index": successor, "alias": name}},
        ]
        client.indices.update_aliases(actions=moves)
    except BaseException:
        with suppress(ApiError, TransportError):  # the error under way says more than a failed clean-up
            client.indices.delete(index=successor)
        raise


def _check_name(name: str) -> None:
    if not name or re.search(r"[*?,]", name):
        raise SettingsError(
            f"{name!r} does not name one index; write the name of an index or alias, without * ? or a comma"
        )


def _current(client: Elasticsearch, name: str, recipe: Recipe, *, rebuild: bool) -> str | None:
    """Return the concrete index behind ``name``, or None where there is none, when it fits what is to be done."""
    try:
        found: dict[str, Any] = client.indices.get(index=name).body
    except NotFoundError:
        return None
    if len(found) > 1:
        raise IndexMismatchError(
            f"{name} is an alias of several indices ({', '.join(sorted(found))}); ingest into one of them by its name",
            index=name,
        )
    ((index, state),) = found.items()
    recorded = recorded_recipe(state["mappings"].get("_meta", {}))
    if recorded is None:
        raise IndexMismatchError(
            f"{_also(name, index)} was not made by es-rerank ingest; choose another name", index=index
        )
    if rebuild and index == name:
        raise IndexMismatchError(
            f"{name} is an index, not an alias of one, so it cannot be rebuilt in place; choose another name",
            index=index,
        )
    if recorded != recipe and not rebuild:
        raise IndexMismatchError(
            f"{_also(name, index)} was made with {recorded}; this run uses {recipe}. Use the same, or --rebuild to make a new version beside it and switch",
            index=index,
        )
    return index


def _also(name: str, index: str) -> str:
    return name if name == index else f"{name} (alias of {index})"


def _create(client: Elasticsearch, name: str, recipe: Recipe, *, aliases: dict[str, Any]) -> str:
    """Create the version after the last, counting those that no alias names any more."""
    pattern = re.compile(re.escape(name) + r"-(\d{6})")
    versions = [
        int(match[1])
        for existing in client.indices.get(index=f"{name}-*", expand_wildcards="all")
        if (match := pattern.fullmatch(existing))
    ]
    index = f"{name}-{max(versions, default=0) + 1:06d}"
    client.indices.create(index=index, aliases=aliases, **index_body(recipe))
    return index
