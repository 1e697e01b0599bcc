"""The labelled queries that a recipe may be trained on."""

from __future__ import annotations

import random
import re
from pathlib import Path

from ...collection import Qrels, held_out, read_qrels, read_queries
from .recipe import LabelledCollection


def draw_queries(source: LabelledCollection, folder: Path, seed: int) -> tuple[dict[str, str], Qrels]:
    """Return the queries that the source allows for training, in a seeded order, and their judgements."""
    qrels: Qrels = {}
    for split in source.splits:
        for query, grades in read_qrels(folder / source.collection, split).items():
            qrels.setdefault(query, {}).update(grades)
    texts = read_queries(folder / source.collection)
    if source.part != "all":
        qrels = {
            query: grades for query, grades in qrels.items() if held_out(query) == (source.part == "evaluate")
        }
    if source.without:
        kept_out = {
            plain(text) for query, text in read_queries(folder / source.without).items() if held_out(query)
        }
        qrels = {query: grades for query, grades in qrels.items() if plain(texts[query]) not in kept_out}
    chosen = sorted(query for query, grades in qrels.items() if query in texts and max(grades.values()) > 0)
    random.Random(f"{seed}:{source.collection}").shuffle(chosen)
    return {query: texts[query] for query in chosen[: source.queries]}, qrels


def plain(text: str) -> str:
    """Return the words of a text in lower case. Two questions with the same result are the same question."""
    return " ".join(re.findall(r"\w+", text.lower()))
