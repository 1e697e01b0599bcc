"""Continues the training of an exported cross-encoder on given lists."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ...models.manifest import read_manifest
from .cross_encoder import Report, Trainer
from .graph_weights import take_weights
from .recipe import Recipe
from .training_list import TrainingList


def continue_training(
    folder: Path,
    lists: Sequence[TrainingList],
    development: Sequence[TrainingList],
    recipe: Recipe,
    work: Path,
    report: Report,
) -> tuple[Path, int]:
    """Train the model of an exported folder on the lists; return the folder of the new model, as
    transformers writes it, and the seconds that it took.

    The run starts from the weights of the fp32 graph, or from those of the int8 graph where there is no other
    one. ``development`` are lists to watch the training by, at least one. ``work`` is a folder for this run
    alone. Raises SourceError when no weights of a BERT can be taken out of the graph, and for too few lists.
    """
    started = time.monotonic()
    start, out = work / "start", work / "trained"
    take_weights(folder, start)
    trainer = Trainer(recipe, list(lists), list(development), start, work, start=start)
    contract = read_manifest(folder).cross_encoder
    if contract is not None and contract.stated_activation is not None:
        stated = {"activation_fn": f"torch.nn.modules.activation.{contract.stated_activation}"}
        for model in (trainer.model, trainer.average.module):
            model.model.config.sentence_transformers = stated
    trainer.run(report)
    trainer.save(out)
    return out, round(time.monotonic() - started)
