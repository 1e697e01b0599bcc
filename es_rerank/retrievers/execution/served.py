"""The models of a client or of a sidecar, and how a request names one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...errors import RequestError, UnknownModelError
from ...models import Embedder, Reranker
from ...models.spec import name_fault
from ..grammar.tree import DEFAULT_INFERENCE_ID

Rerankers = Reranker | Mapping[str, Reranker] | None
Embedders = Embedder | Mapping[str, Embedder] | None
"""One model, which is served under its own name, or models by the names under which they are served: the
first is the default."""


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models by the names of requests. The first of each kind is the default.

    An embedder has two names where it is served under another one than its own: a request may use both. Its
    own name is the one that an index records.
    """

    rerankers: Mapping[str, Reranker]
    embedders: Mapping[str, Embedder] = field(default_factory=dict)

    @classmethod
    def of(cls, reranker: Rerankers, embedder: Embedders) -> ServedModels:
        """Return the models that a caller gives. Raises RequestError when a name means two embedders."""
        rerankers = {reranker.name: reranker} if isinstance(reranker, Reranker) else dict(reranker or {})
        if embedder is None or isinstance(embedder, Mapping):
            embedders = dict(embedder or {})
        else:
            embedders = {embedder.name: embedder}
        fault = name_fault([(name, each.name) for name, each in embedders.items()])
        if fault is not None:
            raise RequestError(fault)
        return cls(rerankers, embedders)

    def serves(self, inference_id: str) -> bool:
        """Whether an inference id names a served reranker."""
        return inference_id in self.rerankers or (
            inference_id == DEFAULT_INFERENCE_ID and bool(self.rerankers)
        )

    def reranker(self, inference_id: str, called: str = "inference endpoint") -> Reranker:
        """Return the reranker that an inference id names. Elastic's default id names the first reranker.

        Raises UnknownModelError, with the list of the served rerankers, when no reranker has this id.
        ``called``: what the caller's API calls a model.
        """
        if inference_id in self.rerankers:
            return self.rerankers[inference_id]
        if inference_id == DEFAULT_INFERENCE_ID and self.rerankers:
            return next(iter(self.rerankers.values()))
        known = ", ".join(self.rerankers) or "none"
        raise UnknownModelError(
            f"{called} [{inference_id}] is not served here; served rerankers: {known}",
            name=inference_id,
        )

    @property
    def embedder(self) -> Embedder | None:
        """The default embedder, None if none is served."""
        return next(iter(self.embedders.values()), None)

    def embeds(self, model: str) -> bool:
        """Whether ``model`` names a served embedder."""
        return model in self.embedders or any(model == each.name for each in self.embedders.values())

    def name_of(self, embedder: Embedder) -> str:
        """Return the name under which an embedder is served."""
        return next(name for name, each in self.embedders.items() if each is embedder)

    def embedder_for(self, model: str | None, recorded: Collection[str] = ()) -> Embedder:
        """Return the embedder that a request means by ``model``, its name or None.

        ``recorded``: the names of embedders that the searched indices record. Without ``model``, the one that
        they all record is returned if it is served, else the default. Raises UnknownModelError when ``model``
        is not served. Raises RequestError when no embedder is served.
        """
        if not self.embedders:
            raise RequestError(
                "[query_vector_builder] needs an embedder and none is configured; "
                "give [query_vector] yourself or configure an embedder"
            )
        own = {embedder.name: embedder for embedder in self.embedders.values()}
        if model is None:
            (only,) = recorded if len(recorded) == 1 else ("",)
            return own.get(only) or next(iter(own.values()))
        found = self.embedders.get(model) or own.get(model)
        if found is None:
            raise UnknownModelError(
                f"embedding model [{model}] is not served here; served: {', '.join(self.embedders)}",
                name=model,
            )
        return found
