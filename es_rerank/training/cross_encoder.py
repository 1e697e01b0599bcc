"""Training a one-logit cross-encoder: listwise softmax, a binary term and the bi-encoder as a teacher.

Recipe and lessons: a listwise loss orders the passages of one query; the binary term makes the logistic of the logit
a usable 0..1 score; the Kullback-Leibler term towards softmax(20 * cosine) keeps what the bi-encoder, trained on a
billion pairs, knows already (TinyBERT-style distillation, https://arxiv.org/abs/1909.10351).
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ..errors import SourceError
from ..types import FloatArray
from .lists import TrainingList, make_lists
from .recipe import DEVELOPMENT_LISTS, Recipe, development_lists

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Report = Callable[[dict[str, Any]], None]
"""Told the state of the run after every step: step, steps, loss, accuracy, pairs_per_second."""

_LOG = "log.jsonl"
_LISTS = "lists.jsonl"


def bi_encoder(base: Path) -> Callable[[list[str]], FloatArray]:
    """Return the base model as a teacher: texts to unit vectors, float32, (n, dims)."""
    model = SentenceTransformer(str(base), device="cpu")
    model.max_seq_length = 192

    def embed(texts: list[str]) -> FloatArray:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors = model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    return embed


def prepare(recipe: Recipe, data: Path, base: Path, work: Path, report: Callable[[str], None]) -> list[TrainingList]:
    """Return the lists of the recipe, from ``work`` when a former run of the same recipe left them there."""
    path, mark = work / _LISTS, recipe.model_dump_json()
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            if next(lines, "").rstrip("\n") == mark:
                return [TrainingList(**json.loads(line)) for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(base).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lists = make_lists(recipe, data, tokenizer, bi_encoder(base), report)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(mark + "\n")
        out.writelines(json.dumps(asdict(item)) + "\n" for item in lists)
    partial.replace(path)
    return lists


def new_model(base: Path, seed: int) -> BertForSequenceClassification:
    """Return a cross-encoder with the body of ``base`` and a fresh pooler and one-logit head."""
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(base)
    config.num_labels = 1
    config.architectures = ["BertForSequenceClassification"]
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    model = BertForSequenceClassification.from_pretrained(base, config=config)
    torch.nn.init.normal_(model.bert.pooler.dense.weight, std=config.initializer_range)
    torch.nn.init.zeros_(model.bert.pooler.dense.bias)
    # Word vectors carry the vocabulary of the base model; moving them on little data forgets words it does not hold.
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


def loss_of(logits: torch.Tensor, lists: list[TrainingList], recipe: Recipe) -> torch.Tensor:
    """Return the mean loss over lists; ``logits`` is (total passages,) in list order."""
    losses = []
    for item, part in zip(lists, logits.split([len(item.passages) for item in lists]), strict=True):
        teacher = torch.softmax(recipe.distil_scale * torch.tensor(item.cosines), dim=0)
        distil = torch.nn.functional.kl_div(torch.log_softmax(part, dim=0), teacher, reduction="sum")
        if item.labels[0] < 0:
            losses.append(recipe.distil_weight_unlabelled * distil)
            continue
        labels = torch.tensor(item.labels, dtype=torch.float32)
        listwise = -(torch.log_softmax(part, dim=0) * labels / labels.sum()).sum()
        binary = torch.nn.functional.binary_cross_entropy_with_logits(part, labels)
        losses.append(listwise + recipe.binary_weight * binary + recipe.distil_weight_labelled * distil)
    return torch.stack(losses).mean()


class Trainer:
    """One run of a recipe over lists, in a work folder from which it can be resumed."""

    def __init__(self, recipe: Recipe, lists: list[TrainingList], base: Path, work: Path) -> None:
        if len(lists) < 2 * DEVELOPMENT_LISTS:
            raise SourceError(f"the recipe gave {len(lists)} training lists; at least {2 * DEVELOPMENT_LISTS} are needed", path=str(work))
        self._recipe, self._work = recipe, work
        development = development_lists([number for number, item in enumerate(lists) if item.labels[0] >= 0], recipe.seed)
        self._development = [lists[number] for number in sorted(development)]
        self._lists = [item for number, item in enumerate(lists) if number not in development]
        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(base)
        self.model = new_model(base, recipe.seed)
        heads = {id(p) for module in (self.model.bert.pooler, self.model.classifier) for p in module.parameters()}
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if id(p) not in heads], "lr": recipe.body_rate},
                {"params": [p for p in trained if id(p) in heads], "lr": recipe.head_rate},
            ],
            weight_decay=0.01,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)
        self.step = 0

    def _rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        warmup = max(1, int(self._recipe.steps * self._recipe.warmup_share))
        return min(1.0, (step + 1) / warmup, max(0.0, (self._recipe.steps - step) / (self._recipe.steps - warmup)))

    def _batches(self) -> Iterator[list[TrainingList]]:
        """Yield the batches from the current step on: seeded epochs, so that a resumed run sees what it would have seen."""
        size = self._recipe.lists_per_step
        per_epoch = len(self._lists) // size
        for step in itertools.count(self.step):
            epoch, number = divmod(step, per_epoch)
            order = random.Random(f"{self._recipe.seed}:{epoch}").sample(range(len(self._lists)), len(self._lists))
            yield [self._lists[i] for i in order[number * size : (number + 1) * size]]

    def _logits(self, lists: list[TrainingList]) -> torch.Tensor:
        """Return the logits, float32, (total passages,): sorted by length into small batches, so that little is padding."""
        queries = [item.query for item in lists for _ in item.passages]
        passages = [text for item in lists for text in item.passages]
        order = sorted(range(len(passages)), key=lambda i: len(passages[i]))
        logits = torch.empty(len(passages))
        parts = []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for chunk in (order[i : i + 12] for i in range(0, len(order), 12)):
                inputs = self._tokenizer(
                    [queries[i] for i in chunk],
                    [passages[i] for i in chunk],
                    truncation="longest_first",
                    max_length=self._recipe.max_tokens,
                    padding=True,
                    return_tensors="pt",
                )
                parts.append(self.model(**inputs).logits[:, 0].float())
        return logits.index_put((torch.tensor(order),), torch.cat(parts))

    def run(self, report: Report) -> None:
        """Train to the last step, writing a checkpoint at the recipe's interval."""
        self.model.train()
        started, pairs = time.monotonic(), 0
        for batch in itertools.islice(self._batches(), self._recipe.steps - self.step):
            torch.manual_seed(self._recipe.seed * 1_000_003 + self.step)
            logits = self._logits(batch)
            loss = loss_of(logits, batch, self._recipe)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad()
            self.step += 1
            pairs += len(logits)
            state = {
                "step": self.step,
                "steps": self._recipe.steps,
                "loss": round(loss.item(), 4),
                "pairs_per_second": round(pairs / (time.monotonic() - started), 1),
            }
            if self.step % self._recipe.checkpoint_every == 0 or self.step == self._recipe.steps:
                state["accuracy"] = self.accuracy()
                self._checkpoint()
            with (self._work / _LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(state) + "\n")
            report(state)

    def accuracy(self) -> float:
        """Return the share of development lists whose best passage is a positive."""
        self.model.eval()
        with torch.no_grad():
            logits = self._logits(self._development)
        self.model.train()
        parts = logits.split([len(item.passages) for item in self._development])
        return sum(item.labels[int(part.argmax())] for item, part in zip(self._development, parts, strict=True)) / len(parts)

    def _checkpoint(self) -> None:
        partial = self._work / "checkpoint.partial"
        torch.save(
            {
                "recipe": self._recipe.model_dump_json(),
                "step": self.step,
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
            },
            partial,
        )
        partial.replace(self._work / "checkpoint.pt")

    def resume(self) -> bool:
        """Take up the checkpoint of the same recipe, where the work folder holds one."""
        path = self._work / "checkpoint.pt"
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        if state["recipe"] != self._recipe.model_dump_json():
            raise SourceError(f"{path} belongs to another recipe; choose another work folder or remove it", path=str(path))
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return True

    def save(self, out: Path) -> None:
        """Write model, tokenizer and recipe as a folder that sentence-transformers' CrossEncoder loads."""
        self.model.eval().save_pretrained(out)
        self._tokenizer.save_pretrained(out)
        (out / "recipe.json").write_text(self._recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")


def train(recipe: Recipe, data: Path, base: Path, out: Path, *, say: Callable[[str], None], report: Report) -> dict[str, Any]:
    """Train a cross-encoder and write it to ``out``; intermediate state lives in ``out/work`` and is resumed from there.

    ``data`` holds the collections that the recipe names, ``base`` the bi-encoder. Returns the summary of the run.
    """
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    lists = prepare(recipe, data, base, work, say)
    trainer = Trainer(recipe, lists, base, work)
    if trainer.resume():
        say(f"resumed at step {trainer.step}")
    started = time.monotonic()
    trainer.run(report)
    trainer.save(out)
    return {"model": str(out), "lists": len(lists), "steps": trainer.step, "accuracy": trainer.accuracy(), "seconds": round(time.monotonic() - started)}
