"""How Elasticsearch indexes the vectors: chosen by size with the reason, and changed while an index grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import BadRequestError, Elasticsearch
from ingests import chunker, everything

from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError, SettingsError
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, vector_options
from ingest_pipelines.mapping import IndexRecipe, index_body
from ingest_pipelines.vector_growth import takes_oversampling
from ingest_pipelines.vector_options import IndexOptions, named_options, options_by_size


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def documents(first: int, last: int, text: str = "words of") -> list[Document]:
    return [Document(f"d{number}", "", f"{text} {number}", {}) for number in range(first, last)]


def run(
    es: Elasticsearch, index: str, some: list[Document], named: IndexOptions | None = None, **options: Any
) -> None:
    dims = options.pop("dims", 64)
    Ingest(
        es, HashEmbedder(dims), chunker=chunker(), index_options=named, batch_documents=2, initial_backoff_s=0
    ).run(index, some, **options)


def vectors(es: Elasticsearch, index: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the type and the oversampling of the mapping, and what ``_meta`` says."""
    (state,) = es.indices.get_mapping(index=index).values()
    mappings = state["mappings"]
    there = mappings["properties"]["passages"]["properties"]["vector"]["index_options"]
    shown = {key: there[key] for key in ("type", "rescore_vector") if key in there}
    return shown, mappings["_meta"]["vectors"]


def nearest(es: Elasticsearch, index: str) -> set[str]:
    vector = HashEmbedder(64).embed(["words of 1"])[0].tolist()
    knn = {"field": "passages.vector", "query_vector": vector, "k": 50, "num_candidates": 100}
    return {hit["_id"] for hit in es.search(index=index, knn=knn, size=50)["hits"]["hits"]}


def test_an_index_that_grows_gets_the_options_of_its_size(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_options, "FLAT_UNTIL", 4)
    monkeypatch.setattr(vector_options, "INT8_UNTIL", 8)
    run(es, index, documents(0, 4))
    options, recorded = vectors(es, index)
    assert (options, recorded["chosen"]) == ({"type": "flat"}, "auto")
    assert recorded["why"] == "at most 4 passages: every vector is compared, and none is missed"
    run(es, index, [*documents(0, 3, "other words of"), *documents(0, 4)])  # replaced, so there are no more
    assert vectors(es, index)[0] == {"type": "flat"}
    run(es, index, documents(4, 6))
    grown = vectors(es, index)
    assert grown[0]["type"] == grown[1]["index_options"]["type"] == "int8_hnsw"
    assert grown[1]["why"].startswith("more than 4 passages: ")
    run(es, index, documents(6, 12))  # in one run, over the next limit
    options, recorded = vectors(es, index)
    assert options == recorded["index_options"] == {"type": "bbq_hnsw", "rescore_vector": {"oversample": 5.0}}
    assert everything(es, index) == nearest(es, index) == {f"d{number}" for number in range(12)}
    run(es, index, documents(12, 13))
    assert vectors(es, index)[1] == recorded
    run(es, index, documents(0, 9), rebuild=True)  # from flat over both limits in one run
    assert vectors(es, index)[0]["type"] == "bbq_hnsw"
    assert len(nearest(es, index)) == 9


def test_named_options_stay_and_an_index_of_before_is_left_alone(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_options, "FLAT_UNTIL", 2)
    body = index_body(IndexRecipe("hash-64", 64, 8, 2))
    del body["mappings"]["_meta"]["vectors"]
    es.indices.create(index=f"{index}-000001", aliases={index: {}}, **body)
    run(es, index, documents(0, 5))
    (state,) = es.indices.get_mapping(index=index).values()
    before = state["mappings"]
    assert before["properties"]["passages"]["properties"]["vector"]["index_options"]["type"] == "hnsw"
    assert "vectors" not in before["_meta"]
    with pytest.raises(IndexMismatchError, match=r"from hnsw to flat.*--rebuild"):
        run(es, index, documents(0, 5), "flat")
    run(es, index, documents(0, 5), "int8_hnsw")  # nothing is written, and the options change
    options, recorded = vectors(es, index)
    assert (options["type"], recorded["chosen"], recorded["why"]) == (
        "int8_hnsw",
        "given",
        "named by the caller",
    )
    run(es, index, documents(0, 1), "flat", rebuild=True)
    run(es, index, documents(1, 7))
    assert vectors(es, index)[0] == {"type": "flat"}
    assert len(nearest(es, index)) == 7
    run(es, index, documents(0, 5), rebuild=True)
    options, recorded = vectors(es, index)
    assert (options, recorded["chosen"]) == ({"type": "flat"}, "given")
    run(es, index, documents(0, 5), "auto", rebuild=True)
    assert vectors(es, index)[1]["chosen"] == "auto"


