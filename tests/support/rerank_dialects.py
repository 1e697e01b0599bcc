"""Rerank services of many dialects in this process, over a real port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError
from rerank_answers import (
    Answer,
    RefusedError,
    detail,
    elastic,
    inference,
    infinity,
    jina,
    llama,
    localai,
    nvidia,
    openai,
    sglang,
    vllm,
    vllm_pairs,
    voyage,
    weaviate,
)
from rerank_services import KEY, FakeService, Host, cohere_app, json_with_nan, tei_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MODEL = "rerank-v3.5"


@dataclass(frozen=True)
class StandIn:
    """A service: the answers at its paths, the body of an error with a status, and what it is asked as.

    ``named``: the name of its dialect. ``found``: the dialect that a trial finds. ``logits``: whether its
    scores are logits. ``address``: what stands behind host and port.
    """

    answers: dict[str, Answer]
    error: Callable[[int, str], Any]
    named: str
    found: str
    logits: bool
    address: str = ""
    invalid: int = 422
    scheme: str = "Bearer"


def _app(service: FakeService, stand_in: StandIn) -> Starlette:
    def at(answer: Answer) -> Callable[[Request], Any]:
        async def asked(request: Request) -> Response:
            if (reply := await service.reply(request)) is not None:
                return reply
            if request.headers.get("authorization") != f"{stand_in.scheme} {KEY}":
                return JSONResponse(stand_in.error(401, "Unauthorized"), 401)
            try:
                return json_with_nan(answer(service, service.bodies[-1]))
            except ValidationError as error:
                fault = error.errors()[0]
                message = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                return JSONResponse(stand_in.error(stand_in.invalid, message), stand_in.invalid)
            except RefusedError as refused:
                return refused.response

        return asked

    async def nowhere(request: Request) -> Response:
        service.paths.append(request.url.path)
        return JSONResponse({"detail": "Not Found"}, 404)

    routes = [Route(path, at(answer), methods=["POST"]) for path, answer in stand_in.answers.items()]
    return Starlette(routes=[*routes, Route("/{path:path}", nowhere, methods=["GET", "POST"])])


def _on(paths: str, answer: Answer) -> dict[str, Answer]:
    return dict.fromkeys(paths.split(), answer)


_RERANK = "/rerank /v1/rerank /v2/rerank"

STAND_INS = {
    "vllm": StandIn(
        {**_on(_RERANK, vllm(obeys=True)), **_on("/score /v1/score", vllm_pairs)},
        openai,
        "vllm",
        "vllm",
        logits=True,
        invalid=400,
    ),
    "older_vllm": StandIn(
        _on(_RERANK, vllm(obeys=False)), openai, "vllm", "results", logits=False, invalid=400
    ),
    "score_of_vllm": StandIn(
        _on("/score /v1/score", vllm_pairs), openai, "score", "score", logits=True, invalid=400
    ),
    "infinity": StandIn({"/rerank": infinity}, detail, "infinity", "infinity", logits=True),
    "llama_cpp": StandIn(
        _on("/rerank /v1/rerank /reranking /v1/reranking", llama), openai, "llamacpp", "tei", logits=True
    ),
    "sglang": StandIn({"/v1/rerank": sglang}, openai, "sglang", "sglang", logits=True, invalid=400),
    "weaviate": StandIn({"/rerank": weaviate}, detail, "weaviate", "weaviate", logits=True),
    "voyage": StandIn({"/v1/rerank": voyage}, detail, "voyage", "voyage", logits=False, invalid=400),
    "jina": StandIn({"/v1/rerank": jina}, detail, "jina", "results", logits=False),
    "localai": StandIn({"/v1/rerank": localai}, openai, "results", "results", logits=False, invalid=400),
    "nvidia": StandIn({"/v1/ranking": nvidia}, detail, "nvidia", "nvidia", logits=True),
    "elasticsearch": StandIn(
        {"/_inference/rerank/mine": inference},
        elastic,
        "elasticsearch",
        "elasticsearch",
        logits=True,
        address="/_inference/rerank/mine",
        invalid=400,
        scheme="ApiKey",
    ),
    "cohere": StandIn({}, detail, "cohere", "results", logits=False),
    "tei": StandIn({}, detail, "tei", "tei", logits=True),
}
"""Every service, by name. The last two are those of ``rerank_services``."""


class Served(NamedTuple):
    """A stand-in that is served now, and its record."""

    stand_in: StandIn
    service: FakeService
    url: str

    @property
    def address(self) -> str:
        """The address with the name of a model, as a user writes it."""
        return f"{self.url}{self.stand_in.address}?model={MODEL}"


def serve(host: Host, name: str) -> Served:
    """Answer as the service ``name`` at the address of ``host``."""
    service, stand_in = FakeService(), STAND_INS[name]
    if name == "cohere":
        host.app = cohere_app(service)
    elif name == "tei":
        host.app = tei_app(service, batch=100)
    else:
        host.app = _app(service, stand_in)
    return Served(stand_in, service, host.url)
