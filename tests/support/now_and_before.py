"""Statements that differ in a word of time alone: one says what someone likes now,
the other what was liked once.

Of things that ``training/contrasts.json`` does not hold, so that a model trained with it has to have learned
the words of time, not the statements. To measure a reranker by them:

    python tests/support/now_and_before.py MODEL
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from es_rerank import load_reranker


class Pair(NamedTuple):
    """What is asked, what is true now, what was true once, and the thing that it is about."""

    query: str
    now: str
    before: str
    thing: str


PAIRS = (
    Pair("他现在喜欢吃蔬菜吗", "我爱吃蔬菜", "我以前爱吃蔬菜", "蔬菜"),
    Pair("他现在喝咖啡吗", "我每天早上都喝咖啡", "我以前每天早上都喝咖啡", "咖啡"),
    Pair("她现在喜欢看足球吗", "她很喜欢看足球比赛", "她曾经很喜欢看足球比赛", "足球"),
    Pair("现在谁爱听摇滚", "哥哥爱听摇滚乐", "哥哥过去爱听摇滚乐", "摇滚"),
    Pair("他们现在住在上海吗", "他们住在上海", "他们从前住在上海", "上海"),
    Pair("这家店现在卖米饭吗", "这家店卖米饭", "这家店原来卖米饭后来不卖了", "米饭"),
    Pair("他現在喜歡游泳池嗎", "他喜歡去游泳池", "他小時候喜歡去游泳池", "游泳池"),
    Pair("她現在愛喝綠茶嗎", "她愛喝綠茶", "她以前愛喝綠茶", "綠茶"),
    Pair("他现在抽烟吗", "他抽烟", "他曾经抽烟已经戒了", "抽烟"),
    Pair("现在还爱穿裙子吗", "我爱穿裙子", "我小时候爱穿裙子", "裙子"),
    Pair("does she like vegetables now", "I love vegetables.", "I used to love vegetables.", "vegetables"),
    Pair("Who plays tennis?", "My brother plays tennis.", "My brother used to play tennis.", "tennis"),
    Pair("does he like coffee these days", "He likes coffee a lot.", "He once liked coffee a lot.", "coffee"),
)
"""The first is the one that the rest were made after."""


def main(model: str) -> None:
    """Print what a reranker makes of every pair, and of how many it puts what is true now first."""
    table = Table("asked", "now", "before", title=model)
    right = 0
    with load_reranker(model) as reranker:
        for pair in PAIRS:
            now, before = reranker.score(pair.query, [pair.now, pair.before]).values.tolist()
            right += now > before
            table.add_row(
                pair.query,
                f"{pair.now} {now:.2f}",
                f"{pair.before} {before:.2f}",
                style="" if now > before else "red",
            )
    console = Console()
    console.print(table)
    console.print(f"{right} of {len(PAIRS)} in the right order")


if __name__ == "__main__":
    main(sys.argv[1])
