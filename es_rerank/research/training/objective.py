"""The training loss: a listwise softmax, a binary term and teachers.

The listwise loss orders the passages of one query. The binary term makes the sigmoid of the logit a usable
score from 0 to 1. The Kullback-Leibler term towards the teacher keeps the knowledge of the bi-encoder, which
was trained on a billion pairs (TinyBERT-style distillation, https://arxiv.org/abs/1909.10351).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from .recipe import Recipe
from .training_list import TrainingList

_NOTHING = -1e4
"""Logit of a place without a passage in a shorter list.

Its share of a softmax is 0 in float32, and its logarithm is finite.
"""


def loss_of(logits: torch.Tensor, lists: Sequence[TrainingList], recipe: Recipe) -> torch.Tensor:
    """Return the sum of the losses of the lists.

    ``logits`` is float32, (total passages,), in the order of the lists.
    """
    sizes = torch.tensor([len(item.passages) for item in lists])
    width = int(sizes.max())
    real = torch.arange(width) < sizes[:, None]
    places = torch.where(real, (sizes.cumsum(0) - sizes)[:, None] + torch.arange(width), 0).to(logits.device)
    known = real.to(logits.device)
    labels = _table([item.labels for item in lists], 0.0, logits.device)
    teacher = _table([item.teacher for item in lists], _NOTHING, logits.device)
    table = logits[places].masked_fill(~known, _NOTHING)

    labelled = labels[:, 0] >= 0
    positives = labels.clamp(min=0)
    towards_teacher = _divergence(teacher, table)
    listwise = -(torch.log_softmax(table, dim=-1) * positives).sum(dim=-1) / positives.sum(dim=-1).clamp(
        min=1
    )
    terms = functional.binary_cross_entropy_with_logits(table, positives, reduction="none")
    binary = terms.masked_fill(~known, 0.0).sum(dim=-1) / known.sum(dim=-1)
    agrees = positives.gather(1, teacher.argmax(dim=-1, keepdim=True))[:, 0]
    from_labels = (
        listwise + recipe.binary_weight * binary + recipe.distil_weight_labelled * agrees * towards_teacher
    )
    return torch.where(labelled, from_labels, recipe.distil_weight_weak * towards_teacher).sum()


def _table(rows: Sequence[Sequence[float]], rest: float, device: torch.device) -> torch.Tensor:
    """Return rows of different lengths as float32, (rows, longest), filled with ``rest``."""
    parts = [torch.tensor(row, dtype=torch.float32) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=rest).to(device)


def _divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of the student's softmax from the teacher's, over the last
    dimension.
    """
    return functional.kl_div(
        torch.log_softmax(student, dim=-1), torch.softmax(teacher, dim=-1), reduction="none"
    ).sum(dim=-1)