@pytest.mark.parametrize("record", [{"chosen": "auto", "index_options": None}, {"index_options": [1]}, 5])
def test_a_record_that_cannot_be_read_is_none(es: Elasticsearch, index: str, record: Any) -> None:
    body = index_body(IndexRecipe("hash-64", 64, 8, 2))
    body["mappings"]["_meta"]["vectors"] = record
    es.indices.create(index=f"{index}-000001", aliases={index: {}}, **body)
    run(es, index, documents(0, 1))
    run(es, index, documents(0, 1), "int8_hnsw")
    assert vectors(es, index)[1]["chosen"] == "given"


def test_an_older_elasticsearch_that_does_not_tell_its_version_gets_what_it_takes(
    es: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_options, "FLAT_UNTIL", 2)
    body = {"error": {"reason": "unknown parameter [rescore_vector] on mapper [vector]"}}
    meta = ApiResponseMeta(400, "1.1", HttpHeaders(), 0.0, es.transport.node_pool.get().config)
    for name in ("create", "put_mapping"):
        real = getattr(type(es.indices), name)

        def older(self: Any, real: Any = real, **sent: Any) -> Any:
            if "rescore_vector" in str({key: value for key, value in sent.items() if key != "meta"}):
                raise BadRequestError("mapper_parsing_exception", meta, body)
            return real(self, **sent)

        monkeypatch.setattr(type(es.indices), name, older)
    run(es, index, documents(0, 3), "int8_hnsw")
    assert vectors(es, index)[0] == vectors(es, index)[1]["index_options"] == {"type": "int8_hnsw"}
    run(es, index, documents(0, 3), "auto", rebuild=True)
    assert vectors(es, index)[0] == vectors(es, index)[1]["index_options"] == {"type": "int8_hnsw"}
    assert vectors(es, index)[1]["chosen"] == "auto"


def test_options_are_those_that_elasticsearch_takes() -> None:
    assert options_by_size(5_000_000, 384).type == "bbq_hnsw"
    assert options_by_size(5_000_000, 63).type == "int8_hnsw"
    assert options_by_size(5_000_000, 384, oversamples=False).index_options == {"type": "int8_hnsw"}
    for name, dims, said in (
        ("bbq_hnsw", 63, "choose int8_hnsw"),
        ("int4_hnsw", 64, "none of the index options"),
        ("auto", 64, "none of the index options"),
        ("hsnw", 64, "none of the index options"),
    ):
        with pytest.raises(SettingsError, match=said):
            named_options(name, dims)

    class Nodes:
        def __init__(self, *versions: str) -> None:
            self.nodes = self
            self.versions = versions

        def info(self, **_: Any) -> ObjectApiResponse[Any]:
            headers = HttpHeaders({"x-elastic-product": "Elasticsearch"})
            meta = ApiResponseMeta(200, "1.1", headers, 0.0, NodeConfig("http", "a", 1))
            body = {"nodes": {version: {"version": version} for version in self.versions}}
            return ObjectApiResponse(body, meta)

    for versions, takes in (
        (("9.5.0",), True),
        (("8.19.3", "9.1.0"), True),
        (("9.0.4",), False),
        (("8.18.0", "9.5.0"), False),
        (("7.17.0",), False),
        (("10.0.0",), True),
        ((), True),
    ):
        assert takes_oversampling(Nodes(*versions)) is takes, versions  # type: ignore[arg-type]
