"""Another es-rerank sidecar, or a text-embeddings-inference server, asked over ``POST /rerank``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import httpx
from pydantic import SecretStr

from ...errors import ScoreError, SettingsError
from ...types import Calibration, Scale
from .answers import Answer, reason, values_by_index
from .http_reranker import CONCURRENCY, TIMEOUT_S, HttpReranker, service_address

DEFAULT_BATCH = 250
"""Passages in one request to a server that names no limit: a sidecar takes 1,000 unless set otherwise, but an
answer that is late is late as a whole."""

_TEI_BATCH = 32
"""TEI's default ``max_client_batch_size``; what is asked of a server that does not say its limit now, but may
later."""

_MOST_BATCH = 1_000
"""A sidecar names at most so many truncated passages in its answer."""


class RemoteReranker(HttpReranker):
    """Scores passages with the model of another es-rerank sidecar, or of a text-embeddings-inference (TEI)
    server.

    Query and passages are sent to ``url``, whose path, where it does not end in ``/rerank``, is completed to
    do so. Its query string is kept: ``http://host:8080?model=bge`` asks one of a sidecar's models.
    Credentials in it are sent as basic authentication, ``api_key`` as ``Authorization: Bearer``.
    ``batch_size``: passages in one request, and nothing is asked of the service besides; without it, what a
    TEI server names as its limit, and 250 for others.

    The scores are raw logits. A sidecar's are those that its model gives there, bit for bit, it says which
    passages it cut and how its model is calibrated, so that a search orders and scores as over there; what
    TEI cuts to the model's window is unknown, and not marked as ``truncated``. The deadline goes along as
    ``X-Rerank-Timeout-Ms``, so that a sidecar stops in time; passages of a request that it could not finish
    are not ``done``. An empty query is sent as a space, for both refuse it otherwise. Further arguments and
    errors are those of ``HttpReranker``. Raises SettingsError for an address that cannot be used.
    """

    scale: Scale = "logit"
    key_setting = "ES_RERANK_REMOTE_API_KEY"
    request_bytes = 1_000_000
    """Half of TEI's default ``--payload-limit``."""
    transient = frozenset({502, 503})

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        api_key: SecretStr | None = None,
        batch_size: int | None = None,
        timeout_s: float = TIMEOUT_S,
        concurrency: int = CONCURRENCY,
    ) -> None:
        address = _address(url)
        credentials = (address.username, address.password) if address.userinfo else None
        if credentials and api_key:
            raise SettingsError(
                f"both the address of {address.host} and {self.key_setting} hold credentials; give one of "
                "them"
            )
        if batch_size is not None and not 1 <= batch_size <= _MOST_BATCH:
            raise SettingsError(f"batch_size must be between 1 and {_MOST_BATCH}, found {batch_size}")
        self._url = address.copy_with(userinfo=b"", fragment=None)
        self._known_batch = batch_size
        self._calibration: Calibration | None = None
        service = f"the rerank service {self._url.copy_with(query=None)}"
        super().__init__(
            name=name or _name(self._url),
            service=service,
            api_key=api_key,
            timeout_s=timeout_s,
            concurrency=concurrency,
            credentials=credentials,
        )

    def _connect(self) -> None:
        super()._connect()
        self._learning = asyncio.Lock()
        if self._key is not None:
            self._http.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"

    async def _ask(self, query: str, texts: Sequence[str], timeout_s: float) -> Answer:
        wanted = {"query": query, "texts": texts, "truncate": True, "raw_scores": True}
        headers = {"X-Rerank-Timeout-Ms": str(max(1, int(timeout_s * 1000)))}
        with self._over_the_network():
            response = await self._http.post(self._url, json=wanted, headers=headers, timeout=timeout_s)
        found = _json(response)
        body = response.text if found is None else found
        if response.status_code == 504:
            raise TimeoutError(self._said(504, body))
        if response.status_code != 200 or not isinstance(found, list):
            raise self._refusal(response.status_code, response.headers, body)
        pairs = [
            (row.get("index"), row.get("score")) if isinstance(row, dict) else (None, None) for row in found
        ]
        return Answer(
            values_by_index(pairs, len(texts), self.scale, self._service),
            self._truncated(response, len(texts)),
        )

    async def _batch_size(self, timeout_s: float) -> int:
        async with self._learning:
            if self._known_batch is not None:
                return self._known_batch
            with self._over_the_network():
                response = await self._http.get(
                    self._url.copy_with(path=self._url.path.removesuffix("rerank") + "info"),
                    timeout=timeout_s,
                )
            if response.status_code >= 500 or response.status_code == 429:
                return _TEI_BATCH
            found = _json(response)
            about = found if isinstance(found, dict) else {}
            self._calibration = _calibration(about.get("calibration"))
            limit, most = (
                about.get("max_client_batch_size"),
                DEFAULT_BATCH if about.get("served_by") == "es-rerank" else _MOST_BATCH,
            )
            self._known_batch = min(limit, most) if type(limit) is int and limit > 0 else DEFAULT_BATCH
            return self._known_batch

    @property
    def calibration(self) -> Calibration | None:
        """What a sidecar says of its model, known once it has scored; None for other services."""
        return self._calibration

    def _wording(self, query: str) -> str:
        return query or " "

    def _reads(self, text: str) -> bool:  # noqa: ARG002 the empty text, too, beside a query that is not
        return True

    def _truncated(self, response: httpx.Response, count: int) -> list[int]:
        """Return the positions that a sidecar says it cut."""
        positions = [
            part.strip()
            for part in response.headers.get("x-rerank-truncated-at", "").split(",")
            if part.strip()
        ]
        if not all(part.isdecimal() and int(part) < count for part in positions):
            raise ScoreError(
                f"{self._service} says that it cut the passages {reason(','.join(positions))} of {count}; it "
                "is no rerank service that can be used"
            )
        return [int(part) for part in positions]


def _address(url: str) -> httpx.URL:
    """Return the address of the rerank path. Raises SettingsError where there can be none."""
    address = service_address(url, "remote:")
    path = address.path.rstrip("/")
    return address.copy_with(path=path if path.endswith("/rerank") else path + "/rerank")


def _calibration(stated: object) -> Calibration | None:
    """Return a calibration that a service states; None for anything else."""
    if not isinstance(stated, dict) or set(stated) != set(Calibration._fields):
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in stated.values()):
        return None
    return Calibration(**stated)


def _name(url: httpx.URL) -> str:
    """Return the default name of a service: the model's name, if known, then its host and port."""
    place = url.netloc.decode()
    model = url.params.get("model")
    return f"{model}@{place}" if model else place


def _json(response: httpx.Response) -> object:
    """Return the body as JSON, None where it is something else."""
    try:
        value: object = response.json()
    except ValueError:
        return None
    return value
