"""The stages of an ingest as tasks and actors of Ray Data: each row of a block is one pickled batch."""

from __future__ import annotations

import pickle  # nosec B403 # between processes of one Ray cluster, which pickle everything else too
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import pyarrow as pa
from ray.data.block import Block, BlockAccessor

from es_rerank.errors import IndexMismatchError
from es_rerank.models import Embedder
from es_rerank.text.chunking import Chunker

from ..counting import Tally, tally_of
from ..mapping import IndexRecipe
from ..patience import Patience
from ..reading.deferred import DeferredDocument, read_deferred
from ..stages import InFlight, IngestBatch, as_sources, cut, embed, ingest_batches, without_unchanged
from ..target import Address, Target
from ..vectors import EncodeVector
from .connection import Connection
from .datasink import BulkDatasink
from .errors import told

_COLUMN = "batch"

LoadEmbedder = Callable[[], Embedder]
"""Loads the embedder on a machine of the cluster. It is pickled."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all tasks of a round know.

    ``versions``: see ``target.Target``. ``chunker``: pickled, as a tokenizer is large: each process reads it
    once. ``stamp``: the ``@timestamp`` of the round, and ``stamps`` those of the rounds before it.
    ``scripts``: those that the embedder was trained on. ``superseded``: by the number of a batch, the ids of
    which a later batch of the round has the document.
    """

    connection: Connection
    name: str
    versions: tuple[str, ...]
    recipe: IndexRecipe
    chunker: bytes
    room: int | None
    patience: Patience
    encode: EncodeVector
    max_bytes: int
    documents: int
    characters: int
    scripts: Collection[str] | None
    stamp: str = ""
    stamps: tuple[str, ...] = ()
    superseded: dict[int, set[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Carried:
    """A batch on its way. ``notes``: what is told of the files that were converted for it."""

    number: int
    batch: IngestBatch
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What became of a batch, and the versions of the index that were written into."""

    tally: Tally
    notes: list[str]
    versions: tuple[str, ...]


def block_of(carried: Carried) -> pa.Table:
    """Return a block of one row. Ray knows its size exactly, other than that of a Python object."""
    return pa.table({_COLUMN: [pickle.dumps(carried, protocol=pickle.HIGHEST_PROTOCOL)]})


def _carried(block: Block) -> Iterator[Carried]:
    for cell in BlockAccessor.for_block(block).to_arrow()[_COLUMN]:
        yield pickle.loads(cell.as_buffer())  # noqa: S301 made by ``block_of``  # nosec B301


def prepare(block: pa.Table, plan: Plan) -> Iterator[pa.Table]:
    """Convert files, take out what is unchanged, and cut the rest into passages."""
    with told():
        for carried in _carried(block):
            for each in _read(carried, plan):
                without_unchanged(
                    each.batch,
                    plan.connection.client(),
                    plan.versions,
                    plan.patience,
                    plan.stamps,
                    InFlight(),
                    attempt=plan.stamp,
                )
                yield block_of(replace(each, batch=cut(each.batch, _chunker(plan.chunker), plan.room)))


def _read(carried: Carried, plan: Plan) -> Iterator[Carried]:
    """Yield the batch with its files converted: it may become several ones."""
    batch = carried.batch
    for identifier in plan.superseded.get(carried.number, ()):
        if batch.documents.pop(identifier, None) is not None:
            batch.duplicates += 1
    deferred = [each for each in batch.documents.values() if isinstance(each, DeferredDocument)]
    for document in deferred:
        del batch.documents[document.id]
    yield carried
    if deferred:
        notes: list[str] = []
        items = (
            item for each in deferred for item in read_deferred(each, notes.append, socket.gethostname())
        )
        for converted in ingest_batches(
            items, plan.recipe, documents=plan.documents, characters=plan.characters
        ):
            yield Carried(carried.number, converted, list(notes))
            notes.clear()


@lru_cache(maxsize=2)
def _chunker(pickled: bytes) -> Chunker:
    chunker: Chunker = pickle.loads(pickled)  # noqa: S301 made by the driver  # nosec B301
    return chunker


class Embedding:
    """An actor that embeds the passages of batches. It loads the embedder once."""

    def __init__(self, load: LoadEmbedder, name: str, dims: int) -> None:
        with told():
            self._embedder = load()
            if (self._embedder.name, self._embedder.dims) != (name, dims):
                raise IndexMismatchError(
                    f"the machine {socket.gethostname()} embeds with {self._embedder.name} "
                    f"({self._embedder.dims} dimensions), and the run began with {name} ({dims}); the same "
                    "model must be on all machines"
                )

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Embed the passages of the batches."""
        with told():
            for carried in _carried(block):
                embed(carried.batch, self._embedder)
                yield block_of(carried)


class BatchDatasink(BulkDatasink[list[Result]]):
    """Writes batches, and returns what became of them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.connection, plan.patience)
        self._plan = plan

    def write(self, blocks: Iterable[Block], ctx: object) -> list[Result]:  # noqa: ARG002 Ray passes it
        """Write the batches of one task."""
        plan, results = self._plan, []
        with told():
            address = Address(plan.name, plan.versions[-1], plan.recipe)
            target = Target(plan.connection.client(), address, plan.patience, plan.max_bytes)
            for block in blocks:
                for carried in _carried(block):
                    batch = as_sources(carried.batch, plan.encode, plan.stamp)
                    if batch.documents:
                        target.write(target.map(batch))
                    results.append(Result(tally_of(batch, plan.scripts), carried.notes, target.versions))
        return results
