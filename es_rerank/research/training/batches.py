"""Batches of tokens for every step of a run. A resumed run reads the same batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from .recipe import Recipe
from .training_list import TrainingList

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tokenized lists whose gradients are computed at once.

    ``batches`` are sorted by length; ``places`` has the position of each passage in them.
    """

    lists: Sequence[TrainingList]
    batches: Sequence[Mapping[str, torch.Tensor]]
    places: torch.Tensor


def tokenised(
    lists: Sequence[TrainingList], tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> MicroBatch:
    """Return tokenized lists in batches that are sorted by length, so that little is padding."""
    pairs = tokenizer(
        [item.query for item in lists for _ in item.passages],
        [text for item in lists for text in item.passages],
        truncation="longest_first",
        max_length=recipe.max_tokens,
    )
    lengths = [len(ids) for ids in pairs["input_ids"]]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = [
        dict(
            tokenizer.pad(
                {name: [values[i] for i in batch] for name, values in pairs.items()}, return_tensors="pt"
            )
        )
        for batch in token_batches(order, lengths, recipe.batch_tokens)
    ]
    return MicroBatch(lists, batches, torch.tensor(order).argsort())


class StepBatches(Dataset[list[MicroBatch]]):
    """The batches of each step of a run; they do not depend on where the run was resumed.

    The first epoch has the lists in their order. Every later epoch has its own seeded order.
    """

    def __init__(
        self, lists: Sequence[TrainingList], tokenizer: PreTrainedTokenizerFast, recipe: Recipe
    ) -> None:
        self._lists, self._tokenizer, self._recipe = lists, tokenizer, recipe

    def __getitem__(self, step: int) -> list[MicroBatch]:
        size, at_once = self._recipe.lists_per_step, self._recipe.lists_per_pass
        epoch, number = divmod(step, len(self._lists) // size)
        order = list(range(len(self._lists)))
        if epoch > 0:
            random.Random(f"{self._recipe.seed}:{epoch}").shuffle(order)
        lists = [self._lists[i] for i in order[number * size : (number + 1) * size]]
        return [
            tokenised(lists[start : start + at_once], self._tokenizer, self._recipe)
            for start in range(0, size, at_once)
        ]


def token_batches(order: Sequence[int], lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield ``order``, which is sorted by length, in batches of at most ``tokens`` padded tokens and at least
    one text.
    """
    batch: list[int] = []
    for number in order:
        if batch and lengths[number] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
