"""Elasticsearch's own paths on the page: searches, points in time, and whether an index exists."""

from __future__ import annotations

import json
from typing import Any

from .collection import IN_TEXT, IN_TITLE, QUESTION, answered, block, hit, titled, told
from .errors import OF_SEARCHES, OF_SEVERAL
from .headers import OF_ELASTICSEARCH
from .parts import (
    NDJSON,
    Example,
    Mistake,
    Operation,
    Schema,
    closed,
    flag,
    listed,
    nullable,
    number,
    opened,
    ref,
    text,
    whole,
)

_TAG = "Elasticsearch"
_PLAIN = {"query": {"match": {"text": QUESTION}}, "_source": ["title"], "size": 1}
_FOUND = answered(4, [titled("1", 1.106406)])
PIT_ID = "46ToAwMDaWR5BXV1aWQyKwZub2RlXzMAAAAAAAAAACoBYwADaWR4BXV1aWQxAgZub2RlXzEAAAAAAAAAAAEBYQ=="
_OPENED = "The id in the example stands for one that `POST /{index}/_pit` has just given."
_FUSED = {"retriever": {"rrf": {"retrievers": [IN_TEXT, IN_TITLE]}}, "_source": ["title"], "size": 2}
_STAGES = {"total": 21.4, "point_in_time": 2.9, "first_stage": 10.2, "page": 3.3}

_RERANKED = Example(
    "Rerank the hits of a text search",
    answered(
        31,
        [
            titled("1", 0.8742996, fields=told(1.106406, 1, 3.8515978, 0.8742996)),
            titled("3", 0.8143543, fields=told(1.0486953, 2, 3.0211775, 0.8143543)),
            titled("2", 0.008907569, fields=told(0.15146844, 3, -8.130798, 0.008907569)),
        ],
        rerank=block(
            "reranked",
            50,
            3,
            {"total": 30.6, "mapping": 3.2, "first_stage": 7.0, "cut": 1.6, "rerank": 12.1, "page": 4.9},
            (3, 1399, 596),
            model="es-rerank-minilm-l6",
            score="probability",
        ),
    ),
    {
        "retriever": {
            "text_similarity_reranker": {
                "retriever": IN_TEXT,
                "field": ["title", "text"],
                "inference_text": QUESTION,
                "rank_window_size": 50,
            }
        },
        "_source": ["title"],
    },
)

_FUSE = Example(
    "Fuse two searches by reciprocal rank",
    answered(
        21,
        [titled("1", 0.032786883), titled("3", 0.016129032)],
        rerank=block("fused", 10, 0, _STAGES, (4, 1850, 1526)),
    ),
    _FUSED,
)

_FORWARDED = Example("A search that Elasticsearch runs itself", _FOUND, _PLAIN)

_UNKNOWN_KEY = Mistake(
    {"retriever": {"rrf": {"retrievers": [IN_TEXT, IN_TITLE], "rank_widow_size": 10}}},
    "[retriever.rrf] [rrf] unknown field [rank_widow_size] did you mean [rank_window_size]?",
    kind="x_content_parse_exception",
)


def _lines(*values: Any) -> str:  # noqa: ANN401 JSON
    return "".join(json.dumps(value) + "\n" for value in values)


_SEVERAL = Example(
    "A plain search and a fusion",
    {
        "took": 27,
        "responses": [
            {**answered(3, [hit("1", 1.106406)]), "status": 200},
            {
                **answered(
                    26, [hit("1", 0.032786883)], rerank=block("fused", 10, 0, _STAGES, (4, 1707, 1455))
                ),
                "status": 200,
            },
        ],
    },
    _lines(
        {"index": "articles"},
        {**_PLAIN, "_source": False},
        {"index": "articles"},
        {**_FUSED, "_source": False, "size": 1},
    ),
)
_BODY_OF_SEVERAL = text(
    "Lines of JSON, a header and a body for each search. The last line ends with a newline."
)
_NO_NEWLINE = Mistake(
    '{}\n{"retriever": {"rrf": {}}}', "The msearch request must be terminated by a newline [\\n]"
)

_HIT = opened(
    {"_index": text("The index of the document."), "_id": text("The id of the document.")},
    {
        "_score": nullable(number("The score. Of a reranked search: 0..1.")),
        "_source": {"type": "object", "description": "The document, as far as it is asked for."},
        "fields": {
            "type": "object",
            "description": "Fields that are asked for. Of a reranked search also `rerank.first_stage_score`, "
            "`rerank.first_stage_rank`, `rerank.logit`, `rerank.probability` and `rerank.passage`, the best "
            "passage. Each value is a list.",
        },
    },
    "A document that was found.",
)

