"""Recipes of the cross-encoders that this project ships: list of data, seeds and every number of a training
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...errors import SettingsError

RECIPE_FILE = "recipe.json"
"""File in which a training run stores its recipe, inside its folder."""

Part = Literal["all", "train", "evaluate"]
NegativesKind = Literal["mined", "pool", "same_title"]
WeakKind = Literal["sentence", "keywords", "title", "labelled"]


class LabelledCollection(BaseModel):
    """One collection of labelled queries.

    ``kind`` says where negatives come from. ``mined``: BM25 and dense neighbours in the whole collection.
    ``pool``: first the query's own judged pool, then mined ones. ``same_title``: mined among documents that
    have the title of the positive. ``part`` is the tenth of the queries that a hash of their ids holds out
    (``evaluate``), or the other nine tenths (``train``). At most ``queries`` queries are drawn; each is used
    ``repeats`` times with new negatives.
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
    exit_layers: tuple[int, ...] = (2, 3)
    """Layers, counted from 1, that get an exit head, so that the encoder can stop after them."""
    exit_weight: float = 0.4
    """Weight of each exit head's own loss from labels and teacher."""
    exit_distil_weight: float = 0.4
    """Weight of the last head as the teacher of each exit head."""
    average_decay: float = 0.99
    """Decay of the exponential moving average of the weights over the steps. The average is what is saved."""
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

    @model_validator(mode="after")
    def _possible(self) -> Self:
        kept = self.kept_layers
        if kept is not None and (not kept or kept[0] < 1 or list(kept) != sorted(set(kept))):
            raise ValueError(f"layers {self.layers} are not one or more layers in ascending order from 1 on")
        if kept is not None and self.exit_layers and max(self.exit_layers) >= len(kept):
            raise ValueError(
                f"exit_layers {self.exit_layers} do not lie below the last of {len(kept)} layers"
            )
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
        given = {name for name in ("contrasts", "embedders") if getattr(self, name)}
        return self.model_dump_json(include=_OF_LISTS | given)


FIRST_ROUND = Recipe(
    sources=(
        LabelledCollection(collection="nq_open_oracle", splits=("all",), part="train"),
        LabelledCollection(collection="qed", splits=("dev",), without="nq_open_oracle"),
        LabelledCollection(collection="scifact", splits=("train",), repeats=2),
        LabelledCollection(collection="selqa", splits=("dev",), kind="pool", judged_only=True, repeats=2),
        LabelledCollection(collection="covidqa", splits=("all",)),
        LabelledCollection(collection="pubmedqa", splits=("train", "test"), repeats=2),
        LabelledCollection(
            collection="product_qa",
            splits=("ePQA_dev", "hetPQA_dev", "semiPQA_dev"),
            kind="pool",
            judged_only=True,
        ),
        LabelledCollection(
            collection="msrd_movies", splits=("all",), kind="pool", part="train", queries=3_000
        ),
        LabelledCollection(collection="medquad", splits=("train",), judged_only=True, queries=1_500),
        LabelledCollection(collection="policyqa", splits=("dev", "test"), kind="same_title", queries=1_000),
    ),
)
"""First round of the bundled cross-encoder: it learns first from the bi-encoder, then also from the labels.
"""

SECOND_ROUND = FIRST_ROUND.model_copy(
    update={
        "steps": 850,
        "warmup_share": 0.04,
        "body_rate": 5e-5,
        "head_rate": 3e-4,
        "distil_weight_labelled": 0.5,
        "first_list": FIRST_ROUND.steps * FIRST_ROUND.lists_per_step,
        "spare_tenth": True,
    }
)
"""Second round of the bundled cross-encoder.

It starts from the model of the first round, which is also a teacher, and uses the lists that the first round
did not reach.
"""

THIRD_ROUND = SECOND_ROUND.model_copy(
    update={
        "sources": tuple(
            source.model_copy(update={"repeats": 2}) if source.collection == "nq_open_oracle" else source
            for source in FIRST_ROUND.sources
        ),
        "weak": 0,
        "list_size": 12,
        "lists_per_pass": 8,
        "steps": 900,
        "body_rate": 1e-4,
        "distil_weight_labelled": 0.3,
        "first_list": 0,
    }
)
"""Third round of the bundled cross-encoder.

It starts from the model of the second round and uses only labelled questions, with twice as many passages in
a list.
"""

