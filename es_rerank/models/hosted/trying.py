"""The trial that finds the dialect of a rerank service: two short passages, in one format after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import httpx

from ...dialects.asking import (
    BY_NAME,
    EXAMPLE_TEXTS,
    Row,
    Service,
    Trial,
    is_whole,
    raw_of,
    scale_of,
    trials,
)
from ...errors import RemoteModelError, RemoteScoreError, SettingsError
from ...types import Scale
from .answers import json_of, said_in, values_by_index


class Asker(NamedTuple):
    """Asks the service ``name``.

    ``example`` sends ``EXAMPLE_QUERY`` and ``EXAMPLE_TEXTS`` to a path, as to a service, within some seconds.
    ``refused`` returns the exception for an answer without scores, and its JSON. ``said`` returns what the
    service answered, from its status and its body, without the key.
    """

    name: str
    example: Callable[[str, Service, float], Awaitable[httpx.Response]]
    refused: Callable[[httpx.Response, object], Exception]
    said: Callable[[int, object], str]


_NOT_NOW = frozenset({401, 402, 407, 408, 425, 429, 502, 503, 504})
"""Statuses that say nothing about the dialect: a wrong key, too many requests, a service not ready yet."""

_PERHAPS_NOT_NOW = frozenset({403, 500})
"""Statuses that may say nothing about it: some gateways answer 403 for an unknown path, some services 500 for
a body that they cannot read. So the trial goes on; when nothing is found, this is the error."""

_LONGEST_WORDS = 60
"""Most characters that the message of a failed trial repeats of one answer."""


class Found(NamedTuple):
    """A dialect that a service understands, at which path, and the scale of its scores."""

    service: Service
    path: str
    scale: Scale


class Trying:
    """Finds the dialect of a service at an address.

    A trial that is cancelled is continued by the next call: what was not understood is not sent again.
    ``none`` is true when the last trial reached its end and no dialect was understood.
    """

    def __init__(self, path: str) -> None:
        self._trials = trials(path)
        self._ruled_out: dict[int, str] = {}
        self.none = False

    async def found(self, asker: Asker, timeout_s: float) -> Found:
        """Return the first dialect that the service understands.

        Raises what ``asker.refused`` returns for an answer that says nothing about the dialect,
        RemoteScoreError when the service understands and its scores cannot be used, RemoteModelError when it
        understands nothing.
        """
        self.none = False
        try:
            found = await self._tried(asker, timeout_s)
        except TimeoutError:
            raise
        except Exception:
            self._ruled_out = {}  # a service that starts may refuse what it understands later
            raise
        self._ruled_out = {}  # another service may be there when it is looked for again
        return found

    async def _tried(self, asker: Asker, timeout_s: float) -> Found:
        faults: list[Exception] = []
        for place, trial in enumerate(self._trials):
            if place in self._ruled_out:
                continue
            asked = trial.answered_by[0]
            response = await asker.example(trial.path, asked, timeout_s)
            status, answer = response.status_code, await json_of(response)
            heard = trial.heard(answer, EXAMPLE_TEXTS) if status == 200 else None
            if heard is not None:
                try:
                    return await self._raw(asker, trial, *heard, answer, timeout_s)
                except RemoteScoreError as error:
                    faults.insert(0, error)
                    continue
            if status in _NOT_NOW:
                raise asker.refused(response, answer)
            if status in _PERHAPS_NOT_NOW:
                faults.append(asker.refused(response, answer))
                continue
            words = asker.said(status, said_in(response, answer))
            said = words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + "…"
            self._ruled_out[place] = f"{asked.name} at {trial.path}: it {said}"
        tried = "; ".join(self._ruled_out.values())
        if faults:
            raise faults[0]
        self.none = True
        raise RemoteModelError(
            f"{asker.name} understands no dialect of rerank services ({tried}); check the address, add the "
            "model if it needs one (URL?model=NAME), or name the dialect (remote:DIALECT:URL, with one of "
            f"{', '.join(BY_NAME)})",
            service=asker.name,
        )

    async def _raw(
        self,
        asker: Asker,
        trial: Trial,
        service: Service,
        rows: list[Row],
        answer: object,
        timeout_s: float,
    ) -> Found:
        """Return how the service is asked: for raw logits, if it gave probabilities and can give logits."""
        plain = found_by_example(service, trial.path, rows, asker.name)
        if service.name == "tei":
            # TEI itself is known by what it says of itself. Others that answer so may give probabilities.
            values = values_by_index(rows, len(EXAMPLE_TEXTS), "logit", asker.name)
            return plain._replace(scale=scale_of(values.tolist()))
        if service.name != "results" or plain.scale == "logit":
            return plain
        for other in raw_of(answer):
            response = await asker.example(trial.path, other, timeout_s)
            more = await json_of(response)
            heard = other.read(more, EXAMPLE_TEXTS) if response.status_code == 200 else None
            if heard is not None:
                raw = found_by_example(other, trial.path, heard, asker.name)
                if raw.scale == "logit":
                    return raw
            elif response.status_code in _NOT_NOW:
                raise asker.refused(response, more)
        return plain


def found_by_example(service: Service, path: str, rows: Sequence[Row], name: str) -> Found:
    """Return how a service is asked that answered the example with ``rows``. Raises RemoteScoreError."""
    values = values_by_index(rows, len(EXAMPLE_TEXTS), "logit", name)
    return Found(service, path, service.scale or scale_of(values.tolist()))


def service_named(dialect: str, path: str, model: str | None) -> Service:
    """Return the service of a dialect. Raises SettingsError if there is none, or it lacks something."""
    service = BY_NAME.get(dialect)
    if service is None:
        raise SettingsError(f"no dialect is called {dialect}; name one of {', '.join(BY_NAME)}")
    if service.needs_model and model is None:
        raise SettingsError(
            f"services in the dialect {dialect} need the name of a model; write it behind the address: "
            f"remote:{dialect}:URL?model=NAME"
        )
    if dialect == "elasticsearch" and not is_whole(path):
        raise SettingsError(
            "the address of Elasticsearch's inference API must hold the endpoint; write "
            "remote:elasticsearch:http://HOST:9200/_inference/rerank/ENDPOINT"
        )
    return service
