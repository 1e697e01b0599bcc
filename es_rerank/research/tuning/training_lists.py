"""Training lists from judged windows, and the recipe by which a model goes on from its weights. No torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...errors import SettingsError, SourceError
from ...models.manifest import Manifest
from ...retrievers.grammar.tree import FirstStage
from ...scores import standardise
from ...types import Blend
from ..training.recipe import Recipe
from ..training.training_list import TrainingList
from .fitting import log_odds
from .judgements import is_fitted_on, is_trained_on
from .verdict import LEAST_QUERIES, Ratings
from .windows import Window

LIST_SIZE = 8
"""Most passages of a list, as in the bundled model's last round."""

MOST_POSITIVES = 4
"""Relevant documents of one query that get lists: a query with many of them must not outweigh the others."""

DRAWS = 2
"""Lists for each relevant document, each with other negatives."""

EPOCHS = 2
"""How often each list is read."""

MOST_STEPS = 400
"""Steps at which a training ends, whatever there is to read: 25,600 pairs."""

START_SHARE = 0.3
"""Weight that the start has in the average that is saved.

The average of a fine-tuned model and its start keeps more of what the start knew than the fine-tuned one, and
is often better on its own ground too (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models",
https://arxiv.org/abs/2109.01903).
"""

_LISTS_PER_STEP = 8

LEAST_LISTS = 2 * _LISTS_PER_STEP
"""Lists that a training needs at least."""

BODY_RATE, HEAD_RATE = 2e-5, 5e-5
"""Highest learning rates, a half and a quarter of those of the bundled model's last round or lower: the start
is trained already."""

Teachers = Mapping[FirstStage, Blend | None]
"""The shipped blend of each first stage: model and first stage together teach."""


def check_trainable(manifest: Manifest) -> None:
    """Check that a model's weights can be trained. Raises SettingsError with what can be."""
    labels = None if manifest.cross_encoder is None else manifest.cross_encoder.labels
    if manifest.architecture != "BertForSequenceClassification" or labels != 1:
        outputs = "" if labels is None else f" with {labels} output{'s' if labels > 1 else ''}"
        raise SettingsError(
            f"--train: {manifest.name} is a {manifest.kind} of the architecture "
            f"{manifest.architecture}{outputs}; only a cross-encoder of BERT's architecture with one output, "
            "such as the bundled ones, can be trained; leave out --train, or name another --reranker"
        )


def training_lists(
    windows: Mapping[FirstStage, Sequence[Window]],
    ratings: Ratings,
    teachers: Teachers,
    seed: int,
    chosen: Callable[[str, int], bool] = is_trained_on,
) -> list[TrainingList]:
    """Return the lists of the queries that ``chosen`` takes, in a seeded order.

    A list is a relevant document and irrelevant ones of the query's windows, by ``Ratings.labels``, each with
    the passage that decided its logit. Unknown documents are left out. A query without a relevant or without
    an irrelevant hit gives no list. The teacher of a window is its model blended with its first stage, in the
    spread of the model's logits.
    """
    lists = []
    for of_query in zip(*windows.values(), strict=True):
        query = of_query[0].query
        if not chosen(query, seed):
            continue
        # A document that several first stages found counts once, as the first of them found it.
        hits: dict[str, tuple[float, str, float]] = {}
        for name, window in reversed(list(zip(windows, of_query, strict=True))):
            logits = np.asarray(window.logits, dtype=np.float64)
            (odds,) = log_odds([window], teachers[name])
            taught = logits.mean() + logits.std() * standardise(odds.tolist()) if len(odds) else logits
            hits |= {
                document: (label, read.texts[read.best], value)
                for document, label, read, value in zip(
                    window.documents,
                    ratings.labels(window).tolist(),
                    window.read,
                    taught.tolist(),
                    strict=True,
                )
            }
        lists += _lists(query, list(hits.values()), random.Random(f"{seed}:{query}"))
    random.Random(seed).shuffle(lists)
    return lists


def _lists(query: str, hits: Sequence[tuple[float, str, float]], chance: random.Random) -> list[TrainingList]:
    # A text that is relevant and irrelevant at once, in two documents, says nothing.
    relevant_texts, other_texts = ({text for label, text, _ in hits if label == value} for value in (1, 0))
    positives = [hit for hit in hits if hit[0] == 1 and hit[1] not in other_texts]
    negatives = [hit for hit in hits if hit[0] == 0 and hit[1] not in relevant_texts]
    lists = []
    for positive in chance.sample(positives, min(MOST_POSITIVES, len(positives))) if negatives else []:
        for _ in range(DRAWS):
            drawn = [positive, *chance.sample(negatives, min(LIST_SIZE - 1, len(negatives)))]
            lists.append(
                TrainingList(
                    query,
                    [text for _, text, _ in drawn],
                    [int(label) for label, _, _ in drawn],
                    [round(value, 4) for _, _, value in drawn],
                )
            )
    return lists


def check_halves(windows: Mapping[FirstStage, Sequence[Window]], ratings: Ratings, seed: int) -> None:
    """Check that enough queries are left to fit a trained model to. Raises SourceError with what to do."""
    for name, own in windows.items():
        left = sum(
            is_fitted_on(window.query, seed) and bool((ratings.labels(window) == 1).any()) for window in own
        )
        if left < LEAST_QUERIES:
            raise SourceError(
                f"--train: the first stage {name} finds a relevant document for {left} of the queries that "
                f"a trained model's blend is fitted to, and {LEAST_QUERIES} are needed; judge about "
                f"{10 * LEAST_QUERIES} queries or more, or leave out --train"
            )


def check_lists(lists: Sequence[TrainingList]) -> None:
    """Check that there are enough lists to train on. Raises SourceError with what is needed."""
    if len(lists) < LEAST_LISTS:
        raise SourceError(
            f"--train: the judgements give {len(lists)} training lists, and {LEAST_LISTS} are needed: a "
            "relevant hit and an irrelevant one of the same query each; judge more of the hits, or leave out "
            "--train"
        )


def tuning_recipe(lists: Sequence[TrainingList], max_tokens: int, seed: int) -> Recipe:
    """Return the recipe by which a model goes on: few steps, low rates, an average with the start.

    ``max_tokens`` is what the model reads at most. The number of steps is known before the first one.
    """
    steps = min(MOST_STEPS, EPOCHS * (len(lists) // _LISTS_PER_STEP))
    return Recipe(
        seed=seed,
        sources=(),
        weak=0,
        list_size=LIST_SIZE,
        lists_per_step=_LISTS_PER_STEP,
        lists_per_pass=4,
        batch_tokens=1_280,
        max_tokens=max_tokens,
        steps=steps,
        warmup_share=0.1,
        body_rate=BODY_RATE,
        head_rate=HEAD_RATE,
        distil_weight_labelled=0.5,
        # The first step starts the average, and each later one multiplies its part by the decay.
        average_decay=START_SHARE ** (1 / max(1, steps - 1)),
        checkpoint_every=steps,
    )
