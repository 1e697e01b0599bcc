"""What rerank requests and their answers look like, in the formats of other servers."""

from __future__ import annotations

from ...dialects.pairs import NAMES
from .parts import Schema, closed, either, flag, listed, number, opened, ref, text, whole, with_one_of

_ONE = {"index": whole("The position of the text in the request, from 0.", minimum=0)}
_RELEVANCE = number("How probably the text answers the query, from 0 to 1. With `raw_scores` the logit.")
_OF_QUERY = (
    "What is searched for: a text, or an object that has it in `text` or `content`. Of an object without "
    "these, each field is read as a line `name: value`."
)
_QUERY = either(text(minLength=1), {"type": "object"}, description=_OF_QUERY)


def _documents(description: str) -> Schema:
    return either(listed(either(text(), {"type": "object"}), minItems=1), text(), description=description)


_OPTIONS: dict[str, Schema] = {
    "model": text(
        "The model. The default model answers for a name that is not served, and `Warning` says so."
    ),
    "top_n": either(
        whole(minimum=0),
        {"type": "null"},
        description="How many of the best texts are returned. Without it, and with 0 or null, all are.",
    ),
    "top_k": either(
        whole(minimum=0),
        {"type": "null"},
        description="The same as `top_n` elsewhere: how many of the best texts are returned. Voyage's name.",
    ),
    "return_documents": flag("Whether the answer has the documents too."),
    "return_text": flag("Whether the texts are returned too."),
    "raw_scores": flag("Whether the scores are logits instead of probabilities."),
    "truncate": either(
        flag(),
        text(),
        description="Without it, a text that is longer than the model reads is read in at most ten "
        "parts, and the best part decides. If true, it is cut. If false or `NONE`, all its parts are read.",
    ),
    "truncation": flag("Voyage's name of `truncate`, with true or false only."),
    "max_chunks_per_doc": whole("How many parts of a long text are read at most, as Cohere names it."),
    "truncation_direction": text(
        "Which end of a long text would be cut. With `left` all its parts are read."
    ),
    "truncation_side": text(
        "Which end of a long text would be cut, in vLLM's name. With `left` all its parts are read."
    ),
    "use_activation": flag("If false, the scores are logits. vLLM's name; older vLLM calls it `activation`."),
    "rank_fields": listed(text(), "Which fields are read of documents that are objects."),
}

SCHEMAS: dict[str, Schema] = {
    "TeiRerankBody": opened(
        {"query": _QUERY, "texts": _documents("The texts.")},
        {
            name: _OPTIONS[name]
            for name in ("return_text", "raw_scores", "truncate", "truncation_direction", "top_n", "model")
        },
        "A request as text-embeddings-inference takes it. Parameters without an effect are named in "
        "`x-rerank-ignored`.",
    ),
    "RerankBody": opened(
        {"query": _QUERY, "documents": _documents("The texts. An object has its text in `text`.")},
        {name: _OPTIONS[name] for name in _OPTIONS if name not in {"return_text", "truncation_direction"}},
        "A request as Cohere, Jina, Voyage, vLLM, llama.cpp and infinity take it. Parameters without an "
        "effect are named in `x-rerank-ignored`. Null is the same as no value, and booleans and numbers may "
        "be strings.",
    ),
    "ScoreBody": with_one_of(
        NAMES,
        {
            **{first: _documents("One query for all texts, or one for each.") for first, _ in NAMES},
            **{second: _documents("The texts.") for _, second in NAMES},
        },
        {name: _OPTIONS[name] for name in ("model", "raw_scores", "use_activation", "truncate")},
        "Pairs of texts as vLLM takes them: `text_1` with `text_2`, `queries` with `documents` or `items`, "
        "or `data_1` with `data_2`.",
    ),
    "NvidiaBody": opened(
        {"query": _QUERY, "passages": _documents("The texts, each an object with `text`.")},
        {name: _OPTIONS[name] for name in ("model", "top_n", "truncate")},
        "A request as NVIDIA's service takes it. Parameters without an effect are named in "
        "`x-rerank-ignored`.",
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
    "NvidiaScores": closed(
        {
            "rankings": listed(closed({**_ONE, "logit": number("The logit of the model.")}), "Best first."),
            "usage": ref("Usage"),
        }
    ),
    "InfinityScores": closed(
        {
            "id": text("The id of the answer."),
            "object": text(enum=["rerank"]),
            "created": whole("When it was made, in seconds since 1970."),
            "model": text("The model that answers."),
            "usage": ref("Usage"),
            "results": listed(
                closed({**_ONE, "relevance_score": _RELEVANCE}, {"document": text("The text.")}),
                "The texts, best first.",
            ),
        },
        description="An answer as infinity's clients read it.",
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
