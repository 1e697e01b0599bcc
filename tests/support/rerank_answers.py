"""What rerank services of many dialects answer: each takes what the real one takes, refuses what it refuses,
and answers in its form. The sources are named at each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from rerank_services import FakeService
from starlette.responses import JSONResponse

LONGEST = 2_000
"""Longest document, in characters, of the stand-in for vLLM: a longer one is refused unless it may be cut."""


class _Open(BaseModel):
    """A request whose unknown keys are ignored."""

    model_config = ConfigDict(strict=True)


class _Closed(_Open):
    """A request whose unknown keys are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _same(logit: float) -> float:
    return logit


class RefusedError(Exception):
    """What a service answers instead of scores."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.response = JSONResponse(body, status)


Answer = Callable[[FakeService, dict[str, Any]], Any]
"""Returns the JSON of an answer to a body. Raises RefusedError or ValidationError for a refused body."""


def detail(status: int, message: str) -> Any:
    return {"detail": message}


def openai(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


# --- vLLM: vllm/entrypoints/pooling/scoring/protocol.py -----------------------------------------------------


class _Vllm(_Open):
    query: str
    documents: list[str]
    model: str | None = None
    top_n: int = 0
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    use_activation: bool | None = None


class _VllmPairs(_Open):
    text_1: str | list[str]
    text_2: str | list[str]
    model: str | None = None
    truncate_prompt_tokens: int | None = None
    use_activation: bool | None = None


def _check_length(texts: Sequence[str], cut: int | None) -> None:
    if cut is None and any(len(text) > LONGEST for text in texts):
        raise RefusedError(400, openai(400, "This model's maximum context length is 512 tokens."))


def vllm(*, obeys: bool) -> Answer:
    """``obeys``: whether the release knows ``use_activation``."""

    def answer(service: FakeService, body: dict[str, Any]) -> Any:
        wanted = _Vllm.model_validate(body)
        _check_length(wanted.documents, wanted.truncate_prompt_tokens)
        raw = obeys and wanted.use_activation is False
        rows = service.rows(wanted.query, wanted.documents, "relevance_score", _same if raw else _chance)
        return {
            "id": "rerank-0f1e2d3c",
            "model": "BAAI/bge-reranker-base",
            "usage": {"prompt_tokens": 56, "total_tokens": 56},
            "results": [
                row | {"document": {"text": wanted.documents[row["index"]], "multi_modal": None}}
                for row in rows
            ],
        }

    return answer


def vllm_pairs(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _VllmPairs.model_validate(body)
    texts = [wanted.text_2] if isinstance(wanted.text_2, str) else wanted.text_2
    if not isinstance(wanted.text_1, str):
        raise RefusedError(400, openai(400, "Input lengths must be either 1:1, 1:N or N:N"))
    _check_length(texts, wanted.truncate_prompt_tokens)
    rows = service.rows(
        wanted.text_1, texts, "score", _chance if wanted.use_activation is not False else _same
    )
    return {
        "id": "score-0f1e2d3c",
        "object": "list",
        "created": 1,
        "model": "BAAI/bge-reranker-base",
        "data": [row | {"object": "score"} for row in sorted(rows, key=lambda row: row["index"])],
        "usage": {"prompt_tokens": 56, "total_tokens": 56},
    }


# --- infinity: infinity_emb/fastapi_schemas/pymodels.py -----------------------------------------------------


class _Infinity(_Open):
    query: str
    documents: Annotated[list[str], Field(min_length=1, max_length=2048)]
    return_documents: bool = False
    raw_scores: bool = False
    model: str = "default/not-specified"
    top_n: Annotated[int, Field(gt=0)] | None = None


def infinity(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Infinity.model_validate(body)
    scale = _same if wanted.raw_scores else _chance
    return {
        "object": "rerank",
        "results": [
            row | {"document": None}
            for row in service.rows(wanted.query, wanted.documents, "relevance_score", scale)
        ],
        "model": wanted.model,
        "usage": {"prompt_tokens": 56, "total_tokens": 56},
        "id": "infinity-0f1e2d3c",
        "created": 1,
    }


# --- llama.cpp: tools/server, handle_rerank -----------------------------------------------------------------


def llama(service: FakeService, body: dict[str, Any]) -> Any:
    texts = body.get("documents") or body.get("texts")
    if not isinstance(body.get("query"), str) or not texts:
        raise RefusedError(400, openai(400, '"query" must be provided'))
    score = "score" if "texts" in body else "relevance_score"
    rows = service.rows(body["query"], texts, score, _same)
    usage = {"prompt_tokens": 56, "total_tokens": 56}
    return rows if "texts" in body else {"model": "m", "object": "list", "usage": usage, "results": rows}


# --- SGLang: srt/entrypoints/openai/protocol.py -------------------------------------------------------------


class _Sglang(_Open):
    query: str
    documents: list[str]


def sglang(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Sglang.model_validate(body)
    rows = service.rows(wanted.query, wanted.documents, "score", _same)
    return [
        row | {"document": wanted.documents[row["index"]], "meta_info": {"prompt_tokens": 9}} for row in rows
    ]


# --- Weaviate's own reranker: weaviate/reranker-transformers, crossencoder.py -------------------------------


class _Weaviate(_Open):
    query: str
    property: str | None = None
    documents: list[str] | None = None


def weaviate(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Weaviate.model_validate(body)
    if wanted.documents is None:
        raise RefusedError(500, {"error": "text input must be of type str"})
    if len(wanted.documents) > 32:
        raise RefusedError(500, {"error": "out of memory"})
    rows = sorted(service.rows(wanted.query, wanted.documents, "score", _same), key=lambda row: row["index"])
    scores = [{"document": wanted.documents[row["index"]], "score": row["score"]} for row in rows]
    return {"query": wanted.query, "scores": scores, "property": None, "score": None}


# --- hosted APIs: docs.voyageai.com/reference/reranker-api, api.jina.ai/redoc ----


class _Voyage(_Closed):
    query: str
    documents: Annotated[list[str], Field(min_length=1, max_length=1000)]
    model: str
    top_k: int | None = None
    return_documents: bool = False
    truncation: bool = True


def _check_words(texts: Sequence[str]) -> None:
    if not all(text.strip() for text in texts):
        raise RefusedError(400, {"detail": "Input cannot contain empty strings or empty lists"})


def voyage(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Voyage.model_validate(body)
    _check_words(wanted.documents)
    return {
        "object": "list",
        "data": service.rows(wanted.query, wanted.documents, "relevance_score", _chance),
        "model": wanted.model,
        "usage": {"total_tokens": 26},
    }


class _Jina(_Closed):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool = True


def jina(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Jina.model_validate(body)
    _check_words(wanted.documents)
    more = [{"document": {"text": text}} if wanted.return_documents else {} for text in wanted.documents]
    rows = service.rows(wanted.query, wanted.documents, "relevance_score", _chance)
    return {
        "model": wanted.model,
        "object": "list",
        "usage": {"total_tokens": 26},
        "results": [row | more[row["index"]] for row in rows],
    }


# --- LocalAI: core/schema/jina.go; Xinference: its restful API has the same keys ----


class _LocalAi(_Open):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None


def localai(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _LocalAi.model_validate(body)
    rows = service.rows(wanted.query, wanted.documents, "relevance_score", _chance)
    return {
        "model": wanted.model,
        "results": [row | {"document": {"text": wanted.documents[row["index"]]}} for row in rows],
        "usage": {"total_tokens": 26, "prompt_tokens": 26},
    }


# --- NVIDIA NIM: docs.nvidia.com/nim/nemo-retriever/text-reranking ----


class _Text(_Closed):
    text: str


class _Nim(_Closed):
    model: str
    query: _Text
    passages: Annotated[list[_Text], Field(min_length=1, max_length=512)]
    truncate: str = "NONE"


def nvidia(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Nim.model_validate(body)
    texts = [passage.text for passage in wanted.passages]
    return {"rankings": service.rows(wanted.query.text, texts, "logit", _same)}


# --- Elasticsearch: POST _inference/rerank/{id} ----


class _Inference(_Closed):
    query: str
    input: list[str]
    top_n: int | None = None
    return_documents: bool | None = None
    task_settings: dict[str, Any] | None = None


def inference(service: FakeService, body: dict[str, Any]) -> Any:
    wanted = _Inference.model_validate(body)
    return {"rerank": service.rows(wanted.query, wanted.input, "relevance_score", _same)}


def elastic(status: int, message: str) -> Any:
    cause = {"type": "validation_exception", "reason": message}
    return {"error": {"root_cause": [cause], **cause}, "status": status}
