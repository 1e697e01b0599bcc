"""What a training recipe says: list of data, seeds and every number of a training run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RECIPE_FILE = "recipe.json"
"""File in which a training run stores its recipe, inside its folder."""

Part = Literal["all", "train", "evaluate"]
NegativesKind = Literal["mined", "pool", "same_title", "title_first"]
WeakKind = Literal["sentence", "keywords", "title", "labelled"]


class LabelledCollection(BaseModel):
    """One collection of labelled queries.

    ``kind`` says where negatives come from. ``mined``: BM25 and dense neighbours in the whole collection.
    ``pool``: first the query's own judged pool, then mined ones. ``same_title``: mined among documents that
    have the title of the positive. ``title_first``: first those documents, then mined ones, for collections
    whose questions make sense without their document. ``part`` is the tenth of the queries that a hash of
    their ids holds out (``evaluate``), or the other nine tenths (``train``). At most ``queries`` queries are
    drawn; each is used ``repeats`` times with new negatives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    splits: tuple[str, ...]
    kind: NegativesKind = "mined"
    part: Part = "all"
    queries: int = 100_000
    repeats: int = 1
    without: str | None = None
    """A collection whose held-out tenth must not be trained on: queries with the same text are dropped."""
    judged_only: bool = False
    """Read only documents that are judged for the drawn queries. So no text of another split is trained on.
    """
    documents: int | None = Field(default=None, ge=2)
    """Read at most this many documents: relevant ones first, then others in a seeded order. None: all."""


_CONTRAST_LIST = 8
"""Largest number of passages in a list of contrasts.

Half of them state another time, and a language has four such statements (``contrasts.json``).
"""

_OF_LISTS = {
    *(
        "seed",
        "sources",
        "weak",
        "weak_kinds",
        "weak_first",
        "list_size",
        "passage_tokens",
        "title_share",
        "false_negative_margin",
    ),
    *("distil_scale", "bm25_weight"),
}


_OF_INNER_HEADS = {"exit_layers", "exit_weight", "exit_distil_weight"}


class Recipe(BaseModel):
    """All choices of a training run. Two runs of the same recipe differ only by the order of floating-point
    operations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 13
    sources: tuple[LabelledCollection, ...]
    weak: int = 9_000
    """Number of lists whose queries are texts of the passages. Only the bi-encoder and BM25 teach them."""
    weak_kinds: dict[WeakKind, float] = {"sentence": 0.4, "keywords": 0.3, "title": 0.1, "labelled": 0.2}
    """Share of each kind of text among these queries."""
    weak_first: float = 0.3
    """Share of the weak lists that comes before all other lists."""
    list_size: int = 6
    """Passages per list: one positive (or more, in judged pools) and negatives."""
    lists_per_step: int = 16
    max_tokens: int = 384
    passage_tokens: tuple[int, ...] = (48, 96, 160, 256, 384)
    """Lengths in tokens at which documents are cut, one length for each document.

    They go from a sentence to the longest passage that is served.
    """
    title_share: float = 0.7
    """Share of the passages that have their title before them."""
    false_negative_margin: float = 0.08
    """A mined negative is dropped as a likely positive if its cosine is above the positive's by more than
    this.
    """
    steps: int = Field(default=670, ge=1)
    warmup_share: float = 0.06
    body_rate: float = 8e-5
    head_rate: float = 5e-4
    binary_weight: float = 0.3
    distil_weight_labelled: float = 0.3
    """Weight of the teacher on labelled lists when it agrees with the labels. When it does not agree, its
    weight is 0.
    """
    distil_weight_weak: float = 1.0
    distil_scale: float = 20.0
    """The bi-encoder's logits are distil_scale * cosine, with the temperature of all-MiniLM-L6-v2's training.
    """
    bm25_weight: float = 0.5
    """Weight of BM25's standardised scores in the teacher; the bi-encoder has weight 1."""
    average_decay: float = 0.99
    """Decay of the exponential moving average of the weights over the steps. The average is what is saved."""
    start_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the start's weights in what is saved; the trained average has the rest.

    Such a mean of two models keeps what the first knew of texts that the second did not read (WiSE-FT,
    https://arxiv.org/abs/2109.01903).
    """
    lists_per_pass: int = 16
    """Lists whose gradients are computed at once. A step adds up several passes; the number bounds memory."""
    batch_tokens: int = 4_096
    """Padded tokens that are read at once. The passages of a pass are sorted by length, so little is padding.
    """
    checkpoint_every: int = 100
    first_list: int = Field(default=0, ge=0)
    """Number of lists at the beginning that are skipped, because the model that this run starts from was
    trained on them.
    """
    spare_tenth: bool = False
    """Skip a tenth of the queries, chosen by a hash of their text. The calibration is fitted to them later.
    """
    reranker_weight: float = 2.0
    """Weight of a teaching reranker's standardised logits; bi-encoder and BM25 together have weight 1."""

    layers: int | tuple[int, ...] | None = None
    """The base model's layers that are kept: so many from the first on, or those that are listed, counted
    from 1. None keeps all.
    """
    embedders: tuple[str, ...] = ()
    """Embedders whose first stages give the passages of the lists, and that teach together. Names as
    ``--embedder`` takes them. Without any, the base model is the only one.
    """
    contrasts: int = Field(default=0, ge=0)
    """Number of lists of statements that differ only in a word of time (``contrasts``)."""
    scripts: tuple[str, ...] = ()
    """Configurations of OpenCC, such as t2s and s2tw. One of them is drawn for each list, and query and
    passages are written in its script (``scripts``). Without any, lists stay as they are.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_inner_heads(cls, stated: object) -> object:
        """Leave out what earlier recipes say of heads on inner layers: there are none any more, and the rest
        of such a recipe holds for the last layer as before.
        """
        if not isinstance(stated, dict):
            return stated
        return {name: value for name, value in stated.items() if name not in _OF_INNER_HEADS}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        kept = self.kept_layers
        if kept is not None and (not kept or kept[0] < 1 or list(kept) != sorted(set(kept))):
            raise ValueError(f"layers {self.layers} are not one or more layers in ascending order from 1 on")
        if self.contrasts and self.list_size > _CONTRAST_LIST:
            raise ValueError(
                f"list_size {self.list_size} is more than the {_CONTRAST_LIST} statements that a contrast "
                "can have"
            )
        return self

    @property
    def kept_layers(self) -> tuple[int, ...] | None:
        """The base model's layers that are kept, counted from 1; None for all."""
        return tuple(range(1, self.layers + 1)) if isinstance(self.layers, int) else self.layers

    def of_lists(self) -> str:
        """Return, as JSON, the fields that the training lists depend on.

        Recipes with the same value can use the same lists.
        """
        given = {name for name in ("contrasts", "embedders", "scripts") if getattr(self, name)}
        return self.model_dump_json(include=_OF_LISTS | given)
