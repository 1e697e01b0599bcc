"""``es-rerank role``: print what a caller must be allowed to do in Elasticsearch, and no more."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from ..errors import SettingsError
from .output import Json, print_json, print_text, stderr

SEARCH = ("read", "view_index_metadata")
"""Index privileges of a caller who searches, from outside or by the plugin. ``view_index_metadata``: the
mapping says where texts are kept, and ``HEAD /INDEX`` whether the index exists."""

INGEST = (
    "create_index",
    "delete",
    "delete_index",
    "index",
    "indices:admin/aliases",
    "indices:admin/mapping/put",
    "indices:monitor/stats*",
    "maintenance",
    "read",
    "view_index_metadata",
)
"""Index privileges of ``es-rerank ingest`` and ``es-rerank index``. ``indices:admin/aliases`` moves the alias
to a new version of the index, and ``indices:admin/mapping/put`` adds fields of metadata; ``manage``, which
has both too, allows far more. ``delete_index`` removes a version that was not finished. ``read`` finds
unchanged documents. ``maintenance`` refreshes the index. ``delete`` is for ``--sync`` and ``index delete``,
and ``indices:monitor/stats*`` for ``index list`` and ``index clean``."""

PLUGIN = ("cluster:monitor/es_rerank/info", "cluster:monitor/nodes/info*")
"""Cluster privileges of a caller whose searches may run inside Elasticsearch: to ask what its plugin serves,
and whether each node has it. ``monitor`` has both. Without them, the plugin is tried, and a search fails
whose models its sidecar lacks."""

_SPECIAL = re.compile(r"[^A-Za-z0-9_-]")
_FORBIDDEN = re.compile(r"[\s,\\/\"<>|#:]")


def role(
    index: Annotated[
        list[str] | None,
        typer.Argument(
            help="Indices, aliases or patterns such as logs-*.", metavar="[INDEX]...", show_default="*"
        ),
    ] = None,
    ingest: Annotated[
        bool, typer.Option("--ingest", help="For `es-rerank ingest` and `index` as well.")
    ] = False,
    plugin: Annotated[
        bool, typer.Option("--plugin", help="For an Elasticsearch with the plugin es-rerank.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the role and of the API key.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Print the least-privilege Elasticsearch role, and the request for an API key with it."""
    wrong = next((each for each in index or () if not each or _FORBIDDEN.search(each)), None)
    if wrong is not None:
        raise SettingsError(f"[{wrong}] is no name of an index, alias or pattern; write one name an argument")
    name = name or ("es_rerank_ingest" if ingest else "es_rerank_search")
    body = role_body(index or ["*"], ingest=ingest, plugin=plugin)
    key = {"name": name, "role_descriptors": {name: body}}
    if as_json:
        print_json({"name": name, "role": body, "api_key": key})
        return
    print_text(f"PUT _security/role/{name}\n{json.dumps(body, indent=2)}\n\n")
    print_text(f"POST _security/api_key\n{json.dumps(key, indent=2)}\n")
    stderr.print(
        "Send one of the two requests. Callers send their own credentials, and the sidecar has none: it "
        "needs no role. To ask which Elasticsearch is there (GET /, info() and ping() of a client), a caller "
        "needs the cluster privilege cluster:monitor/main too.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def role_body(indices: list[str], *, ingest: bool = False, plugin: bool = False) -> dict[str, Any]:
    """Return the body of ``PUT _security/role/NAME`` for callers of these indices."""
    names = sorted({name for index in indices for name in _names(index)})
    privileges = sorted(INGEST if ingest else SEARCH)
    cluster = list(PLUGIN) if plugin else []
    return {"cluster": cluster, "indices": [{"names": names, "privileges": privileges}]}


def _names(index: str) -> tuple[str, ...]:
    """Return the names of the indices that are read by one name: ``es-rerank ingest`` makes it an alias of
    numbered versions. Elasticsearch takes a name between slashes as a regular expression of Lucene.
    """
    if "*" in index or "?" in index:
        return (index,)
    escaped = _SPECIAL.sub(lambda sign: f"\\{sign[0]}", index)
    return index, f"/{escaped}-[0-9]{{6}}/"
