"""A reranker over any rerank service: another es-rerank sidecar, or a server in one of the dialects of
``dialects.asking``.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import httpx
from pydantic import SecretStr

from ...addresses import query_secrets
from ...bounded_answers import Bound
from ...defaults import MOST_POSITIONS
from ...dialects.asking import (
    BY_NAME,
    EXAMPLE_QUERY,
    EXAMPLE_TEXTS,
    Service,
    about,
    below,
    is_whole,
)
from ...errors import EsRerankError, RemoteModelError, RemoteScoreError, SettingsError
from ...types import Calibration, Scale
from .answers import FEW_BYTES, Answer, json_of, most_bytes, reason, said_in, values_by_index
from .http_reranker import HttpReranker, Terms
from .http_service import CONCURRENCY, SERVICE_TIMEOUT_S, service_address
from .retrying import TransientError
from .service_facts import Facts, facts_in
from .trying import Asker, Found, Trying, found_by_example, service_named

_LOG = logging.getLogger(__name__)

DEFAULT_BATCH = 250
"""Most passages in one request to a server that states no limit. A sidecar accepts 1,000 by default, but when
an answer comes too late, all of its scores are lost."""

_TEI_BATCH = 32
"""TEI's default ``max_client_batch_size``: used while a server cannot state its limit, but may state it
later."""

AGAIN_S = 10.0
"""How long the outcome of a trial in which no dialect was found holds, in seconds, and that of a second look
at a dialect. Then it is tried again."""

_NO_SUCH_MODEL = frozenset({400, 404, 422})
"""Statuses with which ``GET /info`` may refuse the name of a model."""

_WRONG_DIALECT = frozenset({200, 400, 404, 405, 422})
"""Statuses of an answer without scores where the dialect may be the wrong one, or another service may answer
at the address now."""


@dataclass(frozen=True, slots=True)
class Way(Terms):
    """How one call asks: also the kind of the service, and the address of its path."""

    service: Service
    url: httpx.URL


class _Failure(NamedTuple):
    """An error that a trial ended in, and until when it holds for later calls, by ``time.monotonic()``."""

    error: Exception
    until: float


class RemoteReranker(HttpReranker[Way]):
    """Scores passages with the model of another es-rerank sidecar, or of a service in another dialect.

    ``dialect`` is the name of a row of ``dialects.asking.SERVICES``. Without it, the dialect is found by one
    trial before the first scores: ``GET /info`` tells a sidecar and TEI; otherwise two short passages are
    sent in one format after the other, until one is understood. Callers at the same time share the trial,
    their deadlines bound it, and a later call goes on where it ended. A service that is down or refuses the
    key ends the trial without a result, and the next call tries again. After an answer without scores, the
    next call sends the two passages once more. If they are not understood either, there is a new trial;
    a dialect that was found is kept until another one is.

    The path of ``url`` is kept if it says what is asked there (``…/rerank``, ``…/score``, …), else the path
    of the dialect is put behind it. ``?model=NAME`` chooses a model: a sidecar reads it in the address, other
    services in the body. Credentials in the address are sent as basic authentication, ``api_key`` as
    ``Authorization: Bearer``. ``batch_size`` is the number of passages in one request. Without it, it is what
    the service states, else what its dialect allows, at most 250.

    ``scale`` is the scale of the service's scores. Without it, it is that of the dialect. Where the dialect
    leaves it open, the two short passages decide once for all calls: probabilities if both scores are from 0
    to 1, else logits. Raw logits are asked for where a dialect can ask for them. A probability out of 0..1
    raises RemoteScoreError and is never read as a logit.

    The scores of a sidecar are the same, bit for bit, as on its own machine. A sidecar also says which
    passages it truncated and how its model is calibrated, so that a search gives the same order and scores as
    there. Other services do not say which passages they truncate, so they are not marked as ``truncated``.
    The deadline is sent as ``X-Rerank-Timeout-Ms``, so that a sidecar stops in time; passages of a request
    that it could not finish are not ``done``. An empty query is sent as a space. A blank passage is not sent
    to a service of probabilities and scores 0: some of them refuse it. Further arguments and errors are those
    of ``HttpReranker``. Raises SettingsError for an address or a dialect that cannot be used.
    """

    scale: Scale = "logit"
    key_setting = "ES_RERANK_REMOTE_API_KEY"
    request_bytes = 1_000_000
    """Most text in one request, in bytes: half of TEI's default ``--payload-limit``."""
    transient = frozenset({502, 503})

    def __init__(
        self,
        url: str,
        *,
        dialect: str | None = None,
        scale: Scale | None = None,
        name: str | None = None,
        api_key: SecretStr | None = None,
        batch_size: int | None = None,
        timeout_s: float = SERVICE_TIMEOUT_S,
        concurrency: int = CONCURRENCY,
    ) -> None:
        address = service_address(url, "remote:")
        credentials = (address.username, address.password) if address.userinfo else None
        if credentials and api_key:
            raise SettingsError(
                f"both the address of {address.host} and {self.key_setting} hold credentials; give one of "
                "them"
            )
        if batch_size is not None and not 1 <= batch_size <= MOST_POSITIONS:
            raise SettingsError(f"batch_size must be between 1 and {MOST_POSITIONS}, found {batch_size}")
        self._address = address.copy_with(userinfo=b"", fragment=None, path=address.path.rstrip("/") or "/")
        self._path = address.path.rstrip("/")
        self._model = address.params.get("model") or None
        self._named = None if dialect is None else service_named(dialect, self._path, self._model)
        self._named_scale, self._batch = scale, batch_size
        self._where = self._path if is_whole(self._path) else below(self._path, self._own_path)
        super().__init__(
            name=name or _name(self._address),
            service=f"the rerank service {self._shown(self._where)}",
            api_key=api_key,
            timeout_s=timeout_s,
            concurrency=concurrency,
            credentials=credentials,
            secrets=query_secrets(url),
        )
        self._facts = Facts()
        self._found: Found | None = None
        self._way: Way | None = None
        self._doubted, self._look_at = False, 0.0

    def _connect(self) -> None:
        super()._connect()
        self._learning = asyncio.Lock()
        self._trying = Trying(self._path)
        self._failure: _Failure | None = None

    @property
    def _own_path(self) -> str:
        return "/rerank" if self._named is None else self._named.path

    def _shown(self, path: str) -> str:
        return str(self._address.copy_with(path=path, query=None))

    async def _ask(self, terms: Way, query: str, texts: Sequence[str], timeout_s: float) -> Answer:
        wanted = terms.service.write(query, texts, self._model)
        bound = Bound(most_bytes(query, texts), cut=True)
        response = await self._post(terms.url, terms.service, wanted, bound, timeout_s)
        parsed = await json_of(response)
        rows = terms.service.read(parsed, texts) if response.status_code == 200 else None
        if rows is None:
            # One bad answer does not make the dialect a wrong one: see _looked_again.
            self._doubted |= (
                self._named is None and response.status_code in _WRONG_DIALECT and self._way is terms
            )
            raise self._refused(response, parsed)
        remedy = (
            f"if the service answers logits, say so: remote:{terms.service.name}:logit:URL"
            if terms.scale == "probability"
            else "its model is broken"
        )
        return Answer(
            values_by_index(rows, len(texts), terms.scale, self._service, remedy),
            self._truncated(response, len(texts)),
        )

    async def _post(
        self, url: httpx.URL, service: Service, wanted: dict[str, object], bound: Bound, timeout_s: float
    ) -> httpx.Response:
        headers = {
            "X-Rerank-Timeout-Ms": str(max(1, int(timeout_s * 1000))),
            **self._authorization(service.authorization),
        }
        with self._over_the_network(bound):
            return await self._http.post(url, json=wanted, headers=headers, timeout=timeout_s)

    def _authorization(self, scheme: str) -> dict[str, str]:
        return {} if self._key is None else {"Authorization": f"{scheme} {self._key.get_secret_value()}"}

    def _refused(self, response: httpx.Response, parsed: object) -> Exception:
        """Return the exception for an answer without scores."""
        body = said_in(response, parsed)
        if response.status_code == 504:
            return TimeoutError(self._said(504, body))
        error = self._refusal(response.status_code, response.headers, body)
        if (
            self._named is None
            or response.status_code not in _WRONG_DIALECT
            or not isinstance(error, RemoteModelError)
        ):
            return error
        return RemoteModelError(
            f"{error.message}; it was asked in the dialect {self._named.name}, which was named: leave the "
            "dialect out to find it by a trial (remote:URL), or name another",
            service=error.service,
            status=error.status,
        )

    async def _terms(self, timeout_s: float) -> Way:
        if self._way is not None and not self._in_doubt:
            return self._way
        before = self._failure
        async with self._learning:
            if self._way is not None:
                return await self._looked_again(self._way, timeout_s) if self._in_doubt else self._way
            failure = self._failure
            if failure is not None and (failure is not before or time.monotonic() < failure.until):
                raise _anew(failure)
            try:
                return await self._learn(timeout_s)
            except (EsRerankError, TransientError) as error:
                # Those who waited get it too. Only a service that understands nothing is left alone then.
                self._failure = _Failure(error, time.monotonic() + AGAIN_S if self._trying.none else 0.0)
                if self._trying.none and isinstance(error, RemoteModelError):
                    error.retry_after_s = max(1, math.ceil(AGAIN_S))
                raise

    @property
    def _in_doubt(self) -> bool:
        return self._doubted and time.monotonic() >= self._look_at

    async def _looked_again(self, way: Way, timeout_s: float) -> Way:
        """Return how the service is asked after an answer without scores: in another dialect only if it does
        not understand the example any more, and another one is found.
        """
        kept = self._found, self._service
        response = await self._example(way.url.path, way.service, timeout_s)
        rows = way.service.read(await json_of(response), EXAMPLE_TEXTS)
        if response.status_code in _WRONG_DIALECT and (response.status_code != 200 or rows is None):
            self._way = self._found = None
            try:
                way = await self._learn(timeout_s)
            except BaseException as error:
                self._way, (self._found, self._service) = way, kept
                if not isinstance(error, (EsRerankError, TransientError)):
                    raise  # late or cancelled: the next call looks again
        self._doubted, self._look_at = False, time.monotonic() + AGAIN_S
        return way

    async def _learn(self, timeout_s: float) -> Way:
        """Find out how the service is asked. What is learnt for good is kept."""
        self._trying.none = False
        tei = BY_NAME["tei"]
        beside = about(self._where) if self._named in (None, tei) else None
        facts = Facts() if beside is None else await self._facts_at(beside[0], timeout_s)
        if self._found is None:
            if self._named is not None:
                found = await self._of_named(self._named, timeout_s)
            elif beside is not None and facts is not None and facts.of_tei:
                found = Found(tei, beside[1], "logit")
            else:
                asker = Asker(self._service, self._example, self._refused, self._said)
                found = await self._trying.found(asker, timeout_s)
            if self._named_scale is not None:
                found = found._replace(scale=self._named_scale)
            self._found = found
            self._service = f"the rerank service {self._shown(found.path)}"
            _LOG.info(
                "%s is asked in the dialect %s, scale %s", self._service, found.service.name, found.scale
            )
        found = self._found
        limit = (facts.batch if facts is not None else _TEI_BATCH) if found.service is tei else None
        batch = self._batch or limit or min(DEFAULT_BATCH, found.service.most or DEFAULT_BATCH)
        way = Way(batch, found.scale, found.service, self._url_of(found.service, found.path))
        if facts is not None:
            self._way = way
            self._facts = facts if found.service is tei else Facts()
        return way

    async def _of_named(self, service: Service, timeout_s: float) -> Found:
        """Return how a service of a named dialect is asked; an example shows the scale that is not known."""
        scale = self._named_scale or service.scale
        if scale is None:
            response = await self._example(self._where, service, timeout_s)
            parsed = await json_of(response)
            rows = service.read(parsed, EXAMPLE_TEXTS) if response.status_code == 200 else None
            if rows is None:
                raise self._refused(response, parsed)
            return found_by_example(service, self._where, rows, self._service)
        return Found(service, self._where, scale)

    async def _example(self, path: str, service: Service, timeout_s: float) -> httpx.Response:
        """Ask for the scores of the example."""
        wanted = service.write(EXAMPLE_QUERY, EXAMPLE_TEXTS, self._model)
        bound = Bound(most_bytes(EXAMPLE_QUERY, EXAMPLE_TEXTS), cut=True)
        return await self._post(self._url_of(service, path), service, wanted, bound, timeout_s)

    async def _facts_at(self, path: str, timeout_s: float) -> Facts | None:
        """Return what the service says about itself; None while it cannot say it."""
        url = self._address.copy_with(path=path)
        response = await self._told(url, timeout_s)
        if response.status_code >= 500 or response.status_code == 429:
            return None
        facts = facts_in(await json_of(response), DEFAULT_BATCH)
        if response.status_code in _NO_SUCH_MODEL and self._model is not None:
            # A sidecar refuses a model that it does not serve. It is one all the same: in another dialect,
            # its default model would answer.
            default = await self._told(url.copy_remove_param("model"), timeout_s)
            return facts._replace(of_tei=facts_in(await json_of(default), DEFAULT_BATCH).of_tei)
        return facts

    async def _told(self, url: httpx.URL, timeout_s: float) -> httpx.Response:
        with self._over_the_network(Bound(FEW_BYTES, cut=True)):
            return await self._http.get(url, headers=self._authorization("Bearer"), timeout=timeout_s)

    def _url_of(self, service: Service, path: str) -> httpx.URL:
        """Return the address of ``path``. The model's name stays in it if the body has no key for it."""
        url = self._address.copy_with(path=path)
        return url.copy_remove_param("model") if self._model and service.names_model else url

    @property
    def dialect(self) -> str | None:
        """The dialect in which the service is asked; None until it is found."""
        if self._found is not None:
            return self._found.service.name
        return None if self._named is None else self._named.name

    @property
    def answers(self) -> Scale | None:
        """The scale of the service's scores; None until it is known."""
        return None if self._found is None else self._found.scale

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of a sidecar's model, known after the first scores; None for other services."""
        return self._facts.calibration

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that a sidecar's model was trained on, known after the first scores; None for other
        services.
        """
        return self._facts.scripts

    def _wording(self, query: str) -> str:
        return query or " "

    def _reads(self, terms: Way, text: str) -> bool:
        return terms.scale == "logit" or bool(text.strip())

    def _truncated(self, response: httpx.Response, count: int) -> list[int]:
        """Return the positions of the passages that a sidecar says it truncated."""
        positions = [
            part.strip()
            for part in response.headers.get("x-rerank-truncated-at", "").split(",")
            if part.strip()
        ]
        if not all(part.isdecimal() and len(part) < 10 and int(part) < count for part in positions):
            raise RemoteScoreError(
                f"{self._service} says that it cut the passages {reason(','.join(positions), self._secrets)} "
                f"of {count}; this is not a usable rerank service, check its address",
                service=self._service,
            )
        return [int(part) for part in positions]


def _anew(failure: _Failure) -> Exception:
    """Return a copy of its error: each caller that raises one adds its own traceback to it."""
    if isinstance(failure.error, TransientError):
        return TransientError(copy.copy(failure.error.error), failure.error.wait_s)
    error = copy.copy(failure.error)
    if isinstance(error, RemoteModelError) and error.retry_after_s is not None:
        error.retry_after_s = max(1, math.ceil(failure.until - time.monotonic()))
    return error


def _name(url: httpx.URL) -> str:
    """Return the default name of a service: the model's name, if known, then its host and port."""
    place = url.netloc.decode()
    model = url.params.get("model")
    return f"{model}@{place}" if model else place
