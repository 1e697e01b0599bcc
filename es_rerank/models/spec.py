"""Parses the name by which a user asks for a reranker. Everything that a name means is read here.

A name is one of these:

- the name of a bundled or installed model, a folder, or a Hub id: ``local``
- ``cohere:MODEL``: a model that Cohere hosts
- ``remote:URL``: a rerank service, such as another sidecar; its dialect is found by a trial
- ``remote:DIALECT:URL``: one of a dialect of ``dialects.asking``
- ``remote:DIALECT:SCALE:URL``: the same, whose scores are of the scale ``logit`` or ``probability``
- ``cascade:SHARE+FIRST+MODEL``: FIRST reads all passages, MODEL reads the best SHARE of them
- ``cascade:topN+FIRST+MODEL``: FIRST reads all passages, MODEL as many as it takes to know the best N
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..dialects.asking import BY_NAME
from ..errors import SettingsError
from ..types import Scale

SpecKind = Literal["local", "cohere", "remote", "cascade"]

_PREFIXED: tuple[SpecKind, ...] = ("cohere", "remote", "cascade")

_STAGES = 2
"""How many models stand behind the share of a cascade. A model here is not a cascade itself."""

_TOP = re.compile("top([1-9][0-9]{0,4})", re.ASCII)
"""Matches the number of documents that a cascade makes sure of: at most those of the largest window."""

_SCALES: tuple[Scale, ...] = get_args(Scale)

WORDS_BEFORE_URL = re.compile(r"([^/:@\s]+)(?::([^/:@\s]+))?[:+](?=https?://)")
"""Matches what stands between ``remote:`` and an address: the dialect, and the scale of its scores."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A parsed name of a reranker.

    ``text``: the whole name. ``models``: the two models of a cascade in their order; for the other kinds one
    name, folder, Hub id or address. ``share``: the share of the passages, between 0 and 1, that the second
    model reads; 1 for the other kinds. ``top``: how many of the best documents the second model makes sure
    of, None where a share is stated. ``dialect`` and ``scale``: those that the name of a service states, None
    where it does not.
    """

    text: str
    kind: SpecKind
    models: tuple[str, ...]
    share: float = 1.0
    top: int | None = None
    dialect: str | None = None
    scale: Scale | None = None

    @property
    def model(self) -> str:
        """The first of the models."""
        return self.models[0]

    @property
    def hosted(self) -> bool:
        """Whether the model sends text to another machine."""
        return self.kind in {"cohere", "remote"}


def parse_model(name: str | Path) -> ModelSpec:
    """Return what the name of a reranker means.

    Raises SettingsError when a name that begins with ``cascade:`` is not written as the module says, or
    a name with ``remote:`` states no dialect or no scale that there is. A model of a cascade may be hosted,
    but it is not a cascade itself.
    """
    text = str(name)
    prefix, colon, after_prefix = text.partition(":")
    kind = next((kind for kind in _PREFIXED if colon and kind == prefix), None)
    if kind is None:
        return ModelSpec(text, "local", (text,))
    if kind == "remote":
        return _service(text, after_prefix)
    if kind == "cohere":
        return ModelSpec(text, kind, (after_prefix,))
    share, *models = after_prefix.split("+", maxsplit=_STAGES)
    if len(models) == _STAGES and all(model and not model.startswith("cascade:") for model in models):
        if (number := _TOP.fullmatch(share)) is not None:
            return ModelSpec(text, kind, tuple(models), top=int(number[1]))
        with suppress(ValueError):
            if 0 < float(share) < 1:
                return ModelSpec(text, kind, tuple(models), float(share))
    raise SettingsError(
        f"{text} is not a cascade; write cascade:SHARE+FIRST+MODEL with a share between 0 and 1, or with top "
        "and a number of documents, as in cascade:0.3+./small+./large or cascade:top10+./small+./large"
    )


def _service(text: str, after_prefix: str) -> ModelSpec:
    """Return what ``remote:`` names. Raises SettingsError for words before the address that mean nothing."""
    stated = WORDS_BEFORE_URL.match(after_prefix)
    if stated is None:
        return ModelSpec(text, "remote", (after_prefix,))
    dialect, scale = stated.groups()
    check_dialect(stated[0], dialect, BY_NAME)
    known: Scale | None = next((each for each in _SCALES if each == scale), None)
    if scale is not None and known is None:
        raise SettingsError(
            f"remote: names the scale {scale}, which there is not; write "
            f"remote:{dialect}:SCALE:URL with one of {', '.join(_SCALES)}, or leave it out"
        )
    return ModelSpec(text, "remote", (after_prefix[stated.end() :],), dialect=dialect, scale=known)


def check_dialect(words: str, dialect: str, known: Collection[str]) -> None:
    """Raise SettingsError if the ``words`` before an address name no ``dialect`` that is ``known``."""
    if words.endswith("+"):  # which parts the models of a cascade
        raise SettingsError(f"remote: takes a dialect with a colon; write remote:{words[:-1]}:URL")
    if dialect not in known:
        raise SettingsError(
            f"remote: names the dialect {dialect}, which there is not; write remote:DIALECT:URL with one of "
            f"{', '.join(known)}, or remote:URL to find it by a trial"
        )


def name_and_model(given: str) -> tuple[str | None, str]:
    """Return (name, model) of ``NAME=MODEL`` or ``MODEL``; the name is None without NAME."""
    name, sign, model = given.partition("=")
    # An address may contain an equals sign, but then a colon or a slash comes before it.
    return (name, model) if sign and not re.search(r"[/:\\]", name) else (None, given)


def name_fault(embedders: Collection[tuple[str, str]]) -> str | None:
    """Return which name would mean two embedders, as a sentence, None if each means one.

    Each embedder is (the name under which it is served, its own). An index records the second alone: it
    cannot tell two embedders with one name apart.
    """
    seen: set[str] = set()
    for names in embedders:
        for name in names:
            if name in seen:
                return (
                    f"two embedders are called {name}; serve one of them only, or export one under another "
                    "name: an index records the model's own name"
                )
        seen.update(names)
    return None
