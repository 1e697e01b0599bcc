"""Copies an index into its next version while others read and write it.

The documents come from a point in time, then come those that were written meanwhile, in rounds. Elasticsearch
numbers the changes of each shard (``_seq_no``): a round has what is after the checkpoint of the round before.
When few are left, the version in use is blocked for writes, which waits for those that are going on. The last
round follows, then what was deleted meanwhile, then the alias moves. So reads never fail, and a write is
either copied or refused. The earlier version stays blocked: a late writer is refused and loses nothing.

Only one re-embedding may hold the block and move the alias (see ``aliases``). Before the alias moves, the
numbers of the changes are compared once more: if somebody has allowed writes meanwhile, it does not move.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, Self

from elasticsearch import ApiError, Elasticsearch, TransportError

from es_rerank.collection import Document
from es_rerank.errors import IngestError, SourceError

from .aliases import (
    CLAIM,
    aliases_of,
    has_alias,
    is_claim,
    moves,
    new_claim,
    release_claim,
    served_names,
    take_claim,
)
from .blocks import is_blocked, remember, unblock
from .patience import Patience
from .pipeline import IngestReport
from .reading.elasticsearch_index import IndexPlan, document_of, index_plan
from .reading.fields import Fields
from .reading.index_pages import IndexWalk, readable
from .rejects import Reject

_FEW = 100
"""So few changes are copied while writes are blocked."""

_MOST_ROUNDS = 20
"""After so many rounds, writes are blocked though more than a few changes are left."""

_BLOCKINGS = 3
"""How often it is tried to block the writes."""

_COMPARED = 500
"""How many ids are compared in one request."""


class _Changes(NamedTuple):
    """The changes of an index. ``checkpoints``: by shard, the number up to which all of them are complete.
    ``made``: how many there have been.
    """

    checkpoints: dict[int, int]
    made: int


class LiveCopy:
    """The documents of the index that the alias ``name`` names, for a rebuild of it.

        with LiveCopy(client, name, embedder=model.name) as copy:
            ingest.run(name, copy.documents(), rebuild=True, before_switch=copy.finish)

    ``version`` is the concrete index. All aliases of it move. ``embedder`` names the new model, for the
    messages to other writers. When the ``with`` block ends with an error, writes are allowed again, unless
    somebody had blocked them before, or another re-embedding has taken over.
    """

    def __init__(
        self, client: Elasticsearch, name: str, *, embedder: str, patience: Patience | None = None
    ) -> None:
        self._client = client
        self._name = name
        self._embedder = embedder
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._blocked = self._left = False
        self.version = ""
        self._shards = 0
        self._stays_blocked = False  # by somebody else, before this began
        self._walk: IndexWalk | None = None
        self._claim = new_claim(name)
        self._copied: _Changes | None = None
        self._moved: dict[str, dict[str, Any]] = {}
        self._plan: IndexPlan | None = None

    def __enter__(self) -> Self:
        """Look at the index. Raises SourceError when it cannot be read, or ``name`` is not one index."""
        with readable(self._name):
            found = self._patience.call(lambda: self._client.indices.get(index=self._name))
        if len(found) != 1:
            raise SourceError(
                f"{self._name} names {len(found)} indices ({', '.join(sorted(found))}); name one of them",
                path=self._name,
            )
        ((self.version, state),) = found.items()
        self._shards = int(state["settings"]["index"]["number_of_shards"])
        blocked = str(state["settings"]["index"].get("blocks", {}).get("write")) == "true"
        # A re-embedding that was killed has left its claim.
        self._stays_blocked = blocked and not any(map(is_claim, state["aliases"]))
        self._plan = index_plan(self._client, self.version, Fields(), self._patience)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._walk is not None:
            self._walk.end()
        with self._lock:  # the thread that reads may be about to block the writes
            self._left = True
            if error is None or not self._blocked:
                return
        with suppress(ApiError, TransportError):  # the first error is more important
            aliases = aliases_of(self._client, self.version, self._patience)
            if self._claim not in aliases:
                return
            if self._name in aliases:
                unblock(self._client, self.version, self._patience)
                if self._stays_blocked:
                    self._client.indices.add_block(index=self.version, block="write")
            release_claim(self._client, self.version, self._claim, self._patience)

    def documents(self) -> Iterator[Document | Reject]:
        """Yield all documents, then what was changed meanwhile, in rounds, the last with writes blocked."""
        changes = self._changes()
        yield from self._since(None, changes)
        left = None
        for _ in range(_MOST_ROUNDS):
            now = self._changes()
            before, left = left, now.made - changes.made
            if left <= _FEW or (before is not None and left > before):
                break
            yield from self._since(changes, now)
            changes = now
        self._wait_for_others()
        self._block()
        self._copied = self._changes()
        yield from self._since(changes, self._copied)

    def finish(self, report: IngestReport) -> None:
        """Delete from the new version what was deleted meanwhile. Raises IngestError when the versions
        differ afterwards, when half of the documents failed, when another run has replaced the index or
        re-embeds it too, and when somebody has allowed writes meanwhile.
        """
        self._check_in_use()
        self._check_claim()
        if report.failed or self._count(self.version) != self._count(report.version):
            self._delete_deleted(report.version)
        here, there = self._count(self.version), self._count(report.version)
        if not here - report.failed <= there <= here:
            raise IngestError(
                f"{report.version} has {there} documents and {self.version} has {here}, so {self._name} "
                "stays as it was; repeat the run",
                failed=report.failed,
            )
        if report.failed and 2 * there <= here:
            raise IngestError(
                f"{report.failed} documents failed, and {report.version} would have {there} of {here}, so "
                f"{self._name} stays as it was; {report.rejects} holds each of them with the reason",
                failed=report.failed,
            )
        self._remember_claim(report.version)

    def _remember_claim(self, version: str) -> None:
        """Let the aliases move to ``version`` only as long as the claim stands."""
        (state,) = self._patience.call(lambda: self._client.indices.get_mapping(index=version)).values()
        meta = {**state["mappings"].get("_meta", {}), CLAIM: self._claim}
        self._patience.call(lambda: self._client.indices.put_mapping(index=version, meta=meta))
        aliases = self._check_claim()
        self._moved = {name: aliases[name] for name in served_names(aliases)}
        # Looked at last, when all is done that takes time.
        blocked = is_blocked(self._client, self.version, self._patience)
        if not blocked or self._copied is None or self._changes().made != self._copied.made:
            raise IngestError(
                f"somebody has allowed writes into {self.version} while its last changes were copied, so "
                f"{self._name} stays as it was; repeat the run"
            )

    def way_back(self, version: str) -> str:
        """Return how to use the earlier version again in place of ``version``, in two requests."""
        actions = moves(self._moved, version, self.version, self._moved)
        return (
            f'to go back: PUT /{self.version}/_settings {{"index.blocks.write": null}}, then POST /_aliases '
            f"{json.dumps({'actions': actions})}"
        )

    def _check_in_use(self) -> None:
        if not self._patience.call(lambda: has_alias(self._client, self._name, self.version)):
            raise IngestError(
                f"another run has moved {self._name} away from {self.version}; repeat the run if it is "
                "still needed"
            )

    def _check_claim(self) -> dict[str, dict[str, Any]]:
        """Return the aliases of the version in use."""
        aliases = aliases_of(self._client, self.version, self._patience)
        if self._claim not in aliases:
            raise IngestError(
                f"another run re-embeds {self.version} too, and has taken over; {self._name} stays as it was"
            )
        return aliases

    def _wait_for_others(self) -> None:
        """Wait while another re-embedding blocks the version, but not for ever: it may have been killed."""
        for retry in range(self._patience.max_retries):
            self._check_in_use()
            others = any(is_claim(each) for each in aliases_of(self._client, self.version, self._patience))
            if self._left or not others:
                return
            self._patience.wait(retry)

    def _since(self, before: _Changes | None, now: _Changes) -> Iterator[Document | Reject]:
        """Yield the documents that were changed after ``before``. ``now`` was read before they are."""
        plan = self._plan
        assert plan is not None  # noqa: S101 set when the block was entered
        self._patience.whole(lambda: self._client.indices.refresh(index=self.version))
        for shard in sorted(now.checkpoints):
            after = -1 if before is None else before.checkpoints.get(shard, -1)
            with IndexWalk(
                self._client,
                self.version,
                source=plan.source,
                after=after,
                preference=f"_shards:{shard}" if len(now.checkpoints) > 1 else None,
                patience=self._patience,
            ) as walk:
                self._walk = walk
                for hit in walk.hits():
                    yield document_of(hit, plan)

    def _changes(self) -> _Changes:
        for retry in range(self._patience.max_retries + 1):
            answer = self._patience.whole(
                lambda: self._client.indices.stats(index=self.version, level="shards", metric="docs")
            )
            numbers = {
                int(shard): copy["seq_no"]
                for shard, copies in answer["indices"].get(self.version, {}).get("shards", {}).items()
                for copy in copies
                if copy["routing"]["primary"]
            }
            if len(numbers) == self._shards:
                return _Changes(
                    {shard: each["global_checkpoint"] for shard, each in numbers.items()},
                    sum(each["max_seq_no"] + 1 for each in numbers.values()),
                )
            self._patience.wait(retry)
        raise IngestError(
            f"of {self._shards} shards of {self.version} only {len(numbers)} are active; repeat the run when "
            "all are"
        )

    def _block(self) -> None:
        with self._lock:
            if self._left:
                return  # the run has ended, and so writes must stay allowed
            self._blocked = True
            take_claim(self._client, self.version, self._claim, self._patience)
            self._check_in_use()  # else the block of a version would be lifted that is used no more
            remember(self._client, self.version, self._embedder, self._patience)
            for _ in range(_BLOCKINGS):
                answer = self._patience.call(
                    lambda: self._client.indices.add_block(index=self.version, block="write")
                )
                if answer["shards_acknowledged"]:
                    return
                # Of a block that is there already, as one of a run that was killed, it is not known whether
                # the writes before it are complete.
                self._patience.call(
                    lambda: self._client.indices.put_settings(
                        index=self.version, settings={"index.blocks.write": None}
                    )
                )
        raise IngestError(
            f"{self.version} could not be blocked for writes on all its shards; repeat the run when all of "
            "them are active"
        )

    def _count(self, index: str) -> int:
        count: int = self._patience.whole(lambda: self._client.count(index=index))["count"]
        return count

    def _delete_deleted(self, version: str) -> None:
        """Delete the documents of ``version`` that the earlier version does not have. Few ids are in memory
        at a time.
        """
        with IndexWalk(self._client, version, source=False, patience=self._patience) as walk:
            ids = (str(hit["_id"]) for hit in walk.hits())
            while some := list(islice(ids, _COMPARED)):
                if gone := set(some) - self._having(some):
                    self._delete(version, sorted(gone))
        self._patience.whole(lambda: self._client.indices.refresh(index=version))

    def _having(self, ids: Sequence[str]) -> set[str]:
        answer = self._patience.call(
            lambda: self._client.search(
                index=self.version,
                query={"ids": {"values": list(ids)}},
                size=len(ids),
                source=False,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
        )
        return {hit["_id"] for hit in answer["hits"]["hits"]}

    def _delete(self, version: str, ids: Sequence[str]) -> None:
        waiting = list(ids)
        for retry in range(self._patience.max_retries + 1):
            lines = [{"delete": {"_id": identifier}} for identifier in waiting]
            answer = self._patience.call(
                lambda lines=lines: self._client.bulk(operations=lines, index=version)  # type: ignore[misc]
            )
            failed = {
                item["delete"]["_id"]: item["delete"].get("error")
                for item in answer["items"]
                if item["delete"]["status"] not in (200, 404)
            }
            if not failed:
                return
            waiting = list(failed)
            self._patience.wait(retry)
        raise IngestError(f"{len(waiting)} documents cannot be deleted from {version}: {failed[waiting[0]]}")