_BLOCK = closed(
    {
        "status": text(
            "`reranked`: all candidates have scores. `partial`: some scores or shards are missing. "
            "`first_stage`: the order is that of the first stage. `fused`: the tree has no reranker.",
            enum=["reranked", "partial", "first_stage", "fused"],
        ),
        "milliseconds": {
            "type": "object",
            "description": "The time of each stage.",
            "additionalProperties": number(),
        },
    },
    {
        "model": text("The reranker. Several are separated by commas."),
        "score": text(
            "`probability`: the score is that of the model. `blend`: the first stage has a part in it.",
            enum=["probability", "blend"],
        ),
        "blend": text(
            "With `score` `blend`: the kind of the first stage whose scores have a part, `dense`, `bm25` or "
            "`hybrid`, or kind and embedder. Several are separated by commas."
        ),
        "order": text(
            "There if a reranker left the order of its first stage alone, because it agrees with it too "
            "little. The hits have their logits and probabilities all the same.",
            enum=["first_stage"],
        ),
        "inside": flag("Whether the search ran inside Elasticsearch, by its plugin."),
        "reason": text("Why scores or shards are missing."),
        "warnings": listed(text(), "What a caller should know about the scores."),
        "window": whole("How many documents the tree can return."),
        "candidates": whole("How many documents were given to rerankers."),
        "truncated": whole("How many passages were cut to what the model can read."),
        "cached": whole("How many scores came from the cache."),
        "capped": whole("Of how many documents not all passages were read."),
        "estimated": whole(
            "How many candidates only the small model of a cascade has scored. They come last."
        ),
        "without_text": whole("How many candidates had no text."),
        "requests": whole("How many requests were sent to Elasticsearch."),
        "bytes": whole("The bytes of JSON that Elasticsearch sent."),
        "bytes_sent": whole("The bytes of JSON that were sent to Elasticsearch."),
    },
    "What es-rerank did. It is missing in an answer of Elasticsearch itself.",
)

_SEARCHED = opened(
    {},
    {
        "took": whole("Milliseconds."),
        "timed_out": flag("Whether some shards ran out of time."),
        "_shards": {"type": "object", "description": "How many shards were searched and failed."},
        "hits": opened(
            {},
            {
                "hits": listed(ref("Hit"), "The hits, best first."),
                "total": {"description": "How many documents match.", "type": ["object", "integer"]},
                "max_score": nullable(number("The best score.")),
            },
            "What was found.",
        ),
        "rerank": ref("RerankBlock"),
        "pit_id": text("The id of the point in time that was searched."),
        "aggregations": {"type": "object", "description": "The aggregations that were asked for."},
        "status": whole("Of one search of an `_msearch`: its HTTP status."),
    },
    "The answer to a search, as Elasticsearch writes it. `filter_path` may leave out any part.",
)

SCHEMAS: dict[str, Schema] = {
    "Hit": _HIT,
    "RerankBlock": _BLOCK,
    "SearchAnswer": _SEARCHED,
    "SearchBody": opened(
        {},
        {
            "retriever": {
                "type": "object",
                "description": "A retriever tree: `standard`, `knn`, `rrf`, `linear`, `pinned`, `rescorer`, "
                "`text_similarity_reranker`, nested in any way.",
            },
            "query": {"type": "object", "description": "A query. It has no place beside a retriever."},
            "size": whole("How many hits are returned.", minimum=0),
            "from": whole("How many hits are left out at the beginning.", minimum=0),
            "_source": {"description": "Which fields of the documents are returned."},
            "aggs": {"type": "object", "description": "Aggregations over what matches."},
            "pit": {"type": "object", "description": "The point in time that is searched."},
        },
        "The body of a search, as Elasticsearch documents it. All its other parameters are allowed too.",
    ),
    "SeveralAnswers": opened(
        {},
        {
            "took": whole("Milliseconds."),
            "responses": listed(
                {"anyOf": [ref("SearchAnswer"), ref("ElasticsearchError")]},
                "The answers in the order of the searches. A search that failed has its error here.",
            ),
        },
        "The answers to several searches.",
    ),
    "PointInTime": opened({"id": text("The id for `pit` in the body of a search.")}),
    "Freed": opened(
        {"succeeded": flag("Whether it was closed."), "num_freed": whole("How many shards it held.")}
    ),
    "Cluster": opened(
        {},
        {
            "name": text("The name of the node."),
            "cluster_name": text("The name of the cluster."),
            "version": {"type": "object", "description": "The version of Elasticsearch."},
            "tagline": text("Elasticsearch's motto."),
        },
        "What Elasticsearch says of itself.",
    ),
}

_WHO = (
    "`Authorization` and all other headers by which Elasticsearch may decide go to it unchanged, so that its "
    "security decides who sees what."
)
_GET = "GET does the same with the body of a GET request."
_RUN = (
    "es-rerank runs a search whose retriever tree Elasticsearch cannot run under its licence, and answers in "
    "Elasticsearch's form. Every other search goes to Elasticsearch, and its answer comes back byte for byte."
)


def _search(name: str, summary: str, where: str, *, several: bool = False, **more: Any) -> Operation:  # noqa: ANN401 fields of Operation
    return Operation(
        name,
        _TAG,
        summary,
        f"{where} {_RUN}\n\n{_WHO} {_GET}",
        headers=("Warning", "Server-Timing"),
        errors=OF_SEVERAL if several else OF_SEARCHES,
        security=OF_ELASTICSEARCH,
        forwarded=True,
        **more,
    )


