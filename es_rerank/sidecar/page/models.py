"""Elasticsearch's inference API and ``/rescore`` on the page."""

from __future__ import annotations

from .collection import ARTICLES, QUESTION, RAINED, SIGNED, answered, block, hit, told
from .errors import OF_MODELS
from .headers import MODEL_KEY
from .parts import Example, Mistake, Operation, Schema, closed, listed, number, ref, text, whole

_RERANKER = {
    "inference_id": "es-rerank-minilm-l6",
    "task_type": "rerank",
    "service": "es-rerank",
    "service_settings": {"model_id": "es-rerank-minilm-l6"},
}
_EMBEDDER = {
    "inference_id": "all-MiniLM-L6-v2",
    "task_type": "text_embedding",
    "service": "es-rerank",
    "service_settings": {"model_id": "all-MiniLM-L6-v2"},
}

VECTOR_OF_SIGNED = [-0.0272582, 0.132958, -0.0023259]
VECTOR_OF_QUESTION = [-0.0238345, 0.1196251, 0.0078687]
"""The first numbers of the vectors of the texts."""

SHORTENED = "The example shows the first three numbers of each vector only."

VECTOR: Schema = listed(number(), "The numbers of a vector of length 1.")

SCHEMAS: dict[str, Schema] = {
    "InferenceEndpoints": closed(
        {
            "endpoints": listed(
                closed(
                    {
                        "inference_id": text("The name of the model."),
                        "task_type": text("What it does.", enum=["rerank", "text_embedding"]),
                        "service": text("Always `es-rerank`.", enum=["es-rerank"]),
                        "service_settings": closed({"model_id": text("The name of the model.")}),
                    }
                ),
                "The served models, the default reranker first.",
            )
        },
        description="The served models, as Elasticsearch lists its inference endpoints.",
    ),
    "InferenceScores": closed(
        {
            "rerank": listed(
                closed(
                    {
                        "index": whole("The position of the text in the request, from 0.", minimum=0),
                        "relevance_score": number("How probably it answers the query.", minimum=0, maximum=1),
                    },
                    {"text": text("The text, if `return_documents` asks for it.")},
                ),
                "The texts, best first.",
            )
        }
    ),
    "InferenceVectors": closed(
        {
            "text_embedding": listed(
                closed({"embedding": VECTOR}), "One vector for each text, in the order of the request."
            )
        }
    ),
}

_DEADLINE = (
    "A request that cannot be answered by its deadline is refused at once (429), before its texts are "
    "read by "
    "the model."
)

_RESCORED = answered(
    4,
    [
        hit("1", 0.9266432, _source=ARTICLES["1"], fields=told(1.106406, 1, 3.8515978, 0.8742996)),
        hit("2", 0.002343072, _source=ARTICLES["2"], fields=told(0.15146844, 2, -8.130798, 0.008907569)),
    ],
    rerank=block(
        "reranked",
        2,
        2,
        {"rerank": 11.7, "total": 11.7},
        (0, 0, 0),
        model="es-rerank-minilm-l6",
        score="blend",
        blend="dense",
    ),
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/_inference", "get"): Operation(
        "servedModels",
        "inference",
        "List the served models",
        "The models in the form in which Elasticsearch lists its inference endpoints. `GET /_inference/_all` "
        "gives the same.",
        ref("InferenceEndpoints"),
        (Example("A reranker and an embedder", {"endpoints": [_RERANKER, _EMBEDDER]}),),
        parameters=("always",),
        errors=("no key", "broken model", "loading"),
        security=MODEL_KEY,
    ),
    ("/_inference/{inference_id}", "get"): Operation(
        "servedModel",
        "inference",
        "Look up a served model by its name",
        "The models with this name: a reranker and an embedder may have the same.",
        ref("InferenceEndpoints"),
        (Example("The bundled reranker", {"endpoints": [_RERANKER]}),),
        parameters=("any model", "always"),
        errors=("no key", "unknown model", "broken model", "loading"),
        security=MODEL_KEY,
    ),
    ("/_inference/{task_type}/{inference_id}", "get"): Operation(
        "servedModelOfTask",
        "inference",
        "Look up a served model by its task and its name",
        "The model with this name for one task.",
        ref("InferenceEndpoints"),
        (Example("The bundled reranker", {"endpoints": [_RERANKER]}),),
        parameters=("task", "any model", "always"),
        errors=("no key", "unknown model", "broken model", "loading"),
        security=MODEL_KEY,
    ),
    ("/_inference/rerank/{inference_id}", "post"): Operation(
        "inferenceRerank",
        "inference",
        "Rerank texts, in the format of Elasticsearch's inference API",
        f"The scores are probabilities from 0 to 1. {_DEADLINE}",
        ref("InferenceScores"),
        (
            Example(
                "Two texts, returned with their scores",
                {
                    "rerank": [
                        {"index": 0, "relevance_score": 0.8381654024124146, "text": SIGNED},
                        {"index": 1, "relevance_score": 0.00930329505354166, "text": RAINED},
                    ]
                },
                {"query": QUESTION, "input": [SIGNED, RAINED], "return_documents": True},
            ),
            Example(
                "The best text only",
                {"rerank": [{"index": 1, "relevance_score": 0.8381654024124146}]},
                {"query": QUESTION, "input": [RAINED, SIGNED], "top_n": 1},
            ),
        ),
        (Mistake({"input": [SIGNED]}, "[query] field required"),),
        parameters=("reranker", "always", "deadline"),
        headers=("Warning", "Server-Timing"),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/_inference/text_embedding/{inference_id}", "post"): Operation(
        "inferenceEmbed",
        "inference",
        "Turn texts into vectors, in the format of Elasticsearch's inference API",
        f"Each vector has the length 1. {SHORTENED} {_DEADLINE}",
        ref("InferenceVectors"),
        (
            Example("A passage", {"text_embedding": [{"embedding": VECTOR_OF_SIGNED}]}, {"input": SIGNED}),
            Example(
                "A query",
                {"text_embedding": [{"embedding": VECTOR_OF_QUESTION}]},
                {"input": [QUESTION], "input_type": "search"},
            ),
        ),
        (Mistake({"input": []}, "[input] value should have at least 1 item after validation, not 0"),),
        parameters=("embedder", "always", "deadline"),
        headers=("Warning",),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/rescore", "post"): Operation(
        "rescore",
        "rescore",
        "Rerank the hits of an Elasticsearch response",
        "The response comes back with its hits in the order of the reranker, and with scores from 0 to 1. No "
        f"request goes to Elasticsearch. {_DEADLINE}",
        ref("SearchAnswer"),
        (
            Example(
                "A response with two hits",
                _RESCORED,
                {
                    "query": QUESTION,
                    "field": ["title", "text"],
                    "response": answered(
                        4,
                        [
                            hit("1", 1.106406, _source=ARTICLES["1"]),
                            hit("2", 0.15146844, _source=ARTICLES["2"]),
                        ],
                    ),
                },
            ),
        ),
        (
            Mistake(
                {"query": QUESTION, "field": "text", "response": {}, "min_score": 0.5},
                "[min_score] has no fixed meaning with [blend]: the score depends on the window; use "
                "[min_probability], or set [blend] to false",
            ),
        ),
        parameters=("always", "deadline"),
        headers=("Server-Timing",),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
}