FOURTH_ROUND = Recipe(
    sources=(
        LabelledCollection(
            collection="nq_open_oracle", splits=("all",), part="train", queries=1_300, documents=1_800
        ),
        LabelledCollection(
            collection="qed", splits=("dev",), without="nq_open_oracle", queries=500, documents=600
        ),
        LabelledCollection(collection="scifact", splits=("train",), documents=1_000),
        LabelledCollection(
            collection="selqa", splits=("dev",), kind="pool", judged_only=True, queries=500, documents=2_500
        ),
        LabelledCollection(collection="covidqa", splits=("all",), queries=700, documents=800),
        LabelledCollection(collection="pubmedqa", splits=("train", "test"), queries=700, documents=700),
        LabelledCollection(
            collection="product_qa",
            splits=("ePQA_dev", "hetPQA_dev", "semiPQA_dev"),
            kind="pool",
            judged_only=True,
            queries=900,
            documents=3_000,
        ),
        LabelledCollection(
            collection="msrd_movies",
            splits=("all",),
            kind="pool",
            part="train",
            queries=1_200,
            documents=2_500,
        ),
        LabelledCollection(
            collection="medquad", splits=("train",), judged_only=True, queries=600, documents=600
        ),
        LabelledCollection(
            collection="policyqa", splits=("dev", "test"), kind="same_title", queries=300, documents=500
        ),
    ),
    embedders=("all-MiniLM-L6-v2", "maven:bge-small-en-v15", "maven:e5-small-v2"),
    weak=9_000,
    weak_kinds={"sentence": 0.3, "keywords": 0.2, "title": 0.2, "labelled": 0.3},
    weak_first=0.1,
    list_size=8,
    lists_per_pass=4,
    batch_tokens=1_280,
    max_tokens=320,
    passage_tokens=(48, 96, 192),
    steps=950,
    warmup_share=0.05,
    body_rate=5e-5,
    head_rate=2e-4,
    distil_weight_labelled=0.5,
    exit_layers=(),
    spare_tenth=True,
)
"""Fourth round of the bundled cross-encoder.

It starts from the weights of the third round's int8 graph. Three embedders and BM25 give the passages and
teach together, on more kinds of queries, because the rounds before taught what one embedder knows.
"""

LEFT_OUT = FOURTH_ROUND.model_copy(
    update={
        "sources": tuple(
            source
            for source in FOURTH_ROUND.sources
            if source.collection not in {"scifact", "selqa", "msrd_movies"}
        ),
        "steps": 400,
        "body_rate": 1.2e-4,
        "head_rate": 8e-4,
    }
)
"""A model that shows what the recipe is worth on collections that it never read.

It starts from the base model, not from a round that has read them. It is not shipped.
"""

TWO_LAYERS = FOURTH_ROUND.model_copy(
    update={
        "layers": 2,
        "steps": 600,
        "body_rate": 1.5e-4,
        "head_rate": 8e-4,
        "reranker_weight": 6.0,
        "distil_weight_labelled": 1.5,
    }
)
"""The small model of a cascade: two layers, taught by the bundled cross-encoder (``--teacher``)."""

ZH_EN_FIRST_ROUND = Recipe(
    sources=(
        LabelledCollection(collection="cmrc2018", splits=("trial",), judged_only=True, repeats=3),
        LabelledCollection(collection="drcd", splits=("dev",), judged_only=True),
        LabelledCollection(collection="nq_open_oracle", splits=("all",), part="train"),
        LabelledCollection(collection="selqa", splits=("dev",), kind="pool", judged_only=True),
        LabelledCollection(collection="scifact", splits=("train",)),
        LabelledCollection(collection="pubmedqa", splits=("train", "test")),
        LabelledCollection(collection="qed", splits=("dev",), without="nq_open_oracle"),
    ),
    weak=8_000,
    weak_kinds={"sentence": 0.6, "title": 0.1, "labelled": 0.3},
    list_size=8,
    false_negative_margin=0.02,
    steps=400,
    warmup_share=0.04,
    body_rate=1.2e-4,
    head_rate=8e-4,
    distil_scale=50.0,
    exit_layers=(3,),
    spare_tenth=True,
    layers=6,
    contrasts=1_000,
)
"""First round of the cross-encoder for Chinese and English.

It has half the layers of a multilingual bi-encoder, whose cosines lie in a narrow range.
"""

ZH_EN_SECOND_ROUND = ZH_EN_FIRST_ROUND.model_copy(
    update={
        "steps": 780,
        "body_rate": 8e-5,
        "head_rate": 5e-4,
        "first_list": ZH_EN_FIRST_ROUND.steps * ZH_EN_FIRST_ROUND.lists_per_step,
    }
)
"""Second round of the cross-encoder for Chinese and English, over the lists that the first round did not
reach.
"""

RECIPES: Mapping[str, Recipe] = {
    "first": FIRST_ROUND,
    "second": SECOND_ROUND,
    "third": THIRD_ROUND,
    "fourth": FOURTH_ROUND,
    "left-out": LEFT_OUT,
    "two-layers": TWO_LAYERS,
    "zh-en-first": ZH_EN_FIRST_ROUND,
    "zh-en-second": ZH_EN_SECOND_ROUND,
}
"""The recipes of the shipped cross-encoders, by the names that ``--recipe`` takes."""


def read_recipe(name: str) -> Recipe:
    """Return a recipe: a round of a shipped cross-encoder by its name, or the recipe in a JSON file.

    Raises SettingsError, with pydantic's report of the fields, when the file is not a recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    try:
        return Recipe.model_validate_json(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{name} is not a training recipe, nor one of {', '.join(RECIPES)}: {error}"
        ) from error
