"""Training a one-logit cross-encoder with early exits on a CPU or a GPU, in a run that can be interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ...errors import SettingsError, SourceError
from ...models import Reranker
from ...models.catalog import EXIT_LAYERS, INT8_TEXTS
from ...models.manifest import TOKENIZER
from .early_exit import EarlyExit
from .objective import loss_of
from .recipe import RECIPE, Recipe
from .training_list import WORK, TrainingList, mark_of, queue, split_development

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from .batches import Pass, StepBatches, tokenised
from .kept_lists import device, identity_of, lists_with_teacher, prepare

Report = Callable[[dict[str, Any]], None]
"""Told the state of the run after every step: step, steps, loss, accuracy, pairs_per_second."""


_LOG = "log.jsonl"


_WEIGHTS = "model.safetensors"


_INT8_TEXTS = 300
"""Pairs that int8 is fitted to: 1,000 bring the logits no nearer to fp32's (rms 0.101 for both, 0.124 for the export's own 80)."""


def digest(folder: Path) -> str:
    """Return what tells the model in a folder from every other one: SHA-256 of its weights and its tokenizer."""
    return " ".join(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (_WEIGHTS, TOKENIZER)
    )


def new_model(base: Path, seed: int, layers: int | None = None) -> BertForSequenceClassification:
    """Return a cross-encoder with the body of ``base``, or its first ``layers``, and a fresh pooler and one-logit head."""
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(base)
    config.num_hidden_layers = layers or config.num_hidden_layers
    config.num_labels = 1
    config.architectures = ["BertForSequenceClassification"]
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    model = BertForSequenceClassification.from_pretrained(base, config=config)
    torch.nn.init.normal_(model.bert.pooler.dense.weight, std=config.initializer_range)
    torch.nn.init.zeros_(model.bert.pooler.dense.bias)
    # Word vectors carry the vocabulary of the base model; moving them on little data forgets words it does not hold.
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


def _model_of(folder: Path) -> BertForSequenceClassification:
    """Return the cross-encoder that a former run saved, its word vectors as fixed as they were."""
    model = BertForSequenceClassification.from_pretrained(folder)
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


class Trainer:
    """One run of a recipe over lists, in a work folder from which it can be resumed.

    ``start``: the saved model that it goes on from, of the same vocabulary as ``base``. ``run`` tells it from other runs
    of the same recipe, so that none takes up another's checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        lists: list[TrainingList],
        development: list[TrainingList],
        base: Path,
        work: Path,
        *,
        start: Path | None = None,
        run: str = "",
    ) -> None:
        if len(lists) < recipe.lists_per_step:
            raise SourceError(
                f"the recipe leaves {len(lists)} lists to train on; at least {recipe.lists_per_step}, one step, are needed",
                path=str(work),
            )
        self._recipe, self._work, self._run = recipe, work, run
        self._development, self._lists = development, lists
        self._device = device()
        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(base)
        self.model = EarlyExit(
            new_model(base, recipe.seed, recipe.layers) if start is None else _model_of(start),
            recipe.exit_layers,
        )
        if start is not None:
            self.model.load_heads(start)
        self.model.to(self._device)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
        heads = {
            id(p)
            for module in (self.model.model.bert.pooler, self.model.model.classifier, self.model.exit)
            for p in module.parameters()
        }
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if id(p) not in heads], "lr": recipe.body_rate},
                {"params": [p for p in trained if id(p) in heads], "lr": recipe.head_rate},
            ],
            weight_decay=0.01,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)
        self.step = 0

    def _rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        warmup = max(1, int(self._recipe.steps * self._recipe.warmup_share))
        return min(
            1.0,
            (step + 1) / warmup,
            max(0.0, (self._recipe.steps - step) / max(1, self._recipe.steps - warmup)),
        )

    def _logits(self, model: torch.nn.Module, read: Pass) -> torch.Tensor:
        """Return the logits, float32, (heads, total passages), of a pass in its order."""
        parts = [
            model({name: values.to(self._device) for name, values in batch.items()}) for batch in read.batches
        ]
        return torch.cat(parts, dim=1)[:, read.places.to(self._device)]

    def run(self, report: Report) -> None:
        """Train to the last step, writing a checkpoint at the recipe's interval."""
        started, pairs = time.monotonic(), 0
        steps = StepBatches(self._lists, self._tokenizer, self._recipe)
        # On a GPU the next steps are tokenised meanwhile, by every core: an H200 takes more than 2,400 pairs/s, a reader gave
        # about 150. On a CPU every core is at work on this step.
        readers = 0 if self._device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
        for passes in DataLoader(
            steps, batch_size=None, sampler=range(self.step, self._recipe.steps), num_workers=readers
        ):
            loss = self._backward(passes)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad()
            self.average.update_parameters(self.model)
            self.step += 1
            pairs += sum(len(each.places) for each in passes)
            state: dict[str, Any] = {
                "step": self.step,
                "steps": self._recipe.steps,
                "loss": round(loss, 4),
                "pairs_per_second": round(pairs / (time.monotonic() - started), 1),
            }
            if self.step % self._recipe.checkpoint_every == 0 or self.step == self._recipe.steps:
                state["accuracy"] = self.accuracy()
                self._checkpoint()
            with (self._work / _LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(state) + "\n")
            report(state)

    def _backward(self, passes: Sequence[Pass]) -> float:
        """Add up the gradients of the mean loss over the lists of a step, pass by pass, and return it."""
        total, lists = 0.0, sum(len(each.lists) for each in passes)
        for each in passes:
            loss = loss_of(self._logits(self.model, each), each.lists, self._recipe) / lists
            loss.backward()
            total += loss.item()
        return total

    def accuracy(self) -> dict[str, float]:
        """Return, for each head of the averaged model, the share of development lists whose best passage is a positive."""
        with torch.no_grad():
            logits = self._logits(
                self.average, tokenised(self._development, self._tokenizer, self._recipe)
            ).cpu()
        parts = logits.split([len(item.passages) for item in self._development], dim=1)
        hits = torch.tensor(
            [
                [item.labels[best] for best in part.argmax(dim=1).tolist()]
                for item, part in zip(self._development, parts, strict=True)
            ]
        )
        names = [*(f"exit {layer}" for layer in self._recipe.exit_layers), "last"]
        return {
            name: round(share, 4)
            for name, share in zip(names, hits.float().mean(dim=0).tolist(), strict=True)
        }

    def _checkpoint(self) -> None:
        partial = self._work / "checkpoint.partial"
        torch.save(
            {
                "recipe": self._recipe.model_dump_json(),
                "run": self._run,
                "step": self.step,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
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
        state = torch.load(path, map_location=self._device, weights_only=True)
        if (state["recipe"], state.get("run")) != (self._recipe.model_dump_json(), self._run):
            raise SourceError(
                f"{path} is of another recipe, base, start or teacher; choose another folder, or remove it",
                path=str(path),
            )
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return True

    def save(self, out: Path) -> None:
        """Write the averaged model as a folder that sentence-transformers' CrossEncoder loads.

        Beside it lie its exit heads, its recipe, and texts out of the training lists for ``es-rerank export --int8-texts``.
        """
        self.average.module.save(out)
        self._tokenizer.save_pretrained(out)
        (out / RECIPE).write_text(self._recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")
        chance = random.Random(self._recipe.seed)
        drawn = chance.sample(self._lists, min(_INT8_TEXTS, len(self._lists)))
        lines = (
            json.dumps({"query": item.query, "passages": [chance.choice(item.passages)]}) + "\n"
            for item in drawn
        )
        (out / INT8_TEXTS).write_text("".join(lines), encoding="utf-8")


def _check(recipe: Recipe, base: Path, start: Path | None) -> None:
    """Raise SettingsError where base, start and recipe do not fit together."""
    has = BertConfig.from_pretrained(base).num_hidden_layers
    layers = recipe.layers or has
    if layers > has or any(layer >= layers for layer in recipe.exit_layers):
        raise SettingsError(
            f"{base} has {has} layers, and the recipe asks for layers {recipe.layers} and exit_layers {recipe.exit_layers}; make them fit"
        )
    if start is None:
        return
    if _vocabulary(start) != _vocabulary(base):
        raise SettingsError(
            f"{start} was not trained on {base}, for it has another vocabulary; name with --base what it was trained on"
        )
    config = BertConfig.from_pretrained(start)
    found = (config.num_hidden_layers, tuple(getattr(config, EXIT_LAYERS)))
    if found != (layers, recipe.exit_layers):
        raise SettingsError(
            f"{start} has {found[0]} layers and exits on {found[1]}, the recipe {layers} and {recipe.exit_layers}; make them the same"
        )


def _vocabulary(folder: Path) -> list[str]:
    """Return the pieces in their order; without their scores, whose last digit changes whenever a tokenizer is saved."""
    pieces: dict[str, int] | list[tuple[str, float]] = json.loads(
        (folder / TOKENIZER).read_text(encoding="utf-8")
    )["model"]["vocab"]
    return (
        sorted(pieces, key=pieces.__getitem__) if isinstance(pieces, dict) else [piece for piece, _ in pieces]
    )


def train(
    recipe: Recipe,
    data: Path,
    base: Path,
    out: Path,
    *,
    start: Path | None = None,
    teacher: Reranker | None = None,
    say: Callable[[str], None],
    report: Report,
) -> dict[str, Any]:
    """Train a cross-encoder and write it to ``out``; intermediate state lives in ``out/work`` and is resumed from there.

    ``data`` holds the collections that the recipe names, ``base`` the bi-encoder. ``start``: a folder that a former run
    wrote, to go on from; ``teacher``: a reranker that teaches beside the bi-encoder. Returns the summary of the run.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    _check(recipe, base, start)
    lists_of = mark_of(recipe, digest(base), data)
    lists = prepare(recipe, data, base, work, lists_of, say, start=start)
    development, others = split_development(lists, recipe)
    chosen = queue(others, recipe)
    if teacher is not None:
        chosen = lists_with_teacher(chosen, teacher, recipe, work, lists_of, say)
    run = json.dumps(
        [
            lists_of,
            None if start is None else digest(start),
            None if teacher is None else identity_of(teacher),
        ]
    )
    trainer = Trainer(recipe, chosen, development, base, work, start=start, run=run)
    if trainer.resume():
        say(f"resumed at step {trainer.step}")
    started = time.monotonic()
    trainer.run(report)
    trainer.save(out)
    return {
        "model": str(out),
        "lists": len(lists),
        "steps": trainer.step,
        "accuracy": trainer.accuracy(),
        "seconds": round(time.monotonic() - started),
    }
