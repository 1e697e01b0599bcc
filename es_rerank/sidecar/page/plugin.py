"""The internal API of the plugin on the page."""

from __future__ import annotations

from .collection import QUESTION, RAINED, SIGNED
from .errors import OF_MODELS
from .headers import MODEL_KEY
from .models import SHORTENED, VECTOR, VECTOR_OF_QUESTION
from .parts import Example, Mistake, Operation, Schema, closed, listed, nullable, number, ref, text, whole

_INTERNAL = (
    "Internal: only the plugin in Elasticsearch uses it. It may change with each release; other callers use "
    "the public paths."
)
_VERSION = {"version": whole("The version of this API."), "model": text("The model that was used.")}

SCHEMAS: dict[str, Schema] = {
    "PluginScores": closed(
        {
            **_VERSION,
            "documents": listed(
                closed(
                    {"index": whole("The position of the document in the request, from 0.", minimum=0)},
                    {
                        "score": number("The new score, from 0 to 1."),
                        "logit": number("The logit of the model."),
                        "probability": number("How probably it answers the query."),
                        "passage": {"type": "object", "description": "The best passage, if it has several."},
                    },
                ),
                "The documents in their new order. One without a score has `index` alone.",
            ),
            "truncated": whole("How many passages were cut."),
            "cached": whole("How many scores came from the cache."),
            "capped": whole("Of how many documents not all passages were read."),
        },
        {
            "warning": text("Why documents have no score."),
            "blend": text("The blend by which the first stage has a part in the scores."),
            "order": text("There if the order of the first stage was left alone.", enum=["first_stage"]),
            "notes": listed(text(), "What else a caller should know about the scores."),
        },
    ),
    "PluginVectors": closed({**_VERSION, "vectors": listed(VECTOR, "One for each text, in order.")}),
    "PluginPassages": closed(
        {
            **_VERSION,
            "documents": listed(
                listed(
                    closed(
                        {
                            "text": text("The passage."),
                            "start": whole("Where it begins in the document, in characters."),
                            "end": whole("Where it ends."),
                            "vector": VECTOR,
                        }
                    )
                ),
                "The passages of each document.",
            ),
        }
    ),
    "PluginInfo": closed(
        {
            "version": whole("The version of this API."),
            "release": text("The version of es-rerank."),
            "models": listed(text(), "The rerankers, the default one first."),
            "sends_texts_onward": listed(text(), "The rerankers that run on other servers."),
            "embedder": nullable(text("The default embedder.")),
            "embedders": listed(text(), "The embedders by their own names."),
        }
    ),
}

_EMPTY = Mistake(
    {"texts": [], "purpose": "query"}, "[texts] list should have at least 1 item after validation, not 0"
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/_rerank/v1/score", "post"): Operation(
        "pluginScore",
        "plugin",
        "Score a list of documents for the plugin",
        f"{_INTERNAL} The header `X-Rerank-User` tells the users of Elasticsearch apart.",
        ref("PluginScores"),
        (
            Example(
                "Two documents with a passage each",
                {
                    "version": 1,
                    "model": "es-rerank-minilm-l6",
                    "documents": [
                        {
                            "index": 0,
                            "score": 0.8381654024124146,
                            "logit": 3.320375442504883,
                            "probability": 0.8381654024124146,
                        },
                        {
                            "index": 1,
                            "score": 0.00930329505354166,
                            "logit": -8.051773071289062,
                            "probability": 0.00930329505354166,
                        },
                    ],
                    "truncated": 0,
                    "cached": 0,
                    "capped": 0,
                },
                {
                    "query": QUESTION,
                    "documents": [
                        {"passages": [{"text": SIGNED}], "first_stage_score": 1.1},
                        {"passages": [{"text": RAINED}], "first_stage_score": 0.2},
                    ],
                },
            ),
        ),
        (Mistake({"documents": []}, "[query] field required"),),
        parameters=("always", "deadline"),
        headers=("Server-Timing",),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/_rerank/v1/embed", "post"): Operation(
        "pluginEmbed",
        "plugin",
        "Turn texts into vectors for the plugin",
        f"{_INTERNAL} {SHORTENED}",
        ref("PluginVectors"),
        (
            Example(
                "A query",
                {"version": 1, "model": "all-MiniLM-L6-v2", "vectors": [VECTOR_OF_QUESTION]},
                {"texts": [QUESTION], "purpose": "query"},
            ),
        ),
        (_EMPTY,),
        parameters=("always", "deadline"),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/_rerank/v1/passages", "post"): Operation(
        "pluginPassages",
        "plugin",
        "Cut documents into passages with vectors for the plugin",
        f"{_INTERNAL} They are cut and embedded as `es-rerank ingest` does it. {SHORTENED}",
        ref("PluginPassages"),
        (
            Example(
                "A short document",
                {
                    "version": 1,
                    "model": "all-MiniLM-L6-v2",
                    "documents": [
                        [
                            {
                                "text": SIGNED,
                                "start": 0,
                                "end": 71,
                                "vector": [-0.0184024, 0.1241397, 0.0027666],
                            }
                        ]
                    ],
                },
                {"documents": [{"title": "The treaty of Oslo", "text": SIGNED}]},
            ),
        ),
        (Mistake({"documents": []}, "[documents] list should have at least 1 item after validation, not 0"),),
        parameters=("always", "deadline"),
        errors=(*OF_MODELS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/_rerank/v1/info", "post"): Operation(
        "pluginInfo",
        "plugin",
        "Tell the plugin which models are served",
        _INTERNAL,
        ref("PluginInfo"),
        (
            Example(
                "A reranker and an embedder",
                {
                    "version": 1,
                    "release": "0.1.0",
                    "models": ["es-rerank-minilm-l6"],
                    "sends_texts_onward": [],
                    "embedder": "all-MiniLM-L6-v2",
                    "embedders": ["all-MiniLM-L6-v2"],
                },
            ),
        ),
        parameters=("always",),
        errors=("no key", "broken model", "loading"),
        security=MODEL_KEY,
    ),
}
