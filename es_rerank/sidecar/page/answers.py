"""What the answer of each path with status 200 is, in a sentence."""

from __future__ import annotations

_SCORES = "The texts with their scores, best first, in the format of the request."
_VECTORS = "One vector for each text, in OpenAI's format."

ANSWERS = {
    **dict.fromkeys(
        ("rerank", "rerankV1", "rerankV2", "rerankLlamaCpp", "rerankLlamaCppWithoutVersion"), _SCORES
    ),
    **dict.fromkeys(("score", "scoreV1"), "The score of each pair, in the order of the request."),
    "rankNvidia": "The passages by their positions with their logits, best first.",
    "rerankInfinity": "The texts with their scores, best first, in infinity's format.",
    "rerankWeaviate": "The query, and each document with its score.",
    **dict.fromkeys(
        ("createEmbeddings", "createEmbeddingsWithoutVersion", "createEmbeddingsForInfinity"), _VECTORS
    ),
    "embed": "A list of vectors, one for each text.",
    "askWithoutPath": "A list of vectors, or the texts with their scores, best first.",
    **dict.fromkeys(("embedV1", "embedV2"), "One vector for each text, in Cohere's format."),
    "servedModels": "All served models.",
    "servedModelOfTask": "The one model with this task and name.",
    "servedModel": "The models with this name, one or two.",
    "inferenceRerank": "The scores of the texts, best first, as Elasticsearch's inference API gives them.",
    "inferenceEmbed": "The vectors of the texts, as Elasticsearch's inference API gives them.",
    "search": "The hits of the point in time, or of all indices.",
    "searchIndex": "The hits of the indices of the path.",
    **dict.fromkeys(
        ("searchSeveralTimes", "searchIndexSeveralTimes"), "One answer or error for each search, in order."
    ),
    "openPointInTime": "The id of the point in time.",
    "closePointInTime": "Whether it was closed.",
    "aboutElasticsearch": "The name and version of Elasticsearch.",
    "pingElasticsearch": "Elasticsearch is there.",
    "indexExists": "The index exists.",
    "rescore": "The response with its hits in the new order.",
    "modelInfo": "The facts about one model.",
    "listModels": "All rerankers, then all embedders.",
    "lookUpModel": "The entry of this model.",
    "alive": "The process is alive.",
    "ready": "Searches can be answered.",
    "weaviateReady": "Texts can be scored.",
    "weaviateMeta": "Who serves the module.",
    "health": "The models can be used.",
    "metrics": "All figures of this process.",
    "status": "The state of the sidecar when it was asked.",
    "pluginScore": "A score for each document of the list.",
    "pluginEmbed": "The vectors of the texts, for the plugin.",
    "pluginPassages": "The passages of each document, with their vectors.",
    "pluginInfo": "The names of the served models, for the plugin.",
}
"""By the ``operationId``. Paths with one sentence are other names of one path."""
