"""What clients of other servers ask first: which models are served, and whether they can be used."""

from __future__ import annotations

from .headers import MODEL_KEY
from .operators import BUNDLED_CALIBRATION, CALIBRATION, SCRIPTS
from .parts import Example, Operation, Schema, closed, flag, listed, ref, text, whole

_RERANKER = {
    "id": "es-rerank-minilm-l6",
    "object": "model",
    "created": 1796000000,
    "owned_by": "es-rerank",
    "type": "rerank",
    "max_model_len": 512,
}
_EMBEDDER = {**_RERANKER, "id": "all-MiniLM-L6-v2", "type": "embedding", "max_model_len": 256}

SCHEMAS: dict[str, Schema] = {
    "ModelInfo": closed(
        {
            "model_id": text("The name of the model."),
            "model_type": {"type": "object", "description": "What it does: `reranker` or `embedding`."},
            "model_sha": {"type": "null", "description": "Part of TEI's answer. It is not known here."},
            "max_client_batch_size": whole("The most texts of a request."),
            "auto_truncate": flag("Whether texts that are too long are cut."),
            "version": text("The version of es-rerank."),
            "served_by": text("Always `es-rerank`.", enum=["es-rerank"]),
        },
        {
            "model_dtype": text("The precision of its numbers, such as `int8` or `float32`."),
            "max_input_length": whole("How many tokens it reads at most."),
            "passage_tokens": whole("How many tokens of a passage it reads, beside its prefix."),
            "max_batch_tokens": whole("How many tokens it reads in one run."),
            "tokenization_workers": whole("The threads that all models share."),
            "max_concurrent_requests": whole("The most connections."),
            "calibration": CALIBRATION,
            "scripts": SCRIPTS,
        },
        "The facts about a model.",
    ),
    "Model": closed(
        {
            "id": text("The name by which requests choose it."),
            "object": text(enum=["model"]),
            "created": whole("When this process began, in seconds since 1970."),
            "owned_by": text(enum=["es-rerank"]),
            "type": text("What it does.", enum=["rerank", "embedding"]),
        },
        {"max_model_len": whole("How many tokens it reads at most.")},
        "A served model.",
    ),
    "Models": closed(
        {
            "object": text(enum=["list"]),
            "data": listed(
                ref("Model"), "The rerankers, then the embedders; the default one of each is first."
            ),
        }
    ),
}

_ERRORS = ("no key", "broken model", "loading")

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/v1/models", "get"): Operation(
        "listModels",
        "models",
        "List the served models, as OpenAI's API does",
        "Rerankers and embedders. Tools use it to fill their menus and to test an address.",
        ref("Models"),
        (
            Example(
                "A reranker and an embedder",
                {"object": "list", "data": [_RERANKER, _EMBEDDER]},
                error_format="OpenAI",
            ),
        ),
        parameters=("always",),
        errors=_ERRORS,
        security=MODEL_KEY,
    ),
    ("/v1/models/{model}", "get"): Operation(
        "lookUpModel",
        "models",
        "Look up a served model, as in OpenAI's API",
        "The entry of one model in the list.",
        ref("Model"),
        (Example("The bundled embedder", _EMBEDDER, error_format="OpenAI"),),
        parameters=("named model", "always"),
        errors=(*_ERRORS, "unknown model"),
        security=MODEL_KEY,
    ),
    ("/info", "get"): Operation(
        "modelInfo",
        "models",
        "Look up the facts about a reranker or an embedder, as text-embeddings-inference tells them",
        "Without `model`, the default reranker is described. The answer also has the calibration of the "
        "logits, the scripts that the model was trained on and how much of a passage it reads, which another "
        "sidecar reads.",
        ref("ModelInfo"),
        (
            Example(
                "The bundled reranker",
                {
                    "model_id": "es-rerank-minilm-l6",
                    "model_type": {"reranker": {"id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}},
                    "model_sha": None,
                    "model_dtype": "int8",
                    "max_input_length": 512,
                    "max_batch_tokens": 512,
                    "tokenization_workers": 2,
                    "max_concurrent_requests": 1000,
                    "max_client_batch_size": 1000,
                    "auto_truncate": True,
                    "version": "0.1.0",
                    "served_by": "es-rerank",
                    "calibration": BUNDLED_CALIBRATION,
                    "scripts": ["Latin"],
                },
                error_format="TEI",
            ),
        ),
        parameters=("model of any kind", "always"),
        errors=("no key", "unknown model", "broken model", "loading"),
        security=MODEL_KEY,
    ),
    ("/health", "get"): Operation(
        "health",
        "health",
        "Ask whether the models can be used, as in text-embeddings-inference",
        "200 without a body if they can, else 503. Elasticsearch is not asked, unlike for `/readyz`. "
        "`HEAD /health`, as of `wget --spider`, asks Elasticsearch for an index with this name; "
        "`/healthz` answers `HEAD`.",
        None,
        (Example("They can", None, error_format="TEI"),),
        errors=("loading",),
    ),
}
