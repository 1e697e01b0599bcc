"""What is minimised: a listwise softmax, a binary term and teachers, on the last head and, weighted, on the exits.

A listwise loss orders the passages of one query; the binary term makes the logistic of the logit a usable 0..1 score; the
Kullback-Leibler term towards the teacher keeps what the bi-encoder, trained on a billion pairs, knows already
(TinyBERT-style distillation, https://arxiv.org/abs/1909.10351). The exits learn from the same, and from the last head
(self-distillation, https://arxiv.org/abs/1905.08094).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from .recipe import Recipe
from .training_list import TrainingList


def loss_of(logits: torch.Tensor, lists: Sequence[TrainingList], recipe: Recipe) -> torch.Tensor:
    """Return the sum of the losses of lists; ``logits`` is (heads, total passages) in list order, the last head in the last row."""
    parts = logits.split([len(item.passages) for item in lists], dim=1)
    return torch.stack([_all_heads(part, item, recipe) for item, part in zip(lists, parts, strict=True)]).sum()


def _all_heads(logits: torch.Tensor, item: TrainingList, recipe: Recipe) -> torch.Tensor:
    *exits, last = logits.unbind()
    loss = _one_head(last, item, recipe)
    for early in exits:
        loss = loss + recipe.exit_weight * _one_head(early, item, recipe) + recipe.exit_distil_weight * _divergence(last.detach(), early)
    return loss


def _one_head(logits: torch.Tensor, item: TrainingList, recipe: Recipe) -> torch.Tensor:
    teacher = torch.tensor(item.teacher)
    if item.labels[0] < 0:
        return recipe.distil_weight_weak * _divergence(teacher, logits)
    labels = torch.tensor(item.labels, dtype=torch.float32)
    listwise = -(torch.log_softmax(logits, dim=0) * labels / labels.sum()).sum()
    loss = listwise + recipe.binary_weight * functional.binary_cross_entropy_with_logits(logits, labels)
    if item.labels[int(teacher.argmax())] == 1:
        loss = loss + recipe.distil_weight_labelled * _divergence(teacher, logits)
    return loss


def _divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of the student's softmax from the teacher's, over one list."""
    return functional.kl_div(torch.log_softmax(student, dim=0), torch.softmax(teacher, dim=0), reduction="sum")
