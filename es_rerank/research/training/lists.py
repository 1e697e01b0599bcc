"""All training lists of a recipe, from collections in BEIR layout."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .contrasts import contrasts
from .labelled_lists import LabelledLists
from .passages import Embed
from .recipe import Recipe
from .scripts import Scripts
from .training_list import TrainingList
from .weak_lists import WeakLists

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def make_lists(
    recipe: Recipe,
    folder: Path,
    tokenizer: Tokenizer,
    embedders: Sequence[Embed],
    report: Callable[[str], None],
) -> list[TrainingList]:
    """Return all lists of a recipe in the order of training; ``report`` receives the counts of each source.

    The share ``recipe.weak_first`` of the weak lists comes first, so the model first learns the teacher's
    knowledge. All other lists are shuffled. Raises MissingExtraError when the recipe names ``scripts`` and
    OpenCC is not installed, and SettingsError for a script that it does not know.
    """
    scripts = Scripts(recipe)
    sources: dict[str, LabelledLists] = {}
    labelled: list[TrainingList] = []
    for source in recipe.sources:
        maker = sources[source.collection] = LabelledLists(source, recipe, folder, tokenizer, embedders)
        made = list(maker.lists())
        report(f"{source.collection}: {len(maker.passages.texts)} passages, {len(made)} labelled lists")
        labelled += made
    labelled += contrasts(recipe, embedders)
    weak = list(WeakLists(sources, recipe).lists(embedders))
    report(f"{len(weak)} weak lists over all passages")
    first = int(recipe.weak_first * len(weak))
    mixed = labelled + weak[first:]
    random.Random(recipe.seed).shuffle(mixed)
    return scripts.drawn([*weak[:first], *mixed])
