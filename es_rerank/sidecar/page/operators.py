"""Health checks, figures and the state of the sidecar on the page."""

from __future__ import annotations

from .parts import (
    Example,
    Operation,
    Schema,
    closed,
    either,
    flag,
    listed,
    nullable,
    number,
    ref,
    text,
    whole,
)

BUNDLED_CALIBRATION = {
    "pair": {"logit": 0.5551, "intercept": -0.1985, "error": 0.0388},
    "blends": {
        "dense": {
            "logit": 0.4345,
            "first_stage": 0.2824,
            "intercept": -0.8292,
            "least_agreement": None,
            "alone_first_stage": 0.0,
            "alone_intercept": 0.0,
            "error": 0.0481,
        }
    },
}
_ERROR = nullable(number("The expected calibration error, 0 to 1; null where nobody measured it."))
_PAIR: Schema = {
    **closed({"logit": number(), "intercept": number(), "error": _ERROR}),
    "description": "Log-odds of a pair alone: `logit` * logit + `intercept`. Null where it was not fitted.",
    "type": ["object", "null"],
}
_BLEND = closed(
    {
        "logit": number("Factor of the logit."),
        "first_stage": number(
            "Factor of the standardised first-stage score, in units of the logits' spread."
        ),
        "intercept": number(),
        "least_agreement": nullable(
            number("The smallest correlation with the first stage with which the order changes.")
        ),
        "alone_first_stage": number("Factor of the first-stage score in a window that is left alone."),
        "alone_intercept": number("The intercept in a window that is left alone."),
        "error": _ERROR,
    }
)
CALIBRATION: Schema = {
    **closed(
        {
            "pair": _PAIR,
            "blends": {
                "type": "object",
                "description": "With the first stage, by its kind (`dense`, `bm25`, `hybrid`), or by kind "
                "and embedder, such as `dense:all-MiniLM-L6-v2`.",
                "additionalProperties": _BLEND,
            },
        }
    ),
    "description": "How probabilities are made from logits and first-stage scores; null where it is not "
    "known.",
    "type": ["object", "null"],
}
SCRIPTS: Schema = {
    **listed(text()),
    "description": "The scripts that the model was trained on, such as `Latin`; null where they are not "
    "known.",
    "type": ["array", "null"],
}
_EMBEDDER = {
    "name": "all-MiniLM-L6-v2",
    "served_as": "all-MiniLM-L6-v2",
    "default": True,
    "dims": 384,
    "kind": "bi-encoder",
    "precision": "int8",
    "max_length": 256,
    "scripts": ["Latin"],
}
_MODEL = {
    "kind": text("What kind of model it is."),
}
_OF_MANIFEST = {
    "precision": text("The precision in which it runs, `int8` or `fp32`; of a cascade both."),
    "max_length": whole("How many tokens it reads at most."),
}

