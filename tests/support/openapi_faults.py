"""Sidecars in which requests end with the errors that the OpenAPI page names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
from app_client import app_client
from elasticsearch import AsyncElasticsearch
from openapi_page import Sent, alike, checked, sent
from tiny_models import tiny_tokenizer

from es_rerank.errors import DeadlineError, EsRerankError, ModelError, OverloadError, RemoteModelError
from es_rerank.models import Vectors
from es_rerank.sidecar.access.keys import Keys
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.page.document import OPERATIONS
from es_rerank.sidecar.page.parts import Operation
from es_rerank.sidecar.service import Limits, Observing, Service
from es_rerank.types import Scores

NOBODY = "http://127.0.0.1:9"
"""Nothing listens there."""

_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_RAISED: dict[str, EsRerankError] = {
    "overload": OverloadError("the request would wait longer than its deadline allows", retry_after_s=2),
    "remote model": RemoteModelError("remote:http://gpu:8080 answered 500 to a rerank request"),
    "late": DeadlineError(
        "the deadline came when 40 of 100 texts were scored; send fewer or allow more time"
    ),
}

_LIMITS = {"too large": Limits(body_bytes=10), "too many texts": Limits(documents=0)}


class Failing:
    """A reranker and an embedder that raise an error at every call."""

    calibration = None
    dims = 384

    def __init__(self, name: str, error: EsRerankError | None) -> None:
        self.name, self._error = name, error
        self.tokenizer = tiny_tokenizer()

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        raise self._error or AssertionError("no text is scored")

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return self.score(query, passages)

    def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"] = "passage") -> Vectors:
        raise self._error or AssertionError("no text is embedded")


@asynccontextmanager
async def failing(fault: str, elasticsearch: str = NOBODY) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a sidecar in which requests end with an error of the page, named by ``fault``.

    For ``mistake`` and ``unknown model`` the request itself must be wrong.
    """

    def load() -> Any:
        if fault == "broken model":
            raise ModelError("no model is served: unexpected OSError while the model was loading")
        error = _RAISED.get(fault)
        reranker: Any = Failing("es-rerank-minilm-l6", error)
        embedder: Any = Failing("all-MiniLM-L6-v2", error)
        return {reranker.name: reranker}, {embedder.name: embedder}

    service = Service(
        AsyncElasticsearch(elasticsearch, max_retries=0),
        load,
        limits=_LIMITS.get(fault, Limits()),
        api_key_hashes=(_HASH,) if fault == "no key" else (),
        observing=Observing(keys=Keys((_HASH,))) if fault == "no metrics key" else Observing(),
    )
    if fault == "loading":
        transport = httpx.ASGITransport(create_app(service))  # it does not start, so that nothing is loaded
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
            yield client
        await service.close()
        return
    async with app_client(service) as client:
        yield client


SAID_IN_ONE_WAY = ("no key", "no metrics key", "mistake")
"""Errors whose message does not depend on the request."""


def requests(page: dict[str, Any], fault: str, *, searches: bool) -> list[tuple[Sent, str]]:
    """Return the examples whose operation names an error, each with the format of its errors."""
    found = []
    for example in sent(page):
        told = OPERATIONS.get((example.path, example.method))
        if (
            told is not None
            and fault in told.errors
            and told.forwarded == searches
            and (example.key or not searches)
        ):
            found.append((example, format_of(told, example)))
    return found


def format_of(told: Operation, example: Sent) -> str:
    """Return the format in which errors of an example are told."""
    return next((each.error_format for each in told.examples if each.body == example.body), "Elasticsearch")


def asked(example: Sent, fault: str, **places: Any) -> dict[str, Any]:
    """Return the request of an example, changed so that it ends with an error if that depends on it."""
    request = example.request(**places)
    if fault == "web page":
        headers = {"origin": "https://example.org", "content-type": "text/plain"}
        return {**request, "json": None, "content": json.dumps(request["json"]), "headers": headers}
    if fault == "encoding":
        return {**request, "headers": {**request.get("headers", {}), "content-encoding": "br"}}
    if fault == "not JSON":
        headers = {"content-type": "application/yaml"}
        return {**request, "json": None, "content": "retriever: {rrf: {}}", "headers": headers}
    return _with_another_model(example, request) if fault == "unknown model" else request


def _with_another_model(example: Sent, request: dict[str, Any]) -> dict[str, Any]:
    """Return a request that names a model that is not served."""
    path, body = example.path, dict(request.get("json") or {})
    if "{inference_id}" in path or path.endswith("/{model}"):
        return {**request, "url": f"{request['url'].rpartition('/')[0]}/other"}
    if any(each["name"] == "model" for each in example.operation["parameters"]):
        return {**request, "params": {"model": "other"}}
    if "retriever" in body:
        body["retriever"]["text_similarity_reranker"]["inference_id"] = "other"
        return {**request, "json": body}
    key = "inference_id" if path == "/rescore" else "model"
    return {**request, "json": {**body, key: "other"}}


def check_error(page: dict[str, Any], example: Sent, spoken: str, fault: str, answer: httpx.Response) -> None:
    """Check an error: its status, its schema, its headers, and that it looks like its example."""
    status = checked(page, example.operation, answer)
    assert status != "200", answer.text
    if answer.request.method == "HEAD":
        return
    shown = _shown(example, status, spoken, fault)
    got = answer.json()
    if fault in SAID_IN_ONE_WAY:
        assert list(alike(shown, got)) == []
    else:
        assert list(alike(_without_words(shown), _without_words(got))) == []
    if fault in ("overload", "loading"):
        assert int(answer.headers["retry-after"]) >= 1
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def _shown(example: Sent, status: str, spoken: str, fault: str) -> Any:
    content = example.operation["responses"][status]["content"]["application/json"]
    named = {each["summary"]: each["value"] for each in content["examples"].values()}
    found = [named[label] for label in (fault, f"{fault} ({spoken})") if label in named]
    assert len(found) == 1, f"{example} is answered {status}, whose examples are {sorted(named)}"
    return found[0]


def _without_words(error: Any) -> Any:
    """Return an error without its messages, which name what the request held."""
    if isinstance(error, list):
        return [_without_words(part) for part in error]
    if isinstance(error, dict):
        return {key: _without_words(value) for key, value in error.items() if not _is_message(key, value)}
    return error


def _is_message(key: str, value: Any) -> bool:
    return key in ("reason", "message", "detail", "caused_by") or (key == "error" and isinstance(value, str))
