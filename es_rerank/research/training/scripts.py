"""Writes training lists in the scripts of Chinese: simplified and traditional characters.

A collection has one script, and people search in both. OpenCC converts characters by its dictionaries of
phrases (https://github.com/BYVoid/OpenCC).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...errors import SettingsError
from ...extras import missing_extra
from .recipe import Recipe
from .training_list import TrainingList

_IDEOGRAPHS = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
"""Chinese characters of Unicode's blocks "CJK Unified Ideographs" and their extensions."""


class Scripts:
    """Writes each list in one of the scripts that a recipe names.

    Raises MissingExtraError when OpenCC is needed and not installed, and SettingsError for a configuration
    that it does not have.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._random = random.Random(f"{recipe.seed}:scripts")
        self._converters = {name: _converter(name) for name in recipe.scripts}

    def drawn(self, lists: Sequence[TrainingList]) -> list[TrainingList]:
        """Return the lists, query and passages of each in a script that is drawn for it.

        All scripts are equally likely. With two of them, half of the lists of a collection get another script
        than their own.
        """
        if not self._converters:
            return list(lists)
        names = list(self._converters)
        return [self._written(item, self._random.choice(names)) for item in lists]

    def _written(self, item: TrainingList, name: str) -> TrainingList:
        query = self.text(item.query, name)
        return replace(
            item,
            query=query,
            passages=[self.text(passage, name) for passage in item.passages],
            asked=item.query if query != item.query else "",
        )

    def text(self, text: str, name: str) -> str:
        """Return a text in the script that a configuration writes; what is not a Chinese character stays.

        A text is left as it is when another configuration would change more of its characters, because it
        has this script already: to convert it again would only change characters that have several forms.
        """
        made = {other: _converted(text, convert) for other, convert in self._converters.items()}
        changed = {other: (Counter(text) - Counter(result)).total() for other, result in made.items()}
        return made[name] if changed[name] == max(changed.values()) else text


def _converted(text: str, convert: Callable[[str], str]) -> str:
    return _IDEOGRAPHS.sub(lambda run: convert(run[0]), text)


def _converter(name: str) -> Callable[[str], str]:
    try:
        import opencc  # noqa: PLC0415 only the train extra installs it
    except ImportError as error:
        raise missing_extra(
            f"the recipe converts Chinese by OpenCC ({name}), which is not installed", "train"
        ) from error
    try:
        return opencc.OpenCC(name).convert
    except RuntimeError as error:
        raise SettingsError(
            f"the recipe's scripts name {name!r}, which is not a configuration of OpenCC ({error}); name "
            "others, such as t2s (simplified) and s2tw (traditional, Taiwan)"
        ) from error
