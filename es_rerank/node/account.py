"""Chooses the account and the folders of the node.

Elasticsearch refuses to run as root. When we are root, the node runs under another account, which cannot
enter the folders of root.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

_UNPRIVILEGED = "nobody"
_ROOT_STATE = Path("/var/lib/es-rerank")
_ROOT_CACHE = Path("/var/cache/es-rerank")


def account() -> str | None:
    """Return the name of the account that the node runs under, None for our own unless we are root."""
    return _UNPRIVILEGED if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def is_reachable(path: Path) -> bool:
    """Return whether the node's account can enter all folders above ``path``."""
    if account() is None:
        return True
    parents = [folder for folder in path.resolve().parents if folder.exists()]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in parents)


def home_of(state_dir: Path) -> Path:
    """Return the folder of the node that belongs to ``state_dir``.

    It is inside ``state_dir``, or under /var/lib if the node's account cannot enter ``state_dir``.
    """
    inside = state_dir.resolve() / "elasticsearch"
    return inside if is_reachable(inside) else _ROOT_STATE / name_of(state_dir)


def make_reachable(folder: Path) -> None:
    """Create ``folder`` so that the node's account can enter it, whatever our umask is.

    Parent folders that already exist keep their modes.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if account() is not None:
        for path in created:
            path.chmod(0o755)


def name_of(state_dir: Path) -> str:
    """Return a short folder name for the node of ``state_dir``: a hash of its path, different for each."""
    return "es-rerank-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:10]


def default_cache() -> Path:
    """Return the folder for the unpacked distribution, which all nodes share."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "es-rerank"
    return cache if is_reachable(cache / "elasticsearch") else _ROOT_CACHE
