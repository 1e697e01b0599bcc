"""A reranker over ``POST /rerank`` of another es-rerank sidecar or of a text-embeddings-inference (TEI)
server.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import httpx
from pydantic import SecretStr

from ...defaults import MOST_POSITIONS
from ...errors import ScoreError, SettingsError
from ...types import Calibration, Scale
from .answers import Answer, reason, values_by_index
from .http_reranker import CONCURRENCY, SERVICE_TIMEOUT_S, HttpReranker, service_address

DEFAULT_BATCH = 250
"""Most passages in one request to a server that states no limit. A sidecar accepts 1,000 by default, but when
an answer comes too late, all of its scores are lost."""

_TEI_BATCH = 32
"""TEI's default ``max_client_batch_size``: used while a server cannot state its limit, but may state it
later."""


class RemoteReranker(HttpReranker):
    """Scores passages with the model of another es-rerank sidecar or of a text-embeddings-inference (TEI)
    server.

    Query and passages are sent to ``url``. When its path does not end in ``/rerank``, that is added. Its
    query string is kept: ``http://host:8080?model=bge`` asks one of a sidecar's models. Credentials in the
    address are sent as basic authentication, ``api_key`` as ``Authorization: Bearer``. ``batch_size`` is the
    number of passages in one request. Without it, the service is asked for its limit; a server that states
    none gets 250 passages in a request.

    The scores are raw logits. The scores of a sidecar are the same, bit for bit, as on its own machine. A
    sidecar also says which passages it truncated and how its model is calibrated, so that a search gives the
    same order and scores as there. A TEI server does not say which passages it truncates, so they are not
    marked as ``truncated``. The deadline is sent as ``X-Rerank-Timeout-Ms``, so that a sidecar stops in time;
    passages of a request that it could not finish are not ``done``. An empty query is sent as a space,
    because both servers refuse an empty one. Further arguments and errors are those of ``HttpReranker``.
    Raises SettingsError for an address that cannot be used.
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
        name: str | None = None,
        api_key: SecretStr | None = None,
        batch_size: int | None = None,
        timeout_s: float = SERVICE_TIMEOUT_S,
        concurrency: int = CONCURRENCY,
    ) -> None:
        address = _address(url)
        credentials = (address.username, address.password) if address.userinfo else None
        if credentials and api_key:
            raise SettingsError(
                f"both the address of {address.host} and {self.key_setting} hold credentials; give one of "
                "them"
            )
        if batch_size is not None and not 1 <= batch_size <= MOST_POSITIONS:
            raise SettingsError(f"batch_size must be between 1 and {MOST_POSITIONS}, found {batch_size}")
        self._url = address.copy_with(userinfo=b"", fragment=None)
        self._known_batch = batch_size
        self._calibration: Calibration | None = None
        self._scripts: tuple[str, ...] | None = None
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
        parsed = _json(response)
        body = response.text if parsed is None else parsed
        if response.status_code == 504:
            raise TimeoutError(self._said(504, body))
        if response.status_code != 200 or not isinstance(parsed, list):
            raise self._refusal(response.status_code, response.headers, body)
        pairs = [
            (row.get("index"), row.get("score")) if isinstance(row, dict) else (None, None) for row in parsed
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
            parsed = _json(response)
            about = parsed if isinstance(parsed, dict) else {}
            self._calibration = _calibration(about.get("calibration"))
            self._scripts = _scripts(about.get("scripts"))
            limit = about.get("max_client_batch_size")
            most = DEFAULT_BATCH if about.get("served_by") == "es-rerank" else MOST_POSITIONS
            self._known_batch = min(limit, most) if type(limit) is int and limit > 0 else DEFAULT_BATCH
            return self._known_batch

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of a sidecar's model, known after the first scores; None for other services."""
        return self._calibration

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that a sidecar's model was trained on, known after the first scores; None for other
        services.
        """
        return self._scripts

    def _wording(self, query: str) -> str:
        return query or " "

    def _reads(self, text: str) -> bool:  # noqa: ARG002 every text, also the empty one
        return True

    def _truncated(self, response: httpx.Response, count: int) -> list[int]:
        """Return the positions of the passages that a sidecar says it truncated."""
        positions = [
            part.strip()
            for part in response.headers.get("x-rerank-truncated-at", "").split(",")
            if part.strip()
        ]
        if not all(part.isdecimal() and int(part) < count for part in positions):
            raise ScoreError(
                f"{self._service} says that it cut the passages {reason(','.join(positions))} of {count}; "
                "this is not a usable rerank service, check its address"
            )
        return [int(part) for part in positions]


def _address(url: str) -> httpx.URL:
    """Return the address of the rerank path. Raises SettingsError for an address that cannot be used."""
    address = service_address(url, "remote:")
    path = address.path.rstrip("/")
    return address.copy_with(path=path if path.endswith("/rerank") else path + "/rerank")


def _calibration(stated: object) -> Calibration | None:
    """Return the calibration that a service states; None for anything else."""
    if not isinstance(stated, dict):
        return None
    # An older sidecar states no calibration of the pair alone, one whose model has none states null.
    known = {name: value for name, value in stated.items() if value is not None}
    if not {"logit", "first_stage", "intercept"} <= set(known) <= set(Calibration._fields):
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in known.values()):
        return None
    return Calibration(**known)


def _scripts(stated: object) -> tuple[str, ...] | None:
    """Return the scripts that a service states; None for anything else."""
    if not isinstance(stated, list) or not all(isinstance(script, str) for script in stated):
        return None
    return tuple(stated) or None


def _name(url: httpx.URL) -> str:
    """Return the default name of a service: the model's name, if known, then its host and port."""
    place = url.netloc.decode()
    model = url.params.get("model")
    return f"{model}@{place}" if model else place


def _json(response: httpx.Response) -> object:
    """Return the body as JSON; None when the body is not JSON."""
    try:
        value: object = response.json()
    except ValueError:
        return None
    return value
