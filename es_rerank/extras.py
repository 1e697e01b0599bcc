"""Says how to install an optional dependency (extra) of this package, as the package itself was installed."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import MissingExtraError

_NAME = "es-rerank"


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """Return the error of a missing extra. ``what`` says what is not installed; the command follows it."""
    return MissingExtraError(f"{what}; install the extra with: {install_command(extra)}", extra=extra)


def install_command(extra: str) -> str:
    """Return the command that installs an extra.

    It names the place where this package came from: the clone of its repository, the file, or the
    repository's address. Where that is not known or gone, the command is to be run in a clone. Only a package
    that came from an index is named by its name alone.
    """
    try:
        source = distribution(_NAME).read_text("direct_url.json")
        return _from(json.loads(source), extra) if source else _pip(f"{_NAME}[{extra}]")
    except (PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return _in_a_clone(extra)


def _from(source: dict[str, Any], extra: str) -> str:
    """Return the command for the record of an installation, as "Recording the Direct URL Origin of installed
    distributions" (PEP 610) defines it.
    """
    url = source["url"]
    if "vcs_info" in source:
        found = source["vcs_info"]
        return _pip(f"{_NAME}[{extra}] @ {found['vcs']}+{url}@{found['commit_id']}")
    place = urlsplit(url)
    if place.scheme != "file":
        return _pip(f"{_NAME}[{extra}] @ {url}")
    path = Path(unquote(place.path))
    if not path.exists():
        return _in_a_clone(extra)
    return _pip(f"{path}[{extra}]", editable=bool(source.get("dir_info", {}).get("editable")))


def _pip(what: str, *, editable: bool = False) -> str:
    return f"pip install {'-e ' if editable else ''}{shlex.quote(what)}"


def _in_a_clone(extra: str) -> str:
    return f"{_pip(f'.[{extra}]')}, in a clone of {_NAME}'s repository"
