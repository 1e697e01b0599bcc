"""Training lists that are made once and kept in the work folder of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from ...errors import SourceError
from ...models import Embedder, Reranker, identity_of
from ...models.load import embedder_of
from ...settings import read_settings
from ...types import FloatArray
from .lists import make_lists
from .passages import Embed
from .recipe import Recipe
from .training_list import LISTS, WORK, TrainingList, add_teacher, differences, read_lists

_TAUGHT = "taught.jsonl"


_TAUGHT_AT_ONCE = 1_000


def device() -> torch.device:
    """Return the device for training: a CUDA device if torch has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bi_encoder(base: Path) -> Embed:
    """Return the embedding function of the base model as a teacher, with the model's own prompts."""
    used = device()
    model = SentenceTransformer(str(base), device=str(used))

    def embed(texts: list[str], *, query: bool = False) -> FloatArray:
        encode = model.encode_query if query else model.encode_document
        with torch.autocast(used.type, dtype=torch.bfloat16):
            vectors = encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    return embed


def _local(embedder: Embedder) -> Embed:
    """Return the embedding function of an exported embedder, which is faster than torch on a CPU."""

    def embed(texts: list[str], *, query: bool = False) -> FloatArray:
        return embedder.embed(texts, purpose="query" if query else "passage")

    return embed


def prepare_lists(
    recipe: Recipe,
    data: Path,
    base: Path,
    work: Path,
    mark: str,
    report: Callable[[str], None],
    *,
    start: Path | None = None,
    given: Path | None = None,
) -> list[TrainingList]:
    """Return the lists of the recipe.

    They are those of the run ``given``, if there is one. Otherwise they are read from ``work``, or from the
    run that this run starts from, if they have the same ``mark``. Otherwise they are made: passages are cut
    by the tokenizer of the first embedder, which is the base model when the recipe names none. A second round
    over the same lists would otherwise embed all passages again.

    Raises SourceError when the lists of ``given`` cannot be read or have another mark.
    """
    if given is not None:
        lists = _lists_of_run(given, mark)
        report(f"{len(lists):,} lists of {given}")
        _write(work / LISTS, mark, lists)
        return lists

    def make() -> list[TrainingList]:
        known = None if start is None else _lists_with_mark(start / WORK / LISTS, mark)
        if known is not None:
            report(f"{len(known):,} lists of {start}")
            return known
        with ExitStack() as opened:
            embedders = [
                opened.enter_context(embedder_of(read_settings(), name)) for name in recipe.embedders
            ]
            if embedders:
                tokenizer = embedders[0].tokenizer
                return make_lists(recipe, data, tokenizer, [_local(each) for each in embedders], report)
            tokenizer = AutoTokenizer.from_pretrained(base).backend_tokenizer  # nosec B615 # a folder on this machine
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return make_lists(recipe, data, tokenizer, [bi_encoder(base)], report)

    return _read_or_make(work / LISTS, mark, make)


def _lists_of_run(run: Path, mark: str) -> list[TrainingList]:
    """Return the lists of another run. Raises SourceError when they were not made by this ``mark``."""
    path = run / WORK / LISTS
    made_by, lists = read_lists(path)
    if made_by == mark:
        return lists
    others = ", ".join(differences(made_by, mark))
    raise SourceError(
        f"the lists in {path} were made from something else than this run's: {others}; name a run with the "
        "same values, or name none, so that the lists are made",
        path=str(path),
    )


def _read_or_make(path: Path, mark: str, make: Callable[[], list[TrainingList]]) -> list[TrainingList]:
    """Return the lists in a file if its first line is this mark. Otherwise make them and write the file."""
    known = _lists_with_mark(path, mark)
    if known is not None:
        return known
    lists = make()
    _write(path, mark, lists)
    return lists


def _lists_with_mark(path: Path, mark: str) -> list[TrainingList] | None:
    """Return the lists in a file if its first line is this mark, else None."""
    if not path.is_file():
        return None
    made_by, known = read_lists(path)
    return known if made_by == mark else None


def _write(path: Path, mark: str, lists: Sequence[TrainingList]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(mark + "\n")
        out.writelines(json.dumps(asdict(item)) + "\n" for item in lists)
    partial.replace(path)


def lists_with_teacher(
    lists: list[TrainingList],
    teacher: Reranker,
    recipe: Recipe,
    work: Path,
    lists_of: str,
    report: Callable[[str], None],
) -> list[TrainingList]:
    """Return the lists with ``teacher`` as a second teacher.

    They are read from ``work`` if a former run wrote them there. ``lists_of`` is the mark of all lists.
    """

    def make() -> list[TrainingList]:
        made: list[TrainingList] = []
        for start in range(0, len(lists), _TAUGHT_AT_ONCE):
            made += add_teacher(lists[start : start + _TAUGHT_AT_ONCE], teacher, recipe)
            report(f"{len(made):,} of {len(lists):,} lists scored by {teacher.name}")
        return made

    mark = json.dumps(
        [
            lists_of,
            len(lists),
            recipe.first_list,
            recipe.spare_tenth,
            recipe.reranker_weight,
            identity_of(teacher),
        ]
    )
    return _read_or_make(work / _TAUGHT, mark, make)
