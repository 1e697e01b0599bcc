"""The recipes of the cross-encoders that this project ships, and those it measures them with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import SettingsError
from .recipe import LabelledCollection, Recipe

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

The shipped weights of this round and the next two were trained with heads on inner layers, which are gone.
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
        LabelledCollection(collection="scifact", splits=("train",), documents=1_800),
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
    weak=8_000,
    weak_kinds={"sentence": 0.3, "keywords": 0.2, "title": 0.2, "labelled": 0.3},
    weak_first=0.1,
    list_size=8,
    lists_per_pass=4,
    batch_tokens=1_280,
    max_tokens=320,
    passage_tokens=(48, 96, 192),
    steps=950,
    start_share=0.5,
    warmup_share=0.05,
    body_rate=5e-5,
    head_rate=2e-4,
    distil_weight_labelled=0.5,
    spare_tenth=True,
)
"""Fourth round of the bundled cross-encoder.

It starts from the weights of the third round's int8 graph. Three embedders and BM25 give the passages and
teach together, on more kinds of queries, because the rounds before taught what one embedder knows. What is
saved is the mean of the start and of what was learned: the learned weights alone lost on the texts that the
third round knew.
"""

LEFT_OUT = FOURTH_ROUND.model_copy(
    update={
        "sources": tuple(
            source
            for source in FOURTH_ROUND.sources
            if source.collection not in {"scifact", "selqa", "msrd_movies"}
        ),
        "steps": 400,
        "start_share": 0.0,
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
        "start_share": 0.0,
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
    spare_tenth=True,
    layers=6,
    contrasts=1_000,
)
"""First round of the cross-encoder for Chinese and English.

It has half the layers of a multilingual bi-encoder, whose cosines lie in a narrow range. The shipped weights
of both rounds were trained with a head on an inner layer, which is gone.
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

ZH_SMALL = FOURTH_ROUND.model_copy(
    update={
        "sources": (
            LabelledCollection(collection="cmrc2018", splits=("trial",), judged_only=True, repeats=2),
            LabelledCollection(collection="drcd", splits=("dev",), kind="title_first", judged_only=True),
            LabelledCollection(
                collection="nq_open_oracle", splits=("all",), part="train", queries=500, documents=600
            ),
        ),
        "embedders": ("multilingual-e5-small-zh-en", "maven:bge-small-zh-v15"),
        "weak": 4_000,
        "weak_kinds": {"sentence": 0.4, "keywords": 0.2, "title": 0.1, "labelled": 0.3},
        "false_negative_margin": 0.02,
        "steps": 600,
        "start_share": 0.0,
        "body_rate": 1e-4,
        "head_rate": 8e-4,
        "distil_scale": 100.0,
        "contrasts": 600,
        "scripts": ("t2s", "s2tw"),
    }
)
"""A cross-encoder for Chinese from a small Chinese bi-encoder (``--base``), taught by the one for Chinese and
English (``--teacher``).

Both embedders of Chinese give the passages. The multilingual one is the first: it cuts the passages and
chooses the positive in a document, because the other one hardly reads English. Each list is in simplified or
traditional characters. Questions of DRCD stand first of all beside other passages of their own article.
"""

ZH_EN_THIRD_ROUND = ZH_SMALL.model_copy(update={"body_rate": 5e-5, "head_rate": 2e-4})
"""Third round of the cross-encoder for Chinese and English, over the lists of the small one.

It starts from the weights of the second round's int8 graph.
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
    "zh-en-third": ZH_EN_THIRD_ROUND,
    "zh-small": ZH_SMALL,
}
"""The recipes, by the names that ``--recipe`` takes."""


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
