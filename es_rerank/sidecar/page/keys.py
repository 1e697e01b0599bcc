"""What the keys of request bodies mean whose schemas pydantic makes from the models of the routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Keys(NamedTuple):
    """What a body or a part of it is, and what its keys mean."""

    description: str
    keys: Mapping[str, str]


_MODEL = "The name of the model. Without it, the default model is meant."
_TEXTS = "The texts: one, or a list of them."

KEYS = {
    "RerankTask": Keys(
        "A rerank request of Elasticsearch's inference API.",
        {
            "query": "What is searched for.",
            "input": _TEXTS,
            "return_documents": "Whether the texts are returned too.",
            "top_n": "How many of the best texts are returned.",
            "task_settings": "The same options, where Elasticsearch's clients put them.",
        },
    ),
    "RerankSettings": Keys(
        "Options of a rerank request. Other parameters are ignored.",
        {
            "return_documents": "Whether the texts are returned too.",
            "top_n": "How many of the best texts are returned.",
        },
    ),
    "EmbeddingTask": Keys(
        "An embedding request of Elasticsearch's inference API.",
        {
            "input": _TEXTS,
            "input_type": "`search` if the texts are queries. All other values mean passages.",
            "task_settings": "Options of other services. They are ignored.",
        },
    ),
    "RescoreRequest": Keys(
        "A response of Elasticsearch that is reranked.",
        {
            "query": "What is searched for.",
            "response": "The response, with `_source` or `fields` in its hits.",
            "field": "The field or fields with the text for the reranker.",
            "blend": "Whether the scores of the response have a part in the new ones.",
            "first_stage": "How the response was found, which decides how much its scores weigh. Without it, "
            "by vectors.",
            "embedder": "The name of the embedder by which it was found, if it was.",
            "min_score": "Hits with a lower score are left out. It has a meaning without `blend` only.",
            "min_probability": "Hits with a lower probability are left out.",
            "inference_id": "The name of the reranker.",
        },
    ),
    "ScoreRequest": Keys(
        "Documents to score, a list in first-stage order.",
        {
            "query": "What is searched for.",
            "documents": "The documents in first-stage order.",
            "model": _MODEL,
            "recorded_model": "The model that the index records, for a request without `model`.",
            "passages_stored": "Whether the passages were cut when the documents were indexed. If not, each "
            "document has one passage, its whole text.",
            "chunk_rescorer": "As in `text_similarity_reranker`.",
            "aggregation": "As in `text_similarity_reranker`.",
            "allow_failures": "Whether documents without a score are no error.",
            "blend": "As in `text_similarity_reranker`.",
            "first_stage": "What the scores of the first stage are made of, if that is known.",
            "recorded_embedders": "The embedders that the indices record.",
            "vector_models": "The embedders that make the query vectors; null for the default one.",
        },
    ),
    "ScoreDocument": Keys(
        "One document of this list.",
        {
            "context": "What is read before each passage, such as the title.",
            "passages": "Its passages.",
            "first_stage_score": "Its score in the first stage, if there is one.",
        },
    ),
    "ScorePassage": Keys(
        "A part of a document.",
        {
            "text": "The text.",
            "start": "Where it begins in the document, in characters, if known.",
            "end": "Where it ends, if known.",
            "heading": "The headings that it stands below, which are read after the context.",
        },
    ),
    "EmbedRequest": Keys(
        "Texts for the embedder.",
        {"texts": "The texts.", "purpose": "Whether they are queries or passages.", "model": _MODEL},
    ),
    "PassagesRequest": Keys(
        "Documents to cut.",
        {"documents": "The documents.", "model": "The embedder. Without it, the default one is meant."},
    ),
    "SourceDocument": Keys(
        "A document to index.",
        {
            "title": "The title, which is embedded before each passage.",
            "text": "The text, which is cut.",
            "format": "What the text is written in. Markdown is cut by its headings, and passages have the "
            "headings that it stands below as `heading`, if there are any.",
        },
    ),
}
"""By the name of the schema, which is that of the class."""


def with_words(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what ``KEYS`` says of it."""
    told = KEYS.get(name)
    if told is None:
        return schema
    keys = {
        key: {**value, "description": told.keys[key]} if key in told.keys else value
        for key, value in schema.get("properties", {}).items()
    }
    return {**schema, "description": told.description, "properties": keys}
