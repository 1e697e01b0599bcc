"""What a writer does whose index is blocked for writes, because a new version of it is being switched to."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from es_rerank.errors import IndexMismatchError, IngestError

from .aliases import aliases_of, is_claim
from .mapping import IndexRecipe, recorded_recipe
from .patience import Patience

REEMBEDDED_WITH = "reembedded_with"
"""Key of a mapping's ``_meta``: the embedder of the version that replaces this one. With it, a block for
writes is that of a re-embedding (see ``live_copy``), and not one of a user."""


STAYS = (
    "index {index} takes no documents: {reason}; remove the block, or make room if the disk is full, and "
    "repeat the run, which skips what is indexed"
)
"""What is said of a block that is not that of a re-embedding."""


def remember(client: Elasticsearch, version: str, embedder: str, patience: Patience) -> None:
    """Write into the mapping of an index that a version with another embedder replaces it."""
    meta = {**_meta(client, version, patience), REEMBEDDED_WITH: embedder}
    patience.call(lambda: client.indices.put_mapping(index=version, meta=meta))


def unblock(client: Elasticsearch, version: str, patience: Patience) -> None:
    """Allow writes into an index again, and forget that it was to be replaced."""
    patience.call(lambda: client.indices.put_settings(index=version, settings={"index.blocks.write": None}))
    meta = {key: value for key, value in _meta(client, version, patience).items() if key != REEMBEDDED_WITH}
    patience.call(lambda: client.indices.put_mapping(index=version, meta=meta))


def successor_of(
    client: Elasticsearch, name: str, version: str, recipe: IndexRecipe, patience: Patience, reason: str
) -> str:
    """Return the index into which a run goes on whose index ``version`` is blocked for writes.

    That is the index which the alias ``name`` names now, if its recipe is the same, or ``version`` itself if
    the block is gone. While a re-embedding is about to move the alias, this waits as ``patience`` says.
    Raises IndexMismatchError when the new version has another recipe, and IngestError, with the ``reason`` of
    Elasticsearch, for any other block and for one that stays.
    """
    for retry in range(patience.max_retries + 1):
        # Before the look at the alias: the request that moves it removes the claim.
        claimed = _is_claimed(client, version, patience)
        now = _named(client, name, patience)
        if len(now) == 1 and version not in now:
            ((successor, meta),) = now.items()
            recorded = recorded_recipe(meta)
            if recorded == recipe:
                return successor
            with_what = "something else" if recorded is None else str(recorded)
            again = "" if recorded is None else f"; repeat the run with --embedder {recorded.embedder}"
            raise IndexMismatchError(
                f"{name} was re-embedded meanwhile: {version} takes no documents any more, and {successor} "
                f"was made with {with_what}{again}. What this run wrote before is in the new index",
                index=successor,
            )
        if not is_blocked(client, version, patience):
            return version
        if REEMBEDDED_WITH not in _meta(client, version, patience):
            break
        if name == version or version not in now:
            raise IngestError(
                f"index {version} was re-embedded and takes no documents any more: {reason}; ingest into "
                "the alias that names its new version"
            )
        if not claimed:  # an earlier version that somebody went back to, and blocked
            break
        patience.wait(retry)
    else:
        raise IngestError(
            f"index {version} takes no documents while it is re-embedded: {reason}; repeat the run later, it "
            "skips what is indexed. If no re-embedding runs any more, repeat that, or allow writes: PUT "
            f'/{version}/_settings {{"index.blocks.write": null}}'
        )
    raise IngestError(STAYS.format(index=version, reason=reason))


def _is_claimed(client: Elasticsearch, version: str, patience: Patience) -> bool:
    try:
        return any(map(is_claim, aliases_of(client, version, patience)))
    except NotFoundError:
        return False


def _named(client: Elasticsearch, name: str, patience: Patience) -> dict[str, dict[str, Any]]:
    """Return the ``_meta`` of the indices that ``name`` names."""
    try:
        found = patience.call(lambda: client.indices.get_mapping(index=name))
    except NotFoundError:
        return {}
    return {index: state["mappings"].get("_meta", {}) for index, state in found.items()}


def _meta(client: Elasticsearch, version: str, patience: Patience) -> dict[str, Any]:
    return _named(client, version, patience).get(version, {})


def is_blocked(client: Elasticsearch, version: str, patience: Patience) -> bool:
    """Return whether any block is set that keeps documents out of an index."""
    answer = patience.call(lambda: client.indices.get_settings(index=version, name="index.blocks.*"))
    blocks = answer.get(version, {}).get("settings", {}).get("index", {}).get("blocks", {})
    return any(str(value) == "true" for value in blocks.values())
