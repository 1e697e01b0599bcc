"""The paths of other rerank servers on the page: TEI, Cohere, Jina, Voyage, vLLM, Weaviate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .collection import QUESTION, RAINED, SIGNED
from .errors import OF_MODELS, SOME_ID
from .headers import MODEL_KEY
from .parts import (
    Example,
    Mistake,
    Operation,
    Schema,
    closed,
    either,
    flag,
    listed,
    number,
    opened,
    ref,
    text,
    whole,
)

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


_TEI = Example(
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

_WEAVIATE = Example(
    "Two documents",
    {
        "query": QUESTION,
        "scores": [{"document": SIGNED, "score": _HIGH}, {"document": RAINED, "score": _LOW}],
    },
    {"query": QUESTION, "documents": [SIGNED, RAINED]},
    "Weaviate",
)

_ONE = {"index": whole("The position of the text in the request, from 0.", minimum=0)}
_RELEVANCE = number("How probably the text answers the query, from 0 to 1. With `raw_scores` the logit.")
_QUERY = either(text(minLength=1), {"type": "object"}, description="What is searched for.")


def _documents(description: str) -> Schema:
    return either(listed(either(text(), {"type": "object"}), minItems=1), text(), description=description)


_OPTIONS: dict[str, Schema] = {
    "model": text(
        "The model. The default model answers for a name that is not served, and `Warning` says so."
    ),
    "top_n": either(
        whole(minimum=0), {"type": "null"}, description="How many of the best texts are returned."
    ),
    "top_k": either(whole(minimum=0), {"type": "null"}, description="The same, as Voyage names it."),
    "return_documents": flag("Whether the texts are returned too."),
    "return_text": flag("The same, as TEI names it."),
    "raw_scores": flag("Whether the scores are logits instead of probabilities.", default=False),
    "truncate": flag("If false, a text that is longer than the model can read is an error.", default=True),
    "truncation": flag("The same, as Voyage names it.", default=True),
    "truncation_direction": text("Which end of a long text is kept. Only `right` is supported."),
    "use_activation": flag("If false, the scores are logits, as vLLM names it.", default=True),
    "rank_fields": listed(text(), "The fields of documents that are objects, which are read."),
}

SCHEMAS: dict[str, Schema] = {
    "TeiRerankBody": opened(
        {"query": _QUERY, "texts": _documents("The texts.")},
        {
            name: _OPTIONS[name]
            for name in ("return_text", "raw_scores", "truncate", "truncation_direction", "top_n", "model")
        },
        "A request as text-embeddings-inference takes it. Keys without an effect are named in "
        "`x-rerank-ignored`.",
    ),
    "RerankBody": opened(
        {"query": _QUERY, "documents": _documents("The texts. An object has its text in `text`.")},
        {name: _OPTIONS[name] for name in _OPTIONS if name not in {"return_text", "truncation_direction"}},
        "A request as Cohere, Jina, Voyage, vLLM, llama.cpp and infinity take it. Keys without an effect are "
        "named in `x-rerank-ignored`.",
    ),
    "ScoreBody": opened(
        {
            "text_1": _documents("One query for all texts, or one for each."),
            "text_2": _documents("The texts."),
        },
        {name: _OPTIONS[name] for name in ("model", "raw_scores", "use_activation", "truncate")},
        "Pairs of texts as vLLM takes them. `queries` with `documents` or `items`, and `data_1` with "
        "`data_2`, "
        "are the same.",
    ),
    "WeaviateBody": opened(
        {"query": _QUERY, "documents": _documents("The texts.")}, description="A request of Weaviate."
    ),
    "TeiScores": listed(
        closed({**_ONE, "score": _RELEVANCE}, {"text": text("The text, if `return_text` asks for it.")}),
        "The texts, best first.",
    ),
    "RerankScores": closed(
        {
            "id": text("The id of the answer."),
            "object": text(enum=["list"]),
            "created": whole("When it was made, in seconds since 1970."),
            "model": text("The model that answers."),
            "usage": ref("Usage"),
            "meta": closed(
                {
                    "api_version": closed({"version": text("The version that the path names.")}),
                    "billed_units": closed({"search_units": whole("One for each 100 documents.")}),
                    "tokens": closed(
                        {
                            "input_tokens": whole("How many tokens the model read."),
                            "output_tokens": whole("Always 0."),
                        }
                    ),
                },
                description="What Cohere's clients read.",
            ),
            "results": listed(
                closed(
                    {**_ONE, "relevance_score": _RELEVANCE},
                    {"document": opened({"text": text("The text.")})},
                ),
                "The texts, best first.",
            ),
            "data": listed(
                closed({**_ONE, "relevance_score": _RELEVANCE}, {"document": text("The text.")}),
                "The same, as Voyage's clients read it.",
            ),
        },
        description="One answer that the clients of Cohere, Jina, Voyage, vLLM and infinity can read.",
    ),
    "Usage": closed(
        {
            "prompt_tokens": whole("How many tokens the model read.", minimum=0),
            "total_tokens": whole("The same.", minimum=0),
        }
    ),
    "PairScores": closed(
        {
            "id": text("The id of the answer."),
            "object": text(enum=["list"]),
            "created": whole("When it was made, in seconds since 1970."),
            "model": text("The model that answers."),
            "data": listed(
                closed({**_ONE, "object": text(enum=["score"]), "score": _RELEVANCE}),
                "One for each pair, in the order of the request.",
            ),
            "usage": ref("Usage"),
        }
    ),
    "WeaviateScores": closed(
        {
            "query": text("The query."),
            "scores": listed(
                closed({"document": text("The text."), "score": _RELEVANCE}), "In the order of the request."
            ),
        }
    ),
}

_KEYS = (
    "Only the keys that a request cannot do without tell its format: `texts` means TEI, `documents` the "
    "format "
    "that Cohere, Jina, Voyage, vLLM, llama.cpp and infinity share. Errors come in the same format."
)
_TAKEN = "Keys that have no effect are taken, and the header `x-rerank-ignored` names them."

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
    answers = {"TeiRerankBody": "TeiScores", "RerankBody": "RerankScores"}
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
    "errors": (*OF_MODELS, "unknown model"),
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
        (_TEI, *_of_cohere("1")),
        "The path of text-embeddings-inference, of vLLM and of tools that take an address and add `/rerank`.",
        _TEI_FIRST,
    ),
    ("/v1/rerank", "post"): _rerank(
        "rerankV1",
        "Rerank texts, as Cohere v1, Jina, Voyage or vLLM do",
        (*_of_cohere("1"), _TEI),
        "The path of Cohere's first version, of Jina, Voyage, vLLM, llama.cpp, Xinference and LocalAI.",
        _COHERE_FIRST,
    ),
    ("/v2/rerank", "post"): _rerank(
        "rerankV2",
        "Rerank texts, as Cohere v2 does",
        (*_of_cohere("2"), _TEI),
        "The path of Cohere's second version.",
        _COHERE_FIRST,
    ),
    ("/v1/reranking", "post"): _rerank(
        "rerankLlamaCpp",
        "Rerank texts, as llama.cpp does",
        (*_of_cohere("1"), _TEI),
        "Another name of `/v1/rerank` in llama.cpp.",
        _COHERE_FIRST,
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
