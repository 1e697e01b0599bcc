"""What a client knows about the plugin es-rerank of its Elasticsearch, and how long it keeps that. No I/O."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cachetools import TLRUCache

from ...caches import SharedCache

API_VERSION = 1
"""Version of the API between the plugin and its sidecar, which ``GET /_es_rerank`` states too.

It changes when an answer changes its meaning."""

PLUGIN = "es-rerank"
"""The name under which the plugin answers."""

_FOUND_SECONDS = 60.0
"""How long an answer of a working plugin counts."""

_NOT_FOUND_SECONDS = 30.0
"""How long it counts that there is no plugin, or that it cannot be used."""

_FORBIDDEN = (401, 403)
_MISSING = (400, 404, 405, 501)
"""Elasticsearch without the plugin answers 400, because no index has such a name; a gateway answers 501."""

_UNKNOWN = "named_object_not_found_exception"
_NAMES = ("es_rrf", "es_linear", "es_rerank")

_PARAMETER = re.compile(rf"\[(?:{'|'.join(_NAMES)})\] unknown field \[")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What is known about the plugin.

    ``fault``: why it cannot be used, as a sentence; None if it can be tried. ``models``: the names of the
    rerankers that its sidecar serves, the default first; None if they are not known. ``embedders``: the own
    names of the sidecar's embedders, the default first; empty if it has none or they are not known.
    ``sidecar_fault``: why the sidecar cannot be used, None if it works or this is not known.
    ``other_version``: whether the plugin speaks another version of the API. ``own_default``: whether its node
    allows some models only, and so has another default than the sidecar.
    """

    fault: str | None = None
    models: tuple[str, ...] | None = None
    embedders: tuple[str, ...] = ()
    sidecar_fault: str | None = None
    other_version: bool = False
    own_default: bool = False

    @property
    def seconds(self) -> float:
        """Return how long this knowledge counts, in seconds."""
        works = self.fault is None and self.sidecar_fault is None and self.models is not None
        return _FOUND_SECONDS if works else _NOT_FOUND_SECONDS

    def lacking(self, models: Collection[str], embedders: Collection[str]) -> str | None:
        """Return what the plugin's sidecar does not serve of these names, as a sentence. None if it has all.

        If the sidecar's models are not known, None is returned: the search shows what it serves.
        """
        if self.models is None:
            return None
        for name in models:
            if name not in self.models:
                served = ", ".join(self.models)
                return f"the plugin's sidecar does not serve the reranker [{name}], but [{served}]"
        for name in embedders:
            if name not in self.embedders:
                served = ", ".join(self.embedders) or "None"
                return f"the plugin's sidecar does not serve the embedder [{name}], but [{served}]"
        return None


def plugin_info(status: int, body: Any) -> PluginInfo:  # noqa: ANN401 any JSON value may arrive
    """Return what the answer to ``GET /_es_rerank`` says.

    401 and 403 say nothing about the plugin, so it can be tried.
    """
    if status in _FORBIDDEN:
        return PluginInfo()
    if status in _MISSING:
        return PluginInfo("Elasticsearch has no plugin es-rerank")
    if status != 200 or not isinstance(body, dict) or body.get("name") != PLUGIN:
        return PluginInfo(f"GET /_es_rerank was answered with status {status} and not by the plugin")
    version, without = body.get("api_version"), body.get("nodes_without_plugin") or []
    if version != API_VERSION:
        fault = f"the plugin speaks version {version} of its API, this release speaks {API_VERSION}"
        return PluginInfo(fault, other_version=True)
    if without:
        names = ", ".join(map(str, without))
        return PluginInfo(f"these nodes of Elasticsearch have no plugin es-rerank: {names}")
    return _with_models(body.get("sidecar"))


def _with_models(sidecar: Any) -> PluginInfo:  # noqa: ANN401
    """Return what a working plugin says about its sidecar."""
    said = sidecar if isinstance(sidecar, dict) else {}
    if said.get("status") != "ok":
        reason = said.get("reason", "it gives no reason")
        return PluginInfo(sidecar_fault=f"the plugin's sidecar does not work: {reason}")
    embedder = said.get("embedder")
    # Elasticsearch writes the name of no embedder as the text "null". An older plugin names the default only.
    default = () if embedder in (None, "null") else (embedder,)
    return PluginInfo(
        models=tuple(map(str, said.get("models") or ())),
        embedders=tuple(map(str, said.get("embedders") or default)),
    )


def not_asked(error: Exception) -> PluginInfo:
    """Return what is known when ``GET /_es_rerank`` had no answer."""
    return PluginInfo(f"GET /_es_rerank had no answer ({error})")


def says_no_plugin(status: int, body: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether an error of Elasticsearch says that it does not know a name of the plugin."""
    return status == 400 and any(
        ("unknown retriever" in reason or kind == _UNKNOWN) and any(f"[{name}]" in reason for name in _NAMES)
        for kind, reason in _causes(body)
    )


def says_no_parameter(status: int, body: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether an error of the plugin says that it does not know a parameter, because it is older than this
    client.
    """
    return status == 400 and any(_PARAMETER.search(reason) for _, reason in _causes(body))


def says_no_model(status: int, body: Any) -> bool:  # noqa: ANN401 any JSON value may arrive
    """Whether an error of the plugin says that it may not ask for a model, or that its sidecar has no such
    model.
    """
    phrases = ("is not allowed on this node", "is not served here")
    return status in (400, 404) and any(phrase in reason for _, reason in _causes(body) for phrase in phrases)


def _causes(body: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield (type, reason) of every cause in the body of an error."""
    if isinstance(body, list):
        for entry in body:
            yield from _causes(entry)
    elif isinstance(body, dict):
        if isinstance(body.get("reason"), str):
            yield str(body.get("type")), body["reason"]
        for value in body.values():
            yield from _causes(value)


class PluginCache:
    """Keeps what is known about the plugin of one Elasticsearch: 60 seconds, or 30 if it cannot be used."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: SharedCache[str, PluginInfo] = SharedCache(
            TLRUCache(1, ttu=lambda _, info, now: now + info.seconds, timer=clock)
        )
        self._logged: str | None = None

    def get(self) -> PluginInfo | None:
        """Return what is known, None if Elasticsearch must be asked."""
        return self._known.get(PLUGIN)

    def put(self, info: PluginInfo) -> PluginInfo:
        """Keep what is known now and return it. Logs one line for a plugin of another version."""
        if info.other_version and info.fault != self._logged:
            self._logged = info.fault
            _LOG.warning("searches run outside Elasticsearch: %s", info.fault)
        self._known.put(PLUGIN, info)
        return info
