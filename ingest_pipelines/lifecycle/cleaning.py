"""Removes versions of indices that nobody needs: orphans of killed rebuilds, and earlier versions on request.

``removable`` decides and asks nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from elasticsearch import Elasticsearch, NotFoundError

from ..patience import Patience
from .catalog import IndexVersion, catalog

BETWEEN_LOOKS_S = 3.0
"""Seconds between the two looks at an index before it is removed: more than ``lease.RENEWAL_S``, so that a
rebuild is seen whose node has just restarted, or that has just created its version."""


def removable(versions: Sequence[IndexVersion], *, keep: int | None = None) -> list[IndexVersion]:
    """Return the versions that may be removed: the orphans, and all but the ``keep`` latest earlier versions.
    Those after the version in use go first: nobody has used one that a rebuild did not switch to.

    Without ``keep``, every earlier version stays. So do the earlier versions of a name that no version serves
    any more: they may be the only copy. What has an alias, is being built or is being read always
    stays, and so does what may be, for all that Elasticsearch tells.
    """
    served = {alias: version for version in versions for alias in version.aliases}

    def unused_last(version: IndexVersion) -> tuple[bool, int]:
        in_use, number = served[version.name], version.number or 0
        return in_use.name == version.name and number > (in_use.number or 0), -number

    earlier: dict[str, list[IndexVersion]] = {}
    for version in versions:
        if version.state == "earlier" and version.number is not None and version.name in served:
            earlier.setdefault(version.name, []).append(version)
    old = [
        version
        for group in earlier.values()
        for version in sorted(group, key=unused_last)[keep:]
        if keep is not None
    ]
    chosen = [version for version in versions if version.state == "orphan" or version in old]
    return [version for version in chosen if not version.aliases and version.watched is False]


def remove(
    client: Elasticsearch,
    chosen: Sequence[IndexVersion],
    *,
    keep: int | None = None,
    patience: Patience | None = None,
    between_looks_s: float | None = None,
) -> Iterator[tuple[IndexVersion, bool]]:
    """Remove these versions and yield each with whether it was removed.

    All are looked at again after ``between_looks_s`` seconds, or else ``BETWEEN_LOOKS_S``. One that is in use
    by then, or that is another index of the same name, stays. Raises the errors of the client.
    """
    if not chosen:
        return
    wait = patience or Patience()
    time.sleep(BETWEEN_LOOKS_S if between_looks_s is None else between_looks_s)
    for version in chosen:
        now = removable(catalog(client, version.name, counts=False, patience=wait), keep=keep)
        still = any(each.uuid == version.uuid for each in now)
        if still:
            wait.call(lambda index=version.index: _delete(client, index))  # type: ignore[misc]
        yield version, still


def _delete(client: Elasticsearch, index: str) -> None:
    try:
        client.indices.delete(index=index)
    except NotFoundError:
        return  # an earlier attempt removed it, and its answer was lost