SCHEMAS: dict[str, Schema] = {
    "Alive": closed({"status": text(enum=["alive"])}),
    "WeaviateReady": closed({"status": text(enum=["ready"])}),
    "WeaviateMeta": closed({"served_by": text(enum=["es-rerank"])}),
    "Ready": closed(
        {"status": text(enum=["ready"])},
        {"warnings": listed(text(), "What may go wrong all the same.")},
    ),
    "NotReady": closed({"status": text(enum=["not ready"]), "reasons": listed(text(), "What is missing.")}),
    "Status": closed(
        {
            "release": text("The version of es-rerank."),
            "uptime_seconds": number("For how many seconds the process runs."),
            "ready": flag("Whether `/readyz` answers 200."),
            "models": listed(
                closed(
                    {
                        "name": text("The name by which requests choose it."),
                        "default": flag("Whether it answers requests that choose none."),
                        **_MODEL,
                        "local": flag(
                            "Whether it runs in this process. If not, another server gets the texts."
                        ),
                        "calibration": CALIBRATION,
                        "scripts": SCRIPTS,
                    },
                    {
                        **_OF_MANIFEST,
                        "dialect": nullable(text("The format in which another server is asked.")),
                        "scale": nullable(text("Whether it answers logits or probabilities.")),
                    },
                ),
                "The rerankers, the default one first.",
            ),
            "embedder": either(ref("Embedder"), {"type": "null"}, description="The default embedder."),
            "embedders": listed(ref("Embedder"), "The embedders, the default one first."),
            "elasticsearch": closed(
                {
                    "url": text("Its address without credentials."),
                    "version": nullable(text("Its version; null if it does not tell it.")),
                },
                description="The Elasticsearch that searches go to.",
            ),
            "limits": closed(
                {
                    "body_bytes": whole("The largest body, in bytes."),
                    "documents": whole("The most texts of a request."),
                    "timeout_s": number("The deadline of a request that names none, in seconds."),
                    "longest_s": number("The longest deadline, in seconds."),
                    "idle_s": number("How long Elasticsearch may send nothing, in seconds."),
                },
                description="The limits of one request.",
            ),
        },
        {
            "reasons": listed(text(), "Why the sidecar is not ready."),
            "not_loaded": text("Why no model is served."),
            "queue": {"type": "object", "description": "The work that runs and waits."},
            "score_cache": {
                "type": "object",
                "description": "How full the cache of scores is. For operators only.",
            },
            "connections": {
                "type": "object",
                "description": "How many connections are open, and their limits.",
            },
        },
        "The state of the sidecar.",
    ),
    "Embedder": closed(
        {
            "name": text("Its own name, which an index records."),
            "served_as": text("The name by which requests choose it."),
            "default": flag("Whether it answers requests that choose none."),
            "dims": whole("How many numbers a vector has."),
            **_MODEL,
            "scripts": SCRIPTS,
        },
        _OF_MANIFEST,
        "An embedder.",
    ),
}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/healthz", "get"): Operation(
        "alive",
        "health",
        "Ask whether the process is alive",
        "It answers 200 as long as the process can answer. Restart the sidecar when this fails. HEAD "
        "works too.",
        ref("Alive"),
        (Example("It is", {"status": "alive"}),),
        parameters=("always",),
    ),
    ("/readyz", "get"): Operation(
        "ready",
        "health",
        "Ask whether the sidecar can answer searches",
        "200 if the models are loaded and Elasticsearch answers, else 503 with the reasons. Send no searches "
        "while this fails, but do not restart the sidecar because of it. HEAD works too.",
        ref("Ready"),
        (Example("It can", {"status": "ready"}),),
        parameters=("always",),
        others={
            503: (
                "It cannot.",
                ref("NotReady"),
                {"status": "not ready", "reasons": ["the model is still loading"]},
            )
        },
    ),
    ("/weaviate/.well-known/ready", "get"): Operation(
        "weaviateReady",
        "health",
        "Ask whether the models can score texts, as Weaviate does when it starts",
        "200 if the models are loaded, else 503. Elasticsearch is not asked.",
        ref("WeaviateReady"),
        (Example("They can", {"status": "ready"}, error_format="Weaviate"),),
        parameters=("always",),
        errors=("loading",),
    ),
    ("/weaviate/meta", "get"): Operation(
        "weaviateMeta",
        "health",
        "Look up what Weaviate shows of its module reranker-transformers",
        "Weaviate repeats it in the answer to `GET /v1/meta`.",
        ref("WeaviateMeta"),
        (Example("The sidecar", {"served_by": "es-rerank"}),),
        parameters=("always",),
    ),
    ("/metrics", "get"): Operation(
        "metrics",
        "status",
        "Read the figures for Prometheus",
        "In the text format of Prometheus, or in OpenMetrics if `Accept` asks for it. Figures of models have "
        "the names of text-embeddings-inference (`te_…`). `GET /_rerank/metrics` gives the same. "
        "docs/metrics.md says what each figure means.",
        text("Lines of figures."),
        (
            Example(
                "Some of the lines",
                "# HELP es_rerank_ready Whether /readyz answers 200, as far as it is known.\n"
                "# TYPE es_rerank_ready gauge\n"
                "es_rerank_ready 1.0\n",
            ),
        ),
        answer_type="text/plain",
        errors=("no metrics key",),
        security=("metricsKey",),
    ),
    ("/_rerank/status", "get"): Operation(
        "status",
        "status",
        "See how the sidecar is",
        "Its models, queue, limits and Elasticsearch. It asks for a key for metrics if there is one, "
        "else for a "
        "key of the sidecar if it has keys. A caller with a key of the second kind does not see what "
        "the models "
        "did for all callers.",
        ref("Status"),
        (
            Example(
                "A sidecar that is ready",
                {
                    "release": "0.1.0",
                    "uptime_seconds": 12.5,
                    "ready": True,
                    "models": [
                        {
                            "name": "es-rerank-minilm-l6",
                            "default": True,
                            "kind": "cross-encoder",
                            "precision": "int8",
                            "max_length": 512,
                            "local": True,
                            "calibration": BUNDLED_CALIBRATION,
                            "scripts": ["Latin"],
                        }
                    ],
                    "embedder": _EMBEDDER,
                    "embedders": [_EMBEDDER],
                    "queue": {
                        "running": 0,
                        "waiting": 0,
                        "waiting_s": 0.0,
                        "refused": 0,
                        "late": 0,
                        "dropped": 0,
                        "tokens": 1440,
                        "threads": 2,
                    },
                    "connections": {
                        "open": 1,
                        "busy": 1,
                        "most": 1000,
                        "header_s": 20.0,
                        "body_s": 20.0,
                        "write_s": 20.0,
                        "idle_s": 75.0,
                    },
                    "elasticsearch": {"url": "http://localhost:9200", "version": "9.5.0"},
                    "limits": {
                        "body_bytes": 16777216,
                        "documents": 1000,
                        "timeout_s": 8.0,
                        "longest_s": 300.0,
                        "idle_s": 600.0,
                    },
                },
            ),
        ),
        parameters=("always",),
        errors=("no metrics key", "no key"),
        security=("metricsKey", "sidecarKey"),
    ),
}
