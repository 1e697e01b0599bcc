"""A sidecar of ours, asked by a ``remote:`` reranker in each format that it speaks: the same scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from observed_apps import answering, observed
from pydantic import SecretStr
from rerank_dialects import serve
from rerank_services import KEY, FakeService, Host
from scripted_elasticsearch import Script
from server import reserved_port, serving

from es_rerank.dialects.asking import SERVICES
from es_rerank.errors import SettingsError
from es_rerank.models import LoadedReranker
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.load import load_reranker
from es_rerank.scores import logistic, pair_log_odds
from es_rerank.sidecar.app import create_app
from es_rerank.sidecar.service import Service

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty", "tides"]
LONG = [*PASSAGES, "tides " * 900]
"""Only TEI's format gives a sidecar's scores of a text that is longer than the model reads: it is cut."""


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedReranker]:
    """The bundled cross-encoder, which is calibrated."""
    with load_reranker() as model:
        yield model


@pytest.fixture(scope="module")
def address(model: LoadedReranker) -> Iterator[str]:
    service = Service(
        Script(answering).async_client()._client,  # noqa: SLF001 the plain client
        lambda: ({model.name: model}, None),
        plugin="never",
    )
    with reserved_port() as port, serving(create_app(service), port) as url:
        yield url


def _probabilities(model: LoadedReranker, logits: np.ndarray) -> np.ndarray:
    return logistic(pair_log_odds(logits, model.calibration))


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("tei", ""),
        ("vllm", ""),
        ("infinity", ""),
        ("infinity", "/infinity"),
        ("score", ""),
        ("score", "/v1/score"),
        ("nvidia", ""),
        (None, ""),
        (None, "/v1"),
        (None, "/v1/rerank"),
    ],
)
def test_logits_are_those_of_the_model(
    address: str, model: LoadedReranker, dialect: str | None, path: str
) -> None:
    passages = LONG if dialect in (None, "tei") else PASSAGES
    expected = model.score(QUERY, passages)
    named = f"?model={model.name}" if dialect else ""
    with RemoteReranker(address + path + named, dialect=dialect) as loaded:
        scores = loaded.score(QUERY, passages)
        assert scores.values.tobytes() == expected.values.tobytes()
        assert (scores.scale, loaded.answers) == ("logit", "logit")
        if dialect not in (None, "tei"):
            assert loaded.calibration is None
        else:
            assert loaded.dialect == "tei"
            assert loaded.calibration == model.calibration
            assert scores.truncated.tolist() == expected.truncated.tolist()
            assert scores.truncated.any()


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("results", ""),
        ("results", "/v1/reranking"),
        ("llamacpp", ""),
        ("cohere", ""),
        ("cohere", "/v1"),
        ("jina", ""),
        ("voyage", ""),
        ("weaviate", "/weaviate"),
        ("elasticsearch", "/_inference/rerank/es-rerank-minilm-l6"),
        (None, "/weaviate"),
        (None, "/_inference/rerank/es-rerank-minilm-l6"),
    ],
)
def test_probabilities_are_those_of_the_model(
    address: str, model: LoadedReranker, dialect: str | None, path: str
) -> None:
    expected = model.score(QUERY, PASSAGES)
    with RemoteReranker(f"{address}{path}?model={model.name}", dialect=dialect) as loaded:
        scores = loaded.score(QUERY, PASSAGES)
    assert scores.scale == "probability"
    assert scores.values.tobytes() == _probabilities(model, expected.values).tobytes()


def test_dialects_that_need_a_model_are_those_of_the_readme() -> None:
    needing = {service.name for service in SERVICES if service.needs_model}
    assert needing == {"cohere", "jina", "voyage", "nvidia"}
    for name in needing:
        with pytest.raises(SettingsError, match=r"URL\?model=NAME"):
            RemoteReranker("http://127.0.0.1:9", dialect=name)


async def test_the_status_page_shows_the_dialect_of_a_service(host: Host) -> None:
    served = serve(host, "vllm")
    with RemoteReranker(served.address, api_key=SecretStr(KEY)) as loaded:
        async with observed(reranker=loaded) as (caller, _):
            for dialect, scale in ((None, None), ("vllm", "logit")):
                shown = (await caller.get("/_rerank/status")).json()["models"][0]
                assert (shown["kind"], shown["dialect"], shown["scale"]) == ("RemoteReranker", dialect, scale)
                asked = {"query": QUERY, "texts": PASSAGES[:2]}
                assert (await caller.post("/rerank", json=asked)).status_code == 200


@pytest.fixture
def service() -> FakeService:
    """The record that the fixture ``url`` asks for."""
    return FakeService()