_INDICES = ("index", "search", "always", "deadline")
_NO_INDEX = ("search", "always", "deadline")

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/{index}/_search", "post"): _search(
        "searchIndex",
        "Search one or several indices",
        "Searches the indices of the path.",
        answer=ref("SearchAnswer"),
        body=ref("SearchBody"),
        examples=(_RERANKED, _FUSE, _FORWARDED),
        mistakes=(_UNKNOWN_KEY,),
        parameters=_INDICES,
    ),
    ("/_search", "post"): _search(
        "search",
        "Search all indices, or a point in time",
        "The path names no index: a search goes to the indices of its point in time, or to all indices. "
        + _OPENED,
        answer=ref("SearchAnswer"),
        body=ref("SearchBody"),
        examples=(
            Example(
                "Search in a point in time",
                {**_FOUND, "pit_id": PIT_ID},
                {**_PLAIN, "pit": {"id": PIT_ID, "keep_alive": "1m"}},
            ),
        ),
        mistakes=(_UNKNOWN_KEY,),
        parameters=_NO_INDEX,
    ),
    ("/{index}/_msearch", "post"): _search(
        "searchIndexSeveralTimes",
        "Run several searches over the same indices",
        "Each search has two lines: a header, which may be empty (`{}`), and a body.",
        answer=ref("SeveralAnswers"),
        body=_BODY_OF_SEVERAL,
        several=True,
        body_type=NDJSON,
        examples=(
            _SEVERAL._replace(
                body=_lines({}, {**_PLAIN, "_source": False}, {}, {**_FUSED, "_source": False, "size": 1})
            ),
        ),
        mistakes=(_NO_NEWLINE,),
        parameters=("index", "msearch", "always", "deadline"),
    ),
    ("/_msearch", "post"): _search(
        "searchSeveralTimes",
        "Run several searches, each over indices of its own",
        "Each search has two lines: a header, which names its indices, and a body.",
        answer=ref("SeveralAnswers"),
        body=_BODY_OF_SEVERAL,
        several=True,
        body_type=NDJSON,
        examples=(_SEVERAL,),
        mistakes=(_NO_NEWLINE,),
        parameters=("msearch", "always", "deadline"),
    ),
    ("/{index}/_pit", "post"): Operation(
        "openPointInTime",
        _TAG,
        "Open a point in time",
        f"Elasticsearch opens it: searches with its id see the indices as they are now. {_WHO}",
        ref("PointInTime"),
        (
            Example(
                "Open one for a minute",
                {"id": PIT_ID, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}},
            ),
        ),
        parameters=("index", "keep alive", "always", "deadline"),
        errors=("unreachable", "late"),
        security=OF_ELASTICSEARCH,
        forwarded=True,
    ),
    ("/_pit", "delete"): Operation(
        "closePointInTime",
        _TAG,
        "Close a point in time",
        f"Elasticsearch closes it, and frees what it held. {_OPENED} {_WHO}",
        ref("Freed"),
        (Example("Close it by its id", {"succeeded": True, "num_freed": 1}, {"id": PIT_ID}),),
        body=closed({"id": text("The id of the point in time.")}),
        parameters=("always", "deadline"),
        errors=("too large", "unreachable", "late"),
        security=OF_ELASTICSEARCH,
        forwarded=True,
    ),
    ("/", "get"): Operation(
        "aboutElasticsearch",
        _TAG,
        "Say which Elasticsearch this is",
        f"Elasticsearch's own answer. Clients ask for it as `info()`. {_WHO}",
        ref("Cluster"),
        (
            Example(
                "Name and version",
                {
                    "name": "node-1",
                    "cluster_name": "docs",
                    "cluster_uuid": "bQLu-a8GRy-EqWozuqTP4w",
                    "version": {"number": "9.5.0", "build_flavor": "default"},
                    "tagline": "You Know, for Search",
                },
            ),
        ),
        parameters=("always", "deadline"),
        errors=("unreachable", "late"),
        security=OF_ELASTICSEARCH,
        forwarded=True,
    ),
    ("/", "head"): Operation(
        "pingElasticsearch",
        _TAG,
        "Ask whether Elasticsearch is there",
        f"Elasticsearch's own answer. Clients ask for it as `ping()`. {_WHO}",
        None,
        parameters=("always", "deadline"),
        errors=("unreachable", "late"),
        security=OF_ELASTICSEARCH,
        forwarded=True,
    ),
    ("/{index}", "head"): Operation(
        "indexExists",
        _TAG,
        "Ask whether an index exists",
        f"Elasticsearch's own answer: 200 if the index exists, else 404. {_WHO}",
        None,
        parameters=("index", "always", "deadline"),
        errors=("unreachable", "late"),
        security=OF_ELASTICSEARCH,
        forwarded=True,
    ),
}
