"""Moves the aliases of a version of an index, and says by an alias which re-embedding may do so.

A re-embedding that blocks the writes of a version gives it an alias of its own, its claim. The request that
moves the alias also removes the claim, and Elasticsearch does both or, if the claim is gone, nothing. So of
several re-embeddings of one version only the last that claimed it can move the alias, and the others
cannot lift its block unnoticed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from es_rerank.errors import IngestError

from .patience import Patience, own

CLAIM = "claim"
"""Key of ``_meta`` in a new version that a re-embedding has completed: its claim of the version before."""

_CLAIM = re.compile(r".+-reembedding-[0-9a-f]{8}")
_NO_ALIAS = "aliases_not_found_exception"


def new_claim(name: str) -> str:
    """Return the alias by which one re-embedding of ``name`` claims the version in use. It begins as the
    versions do, so that a role for ``name*`` allows it.
    """
    return f"{name}-reembedding-{uuid.uuid4().hex[:8]}"


def is_claim(alias: str) -> bool:
    """Return whether an alias is the claim of a re-embedding, and none that somebody searches."""
    return _CLAIM.fullmatch(alias) is not None


def aliases_of(client: Elasticsearch, index: str, patience: Patience) -> dict[str, dict[str, Any]]:
    """Return the aliases of an index, each with its filter, routing and other options."""
    answer = patience.call(lambda: client.indices.get_alias(index=index))
    aliases: dict[str, dict[str, Any]] = answer.get(index, {}).get("aliases", {})
    return aliases


def take_claim(client: Elasticsearch, index: str, claim: str, patience: Patience) -> None:
    """Claim a version, and take it from any re-embedding that claimed it before."""
    for retry in range(patience.max_retries + 1):
        claims = [alias for alias in aliases_of(client, index, patience) if is_claim(alias)]
        if claims == [claim]:
            return
        actions = [_removal(index, alias) for alias in claims if alias != claim]
        actions.append({"add": {"index": index, "alias": claim, "is_hidden": True}})
        try:
            patience.call(lambda actions=actions: client.indices.update_aliases(actions=actions))  # type: ignore[misc]
        except NotFoundError as error:  # another re-embedding has taken or released it at this moment
            if error.error != _NO_ALIAS:
                raise
            patience.wait(retry)
    if claim not in aliases_of(client, index, patience):
        raise IngestError(
            f"other runs re-embed {index} at the same time; let one of them end, and repeat the run"
        )


def release_claim(client: Elasticsearch, index: str, claim: str, patience: Patience) -> None:
    """Give a claim up, if it is there."""
    try:
        patience.call(lambda: client.indices.update_aliases(actions=[_removal(index, claim)]))
    except NotFoundError:
        return


def moves(
    aliases: Mapping[str, Mapping[str, Any]], old: str, new: str, names: Iterable[str]
) -> list[dict[str, Any]]:
    """Return the actions that move ``names`` of the ``aliases`` of ``old`` to ``new``, with their options."""
    actions: list[dict[str, Any]] = []
    for name in names:
        add = {"add": {"index": new, "alias": name, **aliases[name]}}
        actions += [_removal(old, name), add]
    return actions


def served_names(aliases: Iterable[str]) -> list[str]:
    """Return the aliases that are no claims, sorted."""
    return sorted(alias for alias in aliases if not is_claim(alias))


def move_aliases(
    client: Elasticsearch, name: str, old: str, new: str, claim: str | None, patience: Patience
) -> None:
    """Move the alias ``name`` from ``old`` to ``new`` in one step, with its filter and other options.

    With a ``claim``, ``new`` holds what ``old`` does: all other aliases of it move too, and only as long as
    the claim stands. Raises IngestError when another run was faster.
    """
    aliases = aliases_of(client, old, patience)
    if name not in aliases:
        if has_alias(client, name, new):
            return
        raise IngestError(
            f"another run has moved {name} away from {old}, and so {new} is deleted; repeat the run if it is "
            "still needed"
        )
    actions = moves(aliases, old, new, [name] if claim is None else served_names(aliases))
    if claim is not None:
        actions.append(_removal(old, claim))

    def move() -> None:
        try:
            own(client.indices.update_aliases(actions=actions))
        except NotFoundError as error:
            if error.error != _NO_ALIAS:
                raise
            if has_alias(client, name, new):  # an earlier attempt moved it, and its answer was lost
                return
            raise IngestError(
                f"another run has replaced or begun to re-embed {old} meanwhile, so {name} stays as it is "
                f"and {new} is deleted; repeat the run if it is still needed"
            ) from error

    patience.call(move)


def has_alias(client: Elasticsearch, name: str, index: str) -> bool:
    """Return whether ``name`` is an alias of ``index``."""
    return bool(own(client.indices.exists_alias(index=index, name=name)))


def _removal(index: str, alias: str) -> dict[str, Any]:
    return {"remove": {"index": index, "alias": alias, "must_exist": True}}
