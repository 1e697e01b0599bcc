"""The paths of other rerank servers on the page: TEI, Cohere, Jina, Voyage, vLLM, Weaviate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .collection import QUESTION, RAINED, SIGNED
from .errors import OF_DIALECTS, SOME_ID
from .headers import MODEL_KEY
from .parts import Example, Mistake, Operation, either, ref

_TAG = "rerank"
_MODEL = "es-rerank-minilm-l6"
_HIGH, _LOW = 0.8381654024124146, 0.00930329505354166
_USAGE = {"prompt_tokens": 39, "total_tokens": 39}

_TEI_FORMAT = "TEI"
_SHARED_FORMAT = "Cohere, Jina, Voyage, vLLM"


def _shared(version: str, *, documents: bool, strings: bool = False) -> dict[str, Any]:
    """Return the answer in the format that Cohere, Jina, Voyage and vLLM share."""
    rows = [(0, _HIGH, SIGNED), (1, _LOW, RAINED)]
    return {
        "id": SOME_ID,
        "object": "list",
        "created": 1796000000,
        "model": _MODEL,
        "usage": _USAGE,
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 39, "output_tokens": 0},
        },
        "results": [
            {"index": index, "relevance_score": score, **({"document": {"text": said}} if documents else {})}
            for index, score, said in rows
        ],
        "data": [
            {"index": index, "relevance_score": score, **({"document": said} if strings else {})}
            for index, score, said in rows
        ],
    }


OF_TEI = Example(
    "text-embeddings-inference (TEI)",
    [{"index": 0, "text": SIGNED, "score": _HIGH}, {"index": 1, "text": RAINED, "score": _LOW}],
    {"query": QUESTION, "texts": [SIGNED, RAINED], "return_text": True},
    _TEI_FORMAT,
)


def _of_cohere(version: str) -> tuple[Example, ...]:
    asked = {"query": QUESTION, "documents": [SIGNED, RAINED]}
    return (
        Example(
            "Cohere, Jina, vLLM",
            _shared(version, documents=True),
            {"model": _MODEL, **asked, "top_n": 2},
            _SHARED_FORMAT,
        ),
        Example(
            "Voyage",
            _shared(version, documents=True, strings=True),
            {"model": _MODEL, **asked, "top_k": 2, "return_documents": True},
            _SHARED_FORMAT,
        ),
        Example(
            "The scores only",
            _shared(version, documents=False),
            {**asked, "return_documents": False},
            _SHARED_FORMAT,
        ),
    )


_SCORE = Example(
    "One query and two texts",
    {
        "id": "score-9e107d9d372bb6826bd81d3542a419d6",
        "object": "list",
        "created": 1796000000,
        "model": _MODEL,
        "data": [
            {"index": 0, "object": "score", "score": _HIGH},
            {"index": 1, "object": "score", "score": _LOW},
        ],
        "usage": _USAGE,
    },
    {"text_1": QUESTION, "text_2": [SIGNED, RAINED]},
    _SHARED_FORMAT,
)

_NVIDIA = Example(
    "NVIDIA",
    {"rankings": [{"index": 0, "logit": 3.3203754}, {"index": 1, "logit": -8.0517731}], "usage": _USAGE},
    {"query": {"text": QUESTION}, "passages": [{"text": SIGNED}, {"text": RAINED}]},
    _SHARED_FORMAT,
)

_INFINITY = Example(
    "infinity",
    {
        "id": SOME_ID,
        "object": "rerank",
        "created": 1796000000,
        "model": _MODEL,
        "usage": _USAGE,
        "results": [
            {"index": 0, "relevance_score": _HIGH, "document": SIGNED},
            {"index": 1, "relevance_score": _LOW, "document": RAINED},
        ],
    },
    {"query": QUESTION, "documents": [SIGNED, RAINED], "return_documents": True},
    _SHARED_FORMAT,
)

_WEAVIATE = Example(
    "Two documents",
    {
        "query": QUESTION,
        "scores": [{"document": SIGNED, "score": _HIGH}, {"document": RAINED, "score": _LOW}],
    },
    {"query": QUESTION, "documents": [SIGNED, RAINED]},
    "Weaviate",
)

_KEYS = (
    "Only the parameter with the texts tells the format of a request: `texts` means TEI, `documents` the "
    "format "
    "that Cohere, Jina, Voyage, vLLM, llama.cpp and infinity share. Errors come in the same format."
)
_TAKEN = "Parameters that have no effect are taken, and the header `x-rerank-ignored` names them."

_NO_TEXTS = Mistake(
    {"query": QUESTION, "texts": []}, "[texts] must be a list of texts with at least one entry", "TEI"
)
_NO_DOCUMENTS = Mistake(
    {"query": QUESTION, "documents": []},
    "[documents] must be a list of texts with at least one entry",
    _SHARED_FORMAT,
)


def _rerank(
    name: str, summary: str, examples: tuple[Example, ...], first: str, body: tuple[str, ...]
) -> Operation:
    mistakes = {"TEI": _NO_TEXTS, _SHARED_FORMAT: _NO_DOCUMENTS}
    answers = {"TeiRerankBody": "TeiScores", "RerankBody": "RerankScores", "NvidiaBody": "NvidiaScores"}
    return Operation(
        name,
        _TAG,
        summary,
        f"{first} {_KEYS} {_TAKEN}",
        either(*(ref(answers[each]) for each in body)),
        examples,
        tuple(mistakes[each] for each in dict.fromkeys(example.error_format for example in examples)),
        body=either(*map(ref, body)),
        **_SHARED,
    )


_SHARED: dict[str, Any] = {
    "parameters": ("model", "always", "deadline"),
    "headers": (
        "Warning",
        "Server-Timing",
        "x-rerank-model",
        "x-rerank-ignored",
        "x-rerank-truncated",
        "x-rerank-truncated-at",
    ),
    "errors": OF_DIALECTS,
    "security": MODEL_KEY,
}

_TEI_FIRST, _COHERE_FIRST = ("TeiRerankBody", "RerankBody"), ("RerankBody", "TeiRerankBody")

_PAIRS = Operation(
    "score",
    _TAG,
    "Score pairs of texts, as vLLM does",
    f"The scores are in the order of the request. {_TAKEN}",
    ref("PairScores"),
    (_SCORE,),
    (
        Mistake(
            {"text_1": QUESTION},
            "the request must hold [text_1] and [text_2] or [queries] and [documents] or [queries] and "
            "[items] "
            "or [data_1] and [data_2], and only two of these keys",
            _SHARED_FORMAT,
        ),
    ),
    body=ref("ScoreBody"),
    **_SHARED,
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/rerank", "post"): _rerank(
        "rerank",
        "Rerank texts, as TEI, Cohere, Jina, Voyage or vLLM do",
        (OF_TEI, *_of_cohere("1")),
        "The path of text-embeddings-inference, of vLLM and of tools that take an address and add `/rerank`.",
        _TEI_FIRST,
    ),
    ("/v1/rerank", "post"): _rerank(
        "rerankV1",
        "Rerank texts, as Cohere v1, Jina, Voyage or vLLM do",
        (*_of_cohere("1"), OF_TEI),
        "The path of Cohere's first version, of Jina, Voyage, vLLM, llama.cpp, Xinference and LocalAI.",
        _COHERE_FIRST,
    ),
    ("/v2/rerank", "post"): _rerank(
        "rerankV2",
        "Rerank texts, as Cohere v2 does",
        (*_of_cohere("2"), OF_TEI),
        "The path of Cohere's second version.",
        _COHERE_FIRST,
    ),
    **{
        (path, "post"): _rerank(
            name,
            "Rerank texts, as llama.cpp does",
            (*_of_cohere("1"), _NVIDIA, OF_TEI),
            "Another name of `/v1/rerank` in llama.cpp, and where RAGFlow asks NVIDIA's service: `passages` "
            "means "
            "NVIDIA's format.",
            ("RerankBody", "NvidiaBody", "TeiRerankBody"),
        )
        for name, path in (
            ("rerankLlamaCpp", "/v1/reranking"),
            ("rerankLlamaCppWithoutVersion", "/reranking"),
        )
    },
    ("/v1/ranking", "post"): Operation(
        "rankNvidia",
        _TAG,
        "Rerank passages, as NVIDIA's service does",
        f"The scores are logits, as NVIDIA's clients expect. {_TAKEN}",
        ref("NvidiaScores"),
        (_NVIDIA,),
        (
            Mistake(
                {"query": {"text": QUESTION}, "passages": []},
                "[passages] must be a list of texts with at least one entry",
                _SHARED_FORMAT,
            ),
        ),
        body=ref("NvidiaBody"),
        **_SHARED,
    ),
    ("/infinity/rerank", "post"): Operation(
        "rerankInfinity",
        _TAG,
        "Rerank texts, as infinity does",
        "The answer has the texts as strings. Clients of infinity that want objects may ask `/rerank`. "
        f"{_TAKEN}",
        ref("InfinityScores"),
        (_INFINITY,),
        (_NO_DOCUMENTS,),
        body=ref("RerankBody"),
        **_SHARED,
    ),
    ("/score", "post"): _PAIRS,
    ("/v1/score", "post"): replace(_PAIRS, name="scoreV1"),
    ("/weaviate/rerank", "post"): Operation(
        "rerankWeaviate",
        _TAG,
        "Rerank texts, as Weaviate's module reranker-transformers asks",
        f"The scores are in the order of the request. {_TAKEN}",
        ref("WeaviateScores"),
        (_WEAVIATE,),
        (
            Mistake(
                {"query": QUESTION, "documents": []},
                "[documents] must be a list of texts with at least one entry",
                "Weaviate",
            ),
        ),
        body=ref("WeaviateBody"),
        **_SHARED,
    ),
}
