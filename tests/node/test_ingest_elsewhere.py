"""An ingest and a search whose embedder is a service: another sidecar, or one that refuses some texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from embedding_services import DIMS, TOO_LONG, FakeEmbedder, embedding_app
from ingests import everything
from observed_apps import answering
from pydantic import SecretStr
from rerank_services import KEY, serving_whichever
from scripted_elasticsearch import Script
from server import reserved_port, serving
from starlette.responses import JSONResponse
from tiny_models import tiny_bi_encoder

from es_rerank import RerankClient
from es_rerank.collection import Document
from es_rerank.errors import IndexMismatchError, OverloadError, RemoteModelError, RemoteScoreError
from es_rerank.models import LoadedEmbedder
from es_rerank.models.embedder_spec import parse_embedder
from es_rerank.models.hosted import retrying
from es_rerank.models.hosted.remote_embedder import RemoteEmbedder
from es_rerank.models.load import load_embedder
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service
from es_rerank.testing import WordOverlapReranker
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest

DOCUMENTS = [
    Document("treaty", "Westphalia", "The peace ended thirty years of war. It was signed in Osnabrück.", {}),
    Document(
        "long", "A title that is long " * 4, "Two people walked on the Moon while a third circled. " * 9, {}
    ),
    Document("web", "", "A proposal for linked documents circulated among physicists.", {"year": 1989}),
]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedEmbedder]:
    folder: Path = tiny_bi_encoder(
        tmp_path_factory.mktemp("model"), max_length=48, passage_prefix="passage: "
    )
    with load_embedder(folder) as model:
        yield model


@pytest.fixture
def remote(local: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteEmbedder]:
    """The same model behind a sidecar that serves a reranker too, and that has one more embedder."""
    reranker = WordOverlapReranker()
    service = Service(
        Script(answering).async_client()._client,  # noqa: SLF001 the plain client
        lambda: ({reranker.name: reranker}, {"mine": local}),
        plugin="never",
    )

    def measure(_: str) -> tuple[Any, None]:
        return local.tokenizer, None

    with reserved_port() as port, serving(create_app(service), port) as url:
        spec = parse_embedder(f"remote:{url}")
        with RemoteEmbedder(spec, spec.model, measure=measure) as model:
            yield model


def _ingest(es: Elasticsearch, model: LoadedEmbedder) -> Ingest:
    return Ingest(es, model, chunker=Chunker(model.tokenizer, size=12, overlap=3), initial_backoff_s=0)


def test_an_index_made_through_a_sidecar_is_the_one_made_here(
    es: Elasticsearch, index: str, local: LoadedEmbedder, remote: RemoteEmbedder
) -> None:
    here, there = f"{index}-here", f"{index}-there"
    assert _ingest(es, local).run(here, DOCUMENTS).documents == 3
    assert _ingest(es, remote).run(there, DOCUMENTS).documents == 3
    for document in DOCUMENTS:
        one, two = (_whole(es, name, document.id) for name in (here, there))
        assert one == two
        assert one["passages"][0]["vector"]
    # The same model behind another address is the same: nothing is embedded again, and searches are taken.
    assert _ingest(es, remote).run(here, DOCUMENTS).skipped == 3
    (meta,) = [each["mappings"]["_meta"] for each in es.indices.get_mapping(index=there).values()]
    assert meta["embedder"] == local.name
    assert meta["service"] == {"dialect": "es-rerank", "origin": remote.origin}
    for embedder, name in ((remote, here), (local, there)):
        client = RerankClient(es, reranker=WordOverlapReranker(), embedder=embedder, plugin="never")
        builder = {"text_embedding": {"model_text": "peace", "model_id": local.name}}
        knn = {"field": "passages.vector", "k": 3, "num_candidates": 9, "query_vector_builder": builder}
        answer = client.search(index=name, retriever={"knn": knn})
        assert len(answer["hits"]["hits"]) == 3


def _whole(es: Elasticsearch, index: str, identifier: str) -> dict[str, Any]:
    """Return the source of a document with its vectors, without the time of its run."""
    path = f"/{index}/_doc/{identifier}?_source_exclude_vectors=false"
    source: dict[str, Any] = es.perform_request("GET", path, headers={"accept": "application/json"})[
        "_source"
    ]
    del source["@timestamp"]
    return source


@pytest.fixture
def service() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def elsewhere(
    service: FakeEmbedder, local: LoadedEmbedder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RemoteEmbedder]:
    monkeypatch.setattr(retrying, "_FIRST_WAIT_S", 0.001)
    with serving_whichever() as host:
        host.app = embedding_app(service, "/v1/embeddings")
        spec = parse_embedder(f"remote:{host.url.replace('//', '//u:geheim@')}/v1?model=hash-16&token=geheim")

        def measure(_: str) -> tuple[Any, str]:
            return local.tokenizer, "a-measure"

        service.key = None
        with RemoteEmbedder(spec, spec.model, measure=measure, patience_s=30) as model:
            yield model


@pytest.mark.parametrize("dialect", ["", "tei:", "es-rerank:", "openai:"])
def test_a_sidecar_without_the_named_model_is_refused(remote: RemoteEmbedder, dialect: str) -> None:
    spec = parse_embedder(f"remote:{dialect}{remote.origin}?model=typo")
    with (
        RemoteEmbedder(spec, spec.model, dialect=spec.dialect) as model,
        pytest.raises(RemoteModelError, match=r"not served|not serve typo"),
    ):
        model.embed(["x"])


def test_a_sidecar_named_as_tei_answers_with_the_named_model(remote: RemoteEmbedder) -> None:
    spec = parse_embedder(f"remote:tei:{remote.origin}?model=mine")
    with RemoteEmbedder(spec, spec.model, dialect=spec.dialect) as model:
        assert (model.name, model.dialect) == (remote.name, "es-rerank")


def test_a_refused_text_rejects_its_document_only(
    es: Elasticsearch, index: str, elsewhere: RemoteEmbedder, tmp_path: Path, local: LoadedEmbedder
) -> None:
    bad = Document("bad", "", f"It is {TOO_LONG} for it.", {})
    report = _ingest(es, elsewhere).run(index, [*DOCUMENTS, bad], rejects=tmp_path / "rejects")
    assert (report.documents, report.failed) == (3, 1)
    assert everything(es, index) == {"treaty", "long", "web"}
    assert "the embedder refuses passage 1 of" in (tmp_path / "rejects").read_text()
    mapping = next(iter(es.indices.get_mapping(index=index).values()))["mappings"]["_meta"]
    assert (mapping["embedder"], mapping["dims"]) == ("hash-16", DIMS)
    assert mapping["chunking"] == {"size": 12, "overlap": 3, "tokenizer": "a-measure"}
    assert "geheim" not in str(mapping)
    # Another model is refused, in an ingest and in a search; so are passages of another measure.
    with pytest.raises(IndexMismatchError, match="hash-16"):
        _ingest(es, local).run(index, DOCUMENTS)
    client = RerankClient(es, reranker=WordOverlapReranker(), embedder=local, plugin="never")
    builder = {"text_embedding": {"model_text": "peace", "model_id": local.name}}
    knn = {"field": "passages.vector", "k": 3, "num_candidates": 9, "query_vector_builder": builder}
    with pytest.raises(IndexMismatchError, match=r"holds vectors of \[hash-16\]"):
        client.search(index=index, retriever={"knn": knn})


def test_no_index_is_made_for_a_service_that_does_not_answer(
    es: Elasticsearch, index: str, service: FakeEmbedder, local: LoadedEmbedder
) -> None:
    with serving_whichever() as host:
        host.app = embedding_app(service, "/v1/embeddings")
        spec = parse_embedder("openai:hash-16?dims=8")
        for key in ("wrong", KEY):  # the right one, and the service then makes other dimensions
            with RemoteEmbedder(
                spec,
                host.url,
                dialect="openai",
                model=spec.model,
                api_key=SecretStr(key),
                measure=lambda _: (local.tokenizer, "a-measure"),
            ) as model:
                assert model.dims == 8  # as stated, so nothing is asked yet
                with pytest.raises((RemoteModelError, RemoteScoreError)):
                    _ingest(es, model).run(index, DOCUMENTS)
            assert not es.indices.get(index=f"{index}*")


def test_a_service_that_gives_up_says_how_to_go_on(
    es: Elasticsearch, index: str, elsewhere: RemoteEmbedder, service: FakeEmbedder, tmp_path: Path
) -> None:
    assert elsewhere.dims == DIMS
    service.replies = [JSONResponse({"error": "slow"}, 429, {"retry-after": "3600"})]
    with pytest.raises(OverloadError, match="the same run goes on"):
        _ingest(es, elsewhere).run(index, DOCUMENTS, rejects=tmp_path / "rejects")
    elsewhere._free_at = 0.0  # noqa: SLF001 the hour has passed
    assert _ingest(es, elsewhere).run(index, DOCUMENTS, rejects=tmp_path / "rejects").documents == 3
