"""Calculates what a search with a retriever tree gives. It imports nothing of the product.

Sources: https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers, the README, and for
reciprocal rank fusion Cormack, Clarke and Buettcher, SIGIR 2009. Elasticsearch runs the leaves alone, as
plain searches; texts and field values come from the documents' ``_source``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from independent_models import PairModel, TextModel, probability
from independent_texts import aggregated, as_list, stored_field, texts

Body = dict[str, Any]
Key = tuple[str, str]
"""Index and id of a document."""

_ALL = 10_000
"""More documents than the indices of a test have."""

_RANK_CONSTANT = 60
_NONE = 1e-6
"""A spread or a norm below this counts as zero; observed on Elasticsearch 9.5."""


@dataclass(frozen=True)
class Entry:
    """A document in a ranked list. ``said`` is what the nearest reranker says of it, by field name."""

    key: Key
    score: np.float32
    said: Body = field(default_factory=dict)


@dataclass
class Documents:
    """All documents of the searched indices, in the order of shard and document."""

    sources: dict[Key, Body]
    places: dict[Key, int]

    @classmethod
    def read(cls, node: httpx.Client, index: str) -> Documents:
        point = node.post(f"/{index}/_pit", params={"keep_alive": "1m"}).json()["id"]
        body = {
            "pit": {"id": point},
            "size": _ALL,
            "sort": ["_shard_doc"],
            "_source": {"exclude_vectors": False},
        }
        hits = node.post("/_search", json=body).json()["hits"]["hits"]
        node.request("DELETE", "/_pit", json={"id": point})
        return cls(
            {(hit["_index"], hit["_id"]): hit["_source"] for hit in hits},
            {(hit["_index"], hit["_id"]): hit["sort"][0] for hit in hits},
        )


@dataclass
class Tree:
    """Runs one retriever tree; afterwards ``matched`` are the documents that its leaves match."""

    node: httpx.Client
    index: str
    documents: Documents
    pairs: PairModel
    texts: TextModel
    rank_constant: int = _RANK_CONSTANT
    outside: bool = False
    """Whether to calculate what the README says only of trees that run outside Elasticsearch: equal sums of
    a tree with one leaf keep the order of this leaf."""

    alone: bool = False
    """Whether the tree has one leaf."""

    matched: set[Key] = field(default_factory=set)

    def ranked(self, retriever: Body, window: int = _ALL, filters: Sequence[Body] = ()) -> list[Entry]:
        """Return the best documents of a retriever, as many as the window of the one above takes."""
        ((kind, content),) = retriever.items()
        above = [*filters, *as_list(content.get("filter"))]
        if kind in ("standard", "knn"):
            leaf = _standard if kind == "standard" else self._knn
            found = self._hits(leaf(content, above))
            # A kNN matches what it returned, so at most the window.
            self.matched |= {entry.key for entry in (found if kind == "standard" else found[:window])}
            return found[:window]
        own = content.get("rank_window_size", 10)
        lists = [self.ranked(child, own, above) for child in children(content)]
        if kind == "text_similarity_reranker":
            kept = self._reranked(content, lists[0], self._nearest(content, lists[0], above))[:own]
        else:
            kept = (self._rrf if kind == "rrf" else self._linear)(content, lists)[:own]
        least = content.get("min_score")
        return [entry for entry in kept if least is None or entry.score >= np.float32(least)][:window]

    def ids(self, query: Body) -> set[Key]:
        """Return the documents that a query matches."""
        return {entry.key for entry in self._hits({"query": query})}

    # -- leaves ----------------------------------------------------------------------------------------------

    def _hits(self, body: Body) -> list[Entry]:
        return [Entry((hit["_index"], hit["_id"]), np.float32(hit["_score"])) for hit in self._search(body)]

    def _search(self, body: Body) -> list[Body]:
        request = {"size": _ALL, "_source": False, "track_scores": True, **body}
        answer = self.node.post(f"/{self.index}/_search", json=request)
        assert answer.status_code == 200, answer.text
        hits: list[Body] = answer.json()["hits"]["hits"]
        return hits

    def _knn(self, content: Body, filters: list[Body]) -> Body:
        section: Body = {
            key: content[key] for key in ("field", "k", "num_candidates", "similarity") if key in content
        }
        builder = content.get("query_vector_builder")
        section["query_vector"] = (
            self.texts.vector(builder["text_embedding"]["model_text"]) if builder else content["query_vector"]
        )
        return {"knn": {**section, "filter": filters}}

    # -- fusion ----------------------------------------------------------------------------------------------

    def _rrf(self, content: Body, lists: list[list[Entry]]) -> list[Entry]:
        constant = content.get("rank_constant", self.rank_constant)
        shares = [
            [
                np.float32(weight) * (np.float32(1) / np.float32(constant + rank))
                for rank in range(1, len(ranked) + 1)
            ]
            for ranked, weight in zip(lists, _each(content, "weight", 1), strict=True)
        ]
        return self._summed(lists, shares)

    def _linear(self, content: Body, lists: list[list[Entry]]) -> list[Entry]:
        normalizers = _each(content, "normalizer", content.get("normalizer", "none"))
        shares = [
            [
                np.float32(weight) * score
                for score in _normalised([entry.score for entry in ranked], normalizer)
            ]
            for ranked, weight, normalizer in zip(
                lists, _each(content, "weight", 1), normalizers, strict=True
            )
        ]
        return self._summed(lists, shares)

    def _summed(self, lists: list[list[Entry]], shares: list[list[np.float32]]) -> list[Entry]:
        """Add the shares of each document. Equal sums are in the order of shard and document."""
        sums: dict[Key, Entry] = {}
        for ranked, values in zip(lists, shares, strict=True):
            for entry, value in zip(ranked, values, strict=True):
                before = sums.get(entry.key, Entry(entry.key, np.float32(0)))
                sums[entry.key] = Entry(
                    entry.key, np.float32(before.score + value), before.said or entry.said
                )
        places = {} if self.outside and self.alone else self.documents.places
        return sorted(sums.values(), key=lambda entry: (-entry.score, places.get(entry.key, 0)))

    # -- reranking -------------------------------------------------------------------------------------------

    def _reranked(self, content: Body, window: list[Entry], nearest: dict[Key, list[int]]) -> list[Entry]:
        scored = []
        for rank, entry in enumerate(window, 1):
            read = texts(self.documents.sources[entry.key], content, nearest.get(entry.key))
            logits = [self.pairs.logit(content["inference_text"], text.read) for text in read]
            logit = aggregated(logits, content.get("aggregation", "max"))
            shown = read[int(np.argmax(logits))].shown
            said: Body = {
                **({} if shown is None else {"rerank.passage": {"text": shown}}),
                "rerank.logit": logit,
                "rerank.probability": probability(logit),
                "rerank.first_stage_rank": rank,
            }
            if "sort" not in content["retriever"].get("standard", {}):  # a sorted search has no scores
                said["rerank.first_stage_score"] = float(entry.score)
            scored.append(Entry(entry.key, np.float32(probability(logit)), said))
        # The sort is stable: equal logits keep the order of the first stage.
        return sorted(scored, key=lambda entry: -entry.said["rerank.logit"])

    def _nearest(self, content: Body, window: list[Entry], filters: list[Body]) -> dict[Key, list[int]]:
        """Ask Elasticsearch which stored passages are the nearest, if only some are read.

        Right above a kNN over their vectors they are those with the nearest vectors, else those that match
        the query best by BM25.
        """
        stored = stored_field(as_list(content["field"]))
        if stored is None or "chunk_rescorer" not in content:
            return {}
        path = stored.split(".")[0]
        inner_hits = {"size": content["chunk_rescorer"].get("size", 1), "_source": False}
        leaf = content["retriever"].get("knn", {})
        if leaf.get("field", "").startswith(f"{path}."):
            body = self._knn(leaf, [*filters, *as_list(leaf.get("filter"))])
            body["knn"]["inner_hits"] = inner_hits
        else:
            match = {"match": {stored: content["inference_text"]}}
            query = {"bool": {"must": [{"match_all": {"boost": 0}}], "should": [match]}}
            nested = {"path": path, "query": query, "inner_hits": inner_hits}
            ids = {"ids": {"values": [name for _, name in (entry.key for entry in window)]}}
            body = {"query": {"bool": {"filter": [ids], "must": [{"nested": nested}]}}}
        return {
            (hit["_index"], hit["_id"]): [
                passage["_nested"]["offset"] for passage in hit["inner_hits"][path]["hits"]["hits"]
            ]
            for hit in self._search(body)
        }


def children(content: Body) -> list[Body]:
    """Return the retrievers below a compound, without their wrapping."""
    entries = [content["retriever"]] if "retriever" in content else _entries(content)
    return [entry.get("retriever", entry) for entry in entries]


def _entries(content: Body) -> list[Body]:
    """Return the children of a fusion as they are written.

    The multi-field format over lexical fields is one query over all of them.
    """
    if "query" not in content:
        return list(content["retrievers"])
    query = {"query": content["query"], "fields": content["fields"], "type": "most_fields"}
    return [{"standard": {"query": {"multi_match": query}}}]


def leaves(retriever: Body) -> int:
    """Return how many leaves a tree has."""
    ((kind, content),) = retriever.items()
    return 1 if kind in ("standard", "knn") else sum(map(leaves, children(content)))


def _standard(content: Body, filters: list[Body]) -> Body:
    body = {"query": {"bool": {"must": [content["query"]], "filter": filters}}}
    return body | {key: content[key] for key in ("min_score", "sort") if key in content}


def _each(content: Body, name: str, default: Any) -> list[Any]:
    """Return a parameter of each child of a fusion."""
    return [entry.get(name, default) for entry in _entries(content)]


def _normalised(scores: list[np.float32], normalizer: str) -> list[np.float32]:
    if normalizer == "none" or not scores:
        return scores
    values = np.asarray(scores, dtype=np.float64)
    if normalizer == "minmax":
        low, high = values.min(), values.max()
        scaled = np.ones_like(values) if high - low < _NONE else (values - low) / (high - low)
    else:
        norm = float(np.linalg.norm(values))
        scaled = values if norm < _NONE else values / norm
    return [np.float32(value) for value in scaled]
