"""Odd values: what a JSON value, a text, a number, a name or a header may be and no code expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from .json_texts import Pairs, Raw, Value

ODD: dict[str, list[str]] = json.loads(Path(__file__).with_name("odd.json").read_text(encoding="utf-8"))
"""The short ones. A byte of a header is the character with its number."""

INTEGERS = (
    *ODD["integers"],
    *("1" + "0" * 308, "1" + "0" * 309, "-1" + "0" * 400),
    *("9" * 4299, "9" * 4300, "9" * 4301, "-" + "9" * 6000, "7" * 20_000),
)
FLOATS = (*ODD["floats"], "0." + "0" * 5000 + "1", "3" * 400 + ".5")
NOT_JSON = tuple(ODD["not_json"])
"""Texts that are no JSON; some parsers take some of them."""

TEXTS = (
    *ODD["texts"],
    *(
        "9" * 400,
        "9" * 5000,
        "(" * 200,
        "a" * 300,
        "a" * 10_000,
        "a b" * 2000,
        "a^" + "9" * 400,
        "e\u0301" * 50,
    ),
)
_HALVES = ("\ud800", "a\udfff", "text\ud83d", "\udc80", "\ud800\ud800")
DEPTHS = (30, 99, 101, 180, 250, 330, 400, 500, 700, 850, 950, 990, 1000, 1001, 1100, 3000, 20_000)
_BRACKETS: tuple[tuple[bytes, bytes], ...] = (
    *((b"[", b"]"), (b'{"a":', b"}"), (b'{"text":', b"}"), (b'{"fields":', b"}"), (b'{"hits":', b"}")),
    *(
        (b'{"bool":{"must":', b"}}"),
        (b'{"rrf":{"retrievers":[', b"]}}"),
        (b'{"a":[', b"]}"),
        (b'{"inner_hits":', b"}"),
    ),
    *(
        (b'{"pinned":{"ids":["1"],"retriever":', b"}}"),
        (b'{"standard":{"filter":', b"}}"),
        (b'{"aggs":{"a":', b"}}"),
    ),
)
KEYS = (
    "",
    " ",
    "a",
    "retriever",
    "query",
    "\ud800",
    "\x00",
    "__class__",
    "a" * 300,
    "a.b",
    "_id",
    "é",
    "\n",
    "[x]",
)


def text(draw: Random) -> str:
    """Return an odd text. One of five is half a surrogate pair."""
    if draw.random() < 0.2:
        return draw.choice(_HALVES)
    if draw.random() < 0.15:
        return draw.choice(TEXTS) + draw.choice(TEXTS)
    return draw.choice(TEXTS)


def number(draw: Random) -> Raw:
    """Return an odd number."""
    if draw.random() < 0.25:
        return Raw(draw.choice(["", "-"]).encode() + b"9" * draw.choice([309, 310, 400, 2000, 4299, 4300]))
    return Raw(draw.choice(INTEGERS if draw.random() < 0.6 else FLOATS).encode())


_PLAIN: tuple[Value, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        1.5,
        "",
        "a",
        "1",
        [],
        {},
        [None],
        [1],
        ["a"],
        [[]],
        [{}],
        {"a": None},
        {"a": 1},
    ),
    *(
        {"a": "b"},
        {"a": ["b"]},
        {"a": {}},
        [{"a": "b"}],
        ["a", 1],
        [1, 2, 3],
        Raw(b"9" * 400),
        Raw(b"-" + b"9" * 400),
    ),
    *(Raw(b"1e300"), Raw(b"1e-300"), "\ud800", ["\ud800"], {"\ud800": 1}, {"": ""}, [1.5, None], [[1], [2]]),
)
"""One value of each kind."""


def value(draw: Random) -> Value:
    """Return an odd value. Two of five are plain; one of two hundred is large."""
    if draw.random() < 0.4:
        return draw.choice(_PLAIN)
    chance = draw.random()
    kinds: list[tuple[float, Callable[[], Value]]] = [
        (0.25, lambda: number(draw)),
        (0.47, lambda: text(draw)),
        (0.49, lambda: Raw(draw.choice(NOT_JSON).encode())),
        (0.62, lambda: draw.choice([None, True, False])),
        (0.72, lambda: nested(draw.choice(DEPTHS[:12]), *draw.choice(_BRACKETS))),
        (0.99, lambda: _structure(draw)),
        (1.00, lambda: _large(draw)),
    ]
    return next(make for most, make in kinds if chance < most)()


def _structure(draw: Random) -> Value:
    kinds: list[Value] = [
        [],
        {},
        [[]],
        [{}],
        [None],
        [[], []],
        [1, "a", None, {}],
        [True],
        [number(draw)],
        [text(draw), text(draw)],
        {"": None},
        {text(draw): number(draw)},
        {text(draw): text(draw)},
        {draw.choice(KEYS): {draw.choice(KEYS): []}},
        Pairs((("a", 1), ("a", 2))),
        Pairs((("\ud800", 1), ("\ud800", 2))),
        [0.5] * draw.choice([2, 8, 9, 100]),
        ["a"] * draw.choice([2, 51, 1001]),
        {f"k{place}": place for place in range(draw.choice([3, 51, 200]))},
    ]
    return draw.choice(kinds)


def _large(draw: Random) -> Value:
    kinds: list[Callable[[], Value]] = [
        lambda: nested(draw.choice(DEPTHS[12:]), b"[", b"]"),
        lambda: nested(draw.choice(DEPTHS[12:]), b'{"a":', b"}"),
        lambda: Raw(b"[" + b"0," * 30_000 + b"0]"),
        lambda: Raw(b"[" + b"{}," * 10_000 + b"{}]"),
        lambda: Raw(b"{" + b",".join(b'"k%d":0' % place for place in range(5000)) + b"}"),
        lambda: "a " * draw.choice([10_000, 100_000]),
        lambda: "\ud800" * 1000,
        lambda: ["text"] * 10_000,
        lambda: Raw(b"9" * 100_000),
    ]
    return draw.choice(kinds)()


def nested(depth: int, opening: bytes, closing: bytes, inner: bytes = b"1") -> Raw:
    """Return brackets in brackets."""
    return Raw(opening * depth + inner + closing * depth)
