"""The licence of a repository: what its README's front matter says, or its file LICENSE."""

from __future__ import annotations

import re
from pathlib import Path

CARD = "README.md"
LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")

_MOST_CHARACTERS = 1 << 18
_KEY = re.compile(r"^(license|license_name|license_link):[ \t]*(.*)$")
_ITEM = re.compile(r"^[ \t]*-[ \t]+(.+)$")
_KNOWN = (("apache license", "apache-2.0"), ("mit license", "mit"), ("bsd 3-clause", "bsd-3-clause"))
"""How common licences begin, and their names on the Hub."""


def licence_of(folder: Path) -> str | None:
    """Return the licence that the files of a repository state, as the Hub names licences; None if none does.

    ``other`` is followed by the name that the card gives to it.
    """
    stated = _front_matter(_text(folder / CARD))
    licence = stated.get("license")
    if licence == "other" and (name := stated.get("license_name") or stated.get("license_link")):
        return f"other ({name})"
    return licence or next(filter(None, (_known(_text(folder / name)) for name in LICENCES)), None)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_CHARACTERS)
    except OSError:
        return ""


def _front_matter(text: str) -> dict[str, str]:
    """Return the licence keys of the YAML between the first two lines of ``---``."""
    lines = iter(text.lstrip("\ufeff").splitlines())
    found: dict[str, str] = {}
    if next(lines, "").rstrip() != "---":
        return found
    waiting = None
    for line in lines:
        if line.rstrip() == "---":
            return found
        if waiting and (item := _ITEM.match(line)):
            found[waiting] = ", ".join(filter(None, (found.get(waiting), _plain(item[1]))))
            continue
        waiting = None
        if key := _KEY.match(line):
            value = _plain(key[2])
            if value:
                found[key[1]] = value
            else:
                waiting = key[1]
    return {}  # a front matter without end is none


def _plain(value: str) -> str:
    """Return a YAML scalar, or a list in brackets, as text."""
    value = re.sub(r"\s+#.*$", "", value).strip().strip("[]")
    return ", ".join(part.strip().strip("'\"") for part in value.split(",")).strip(", ")


def _known(text: str) -> str | None:
    head = " ".join(text[:400].lower().split())
    return next((name for words, name in _KNOWN if words in head), None)
