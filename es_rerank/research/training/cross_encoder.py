"""Trains a one-logit cross-encoder, on a CPU or a GPU, in a run that can be resumed."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ...engine.processor import cores
from ...errors import SettingsError, SourceError
from ...models import Reranker, identity_of
from ...models.catalog import INT8_TEXTS
from ...models.manifest import TOKENIZER
from .objective import loss_of
from .recipe import RECIPE_FILE, Recipe
from .side_by_side import SideBySide
from .training_list import WORK, TrainingList, mark_of, queue, split_development
from .written_out import WrittenOutBert

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from .batches import MicroBatch, StepBatches, tokenised
from .kept_lists import device, lists_with_teacher, prepare_lists

Report = Callable[[dict[str, Any]], None]
"""A function that receives the state of the run after every step: step, steps, loss, accuracy,
pairs_per_second.
"""


_LOG = "log.jsonl"


_WEIGHTS = "model.safetensors"


_INT8_TEXTS = 300
"""Number of pairs that int8 is fitted to.

1,000 pairs bring the logits no closer to fp32: the rms difference is 0.101 for both, and 0.124 for the
export's own 80 pairs.
"""


def digest(folder: Path) -> str:
    """Return the digest of the model in a folder: SHA-256 of its weights and of its tokenizer."""
    return " ".join(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (_WEIGHTS, TOKENIZER)
    )


def new_model(base: Path, seed: int, layers: Sequence[int] | None = None) -> BertForSequenceClassification:
    """Return a cross-encoder with the body of ``base``, or only its ``layers``, counted from 1, and a new
    pooler and one-logit head.
    """
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(base)  # nosec B615 # a folder on this machine
    config.num_labels = 1
    config.architectures = ["BertForSequenceClassification"]
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    model = BertForSequenceClassification.from_pretrained(base, config=config)  # nosec B615 # a folder on this machine
    if layers is not None:
        model.bert.encoder.layer = torch.nn.ModuleList(model.bert.encoder.layer[n - 1] for n in layers)
        model.config.num_hidden_layers = len(layers)
    torch.nn.init.normal_(model.bert.pooler.dense.weight, std=config.initializer_range)
    torch.nn.init.zeros_(model.bert.pooler.dense.bias)
    # Word vectors hold the vocabulary of the base model. Training them on little data would spoil words that
    # the data do not contain.
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


def _saved_model(folder: Path) -> BertForSequenceClassification:
    """Return the cross-encoder that a former run saved; its word vectors stay fixed."""
    model = BertForSequenceClassification.from_pretrained(folder)  # nosec B615 # a folder on this machine
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


class Trainer:
    """One run of a recipe over lists, with a work folder from which it can be resumed.

    ``start`` is the saved model that the run starts from; its vocabulary must be that of ``base``. ``run``
    identifies the run among runs of the same recipe, so that it does not resume another run's checkpoint.
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
                f"the recipe leaves {len(lists)} lists to train on; at least {recipe.lists_per_step}, one "
                "step, are needed",
                path=str(work),
            )
        self._recipe, self._work, self._start, self._run = recipe, work, start, run
        self._development, self._lists = development, lists
        self._device = device()
        self._tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(base)  # nosec B615 # a folder on this machine
        self.model = WrittenOutBert(
            new_model(base, recipe.seed, recipe.kept_layers) if start is None else _saved_model(start)
        )
        self.model.to(self._device)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
        heads = {
            id(p)
            for module in (self.model.model.bert.pooler, self.model.model.classifier)
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
        self._side_by_side = SideBySide(self.model, 1 if self._device.type == "cuda" else cores())
        self.step = 0

    def _rate(self, step: int) -> float:
        """Return the factor of the learning rate: linear warm-up, then linear decay to zero."""
        warmup = max(1, int(self._recipe.steps * self._recipe.warmup_share))
        return min(
            1.0,
            (step + 1) / warmup,
            max(0.0, (self._recipe.steps - step) / max(1, self._recipe.steps - warmup)),
        )

    def _logits(self, model: torch.nn.Module, read: MicroBatch) -> torch.Tensor:
        """Return the logits of a pass, float32, (total passages,), in the order of its lists."""
        parts = [
            model({name: values.to(self._device) for name, values in batch.items()}) for batch in read.batches
        ]
        return torch.cat(parts)[read.places.to(self._device)]

    def run(self, report: Report) -> None:
        """Train to the last step; write a checkpoint every ``checkpoint_every`` steps."""
        started, pairs = time.monotonic(), 0
        steps = StepBatches(self._lists, self._tokenizer, self._recipe)
        # On a GPU, all other cores tokenize the next steps meanwhile: an H200 reads more than 2,400 pairs/s,
        # and one worker gave about 150. On a CPU, every core works on the current step.
        readers = 0 if self._device.type == "cpu" else max(1, cores() - 1)
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
            pairs += sum(len(part.places) for part in passes)
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
        if self._start is not None and self._recipe.start_share:
            self._join_start(self._start)

    def _join_start(self, start: Path) -> None:
        """Make the averaged model the weighted mean of itself and of the model that the run started from."""
        began = WrittenOutBert(_saved_model(start)).to(self._device)
        with torch.no_grad():
            for saved, first in zip(self.average.module.parameters(), began.parameters(), strict=True):
                saved.lerp_(first, self._recipe.start_share)

    def _backward(self, passes: Sequence[MicroBatch]) -> float:
        """Compute the gradients of the mean loss over the lists of a step, pass by pass; return that loss."""
        lists = sum(len(part.lists) for part in passes)

        def loss(model: torch.nn.Module, part: MicroBatch) -> torch.Tensor:
            return loss_of(self._logits(model, part), part.lists, self._recipe) / lists

        return self._side_by_side.backward(loss, passes)

    def accuracy(self) -> float:
        """Return the share of development lists whose best passage, by the averaged model, is a positive."""
        with torch.no_grad():
            logits = self._logits(
                self.average, tokenised(self._development, self._tokenizer, self._recipe)
            ).cpu()
        parts = logits.split([len(item.passages) for item in self._development])
        hits = [item.labels[int(part.argmax())] for item, part in zip(self._development, parts, strict=True)]
        return round(sum(hits) / len(hits), 4)

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
        """Load the checkpoint in the work folder; return whether there was one.

        Raises SourceError for a checkpoint of another run.
        """
        path = self._work / "checkpoint.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self._device, weights_only=True)
        same = _states(state["recipe"], self._recipe) and state.get("run") == self._run
        # A run of before may have had heads on inner layers, which no recipe states any more.
        if not same or state["model"].keys() != self.model.state_dict().keys():
            raise SourceError(
                f"{path} is of a run with another recipe, base, start or teacher; "
                "choose another folder, or remove the file",
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

        The folder also gets the recipe, and texts from the training lists for ``es-rerank export
        --int8-texts``.
        """
        self.average.module.save(out)
        self._tokenizer.save_pretrained(out)
        (out / RECIPE_FILE).write_text(self._recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")
        chance = random.Random(self._recipe.seed)
        drawn = chance.sample(self._lists, min(_INT8_TEXTS, len(self._lists)))
        lines = (
            json.dumps({"query": item.query, "passages": [chance.choice(item.passages)]}) + "\n"
            for item in drawn
        )
        (out / INT8_TEXTS).write_text("".join(lines), encoding="utf-8")


def _states(text: str, recipe: Recipe) -> bool:
    """Return whether a JSON text states this recipe. Keys that it lacks, or that are gone, do not matter."""
    try:
        return Recipe.model_validate_json(text) == recipe
    except ValueError:
        return False


def _check(recipe: Recipe, base: Path, start: Path | None) -> None:
    """Raise SettingsError when base, start and recipe do not fit together."""
    has = BertConfig.from_pretrained(base).num_hidden_layers  # nosec B615 # a folder on this machine
    kept = recipe.kept_layers or tuple(range(1, has + 1))
    layers = len(kept)
    if kept[-1] > has:
        raise SettingsError(
            f"{base} has {has} layers, and the recipe asks for layers {recipe.layers}; change the recipe or "
            "--base"
        )
    if start is None:
        if recipe.start_share:
            raise SettingsError(
                f"the recipe saves {recipe.start_share:g} of the weights that the run starts from, and none "
                "are given; add --start or remove start_share"
            )
        return
    if _vocabulary(start) != _vocabulary(base):
        raise SettingsError(
            f"{start} was not trained on {base}, because it has another vocabulary; name with --base what "
            "it was trained on"
        )
    start_layers = BertConfig.from_pretrained(start).num_hidden_layers  # nosec B615 # a folder on this machine
    if start_layers != layers:
        raise SettingsError(f"{start} has {start_layers} layers, the recipe {layers}; make them the same")


def _vocabulary(folder: Path) -> list[str]:
    """Return the pieces of the vocabulary in order, without scores: their last digit changes when a tokenizer
    is saved.
    """
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
    lists_of: Path | None = None,
    teacher: Reranker | None = None,
    say: Callable[[str], None],
    report: Report,
) -> dict[str, Any]:
    """Train a cross-encoder and write it to ``out``; return the summary of the run.

    The state of the run is kept in ``out/work``, and the run resumes from there. ``data`` holds the
    collections that the recipe names, ``base`` is the bi-encoder. ``start`` is the folder of a former run to
    start from. ``lists_of`` is the folder of a run whose lists are used. ``teacher`` is a reranker that
    teaches together with the bi-encoder. Raises SettingsError when base, start and recipe do not fit
    together, and SourceError for too few lists, lists of another kind, or another run's checkpoint.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    _check(recipe, base, start)
    made_from = mark_of(recipe, digest(base), data)
    lists = prepare_lists(recipe, data, base, work, made_from, say, start=start, given=lists_of)
    development, others = split_development(lists, recipe)
    chosen = queue(others, recipe)
    if teacher is not None:
        # A run of less than one epoch reads only the first lists; the teacher need not score the others.
        chosen = chosen[: recipe.steps * recipe.lists_per_step]
        chosen = lists_with_teacher(chosen, teacher, recipe, work, made_from, say)
    run = json.dumps(
        [
            made_from,
            digest(base),
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
