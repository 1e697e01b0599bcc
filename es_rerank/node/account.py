"""Under which account the node runs: Elasticsearch refuses to be root, and that account cannot enter root's folders."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

_OTHER = "nobody"
_ROOT_STATE = Path("/var/lib/es-rerank")
_ROOT_CACHE = Path("/var/cache/es-rerank")


def account() -> str | None:
    """Return the account to start the node under; None for our own, which is right unless we are root."""
    return _OTHER if os.geteuid() == 0 else None


def is_reachable(path: Path) -> bool:
    """Return whether the node's account can enter every folder above ``path``."""
    if account() is None:
        return True
    above = [folder for folder in path.resolve().parents if folder.exists()]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in above)


def home_of(state_dir: Path) -> Path:
    """Return the node's folder for ``state_dir``: inside it, or under /var/lib where the node's account could not enter it."""
    inside = state_dir.resolve() / "elasticsearch"
    return inside if is_reachable(inside) else _ROOT_STATE / name_of(state_dir)


def make_reachable(folder: Path) -> None:
    """Make ``folder``, and let the node's account enter it whatever our umask; parents that were there keep their modes."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if account() is not None:
        for path in made:
            path.chmod(0o755)


def name_of(state_dir: Path) -> str:
    """Return a short name that belongs to ``state_dir`` alone."""
    return "es-rerank-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:10]


def default_cache() -> Path:
    """Return where the unpacked distribution is kept, apart from any node's state, so that all nodes share it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "es-rerank"
    return cache if is_reachable(cache / "elasticsearch") else _ROOT_CACHE
