"""The packages of OpenAI, Cohere and Hugging Face get vectors from a sidecar that is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import httpx
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import reset_sessions
from server import reserved_port, serving
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder

from es_rerank import load_embedder
from es_rerank.cli.serve import build_service
from es_rerank.models import Embedder
from es_rerank.settings import Settings
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.app import create_app

TEXTS = ["the king signed", "it rained"]
KEY = "a key"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    return reseal(tiny_bi_encoder(folder, dims=8, max_length=64, query_prefix="query: "), name="tiny/e5")


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return load_embedder(folder)


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    reranker = tiny_cross_encoder(tmp_path_factory.mktemp("reranker"))
    settings = Settings(
        reranker=str(reranker), embedder=str(folder), log_requests=False, api_key_hashes=(key_hash(KEY),)
    )
    app = create_app(build_service(settings, "http://127.0.0.1:9"))
    with reserved_port() as port, serving(app, port, "/health") as address:
        yield address


@pytest.mark.parametrize("below", ["/v1", ""])
def test_openais_sdk_asks_a_served_sidecar(address: str, embedder: Embedder, below: str) -> None:
    with openai.OpenAI(base_url=f"{address}{below}", api_key=KEY, max_retries=0) as client:
        plain = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)  # as base64
        assert np.allclose([row.embedding for row in plain.data], embedder.embed(TEXTS), atol=1e-7)
        assert plain.model == "tiny/e5"
        queries = client.embeddings.create(
            model="tiny/e5", input=TEXTS[0], encoding_format="float", extra_body={"input_type": "query"}
        )
        wanted = embedder.embed(TEXTS[:1], purpose="query")
        assert np.allclose(queries.data[0].embedding, wanted[0])
        suffixed = client.embeddings.create(model="tiny/e5-query", input=TEXTS[0])
        assert np.allclose(suffixed.data[0].embedding, wanted[0])
        raw = client.embeddings.with_raw_response.create(model="other", input=TEXTS, user="me")
        assert raw.headers["x-rerank-ignored"] == "user"
        assert "[tiny/e5] answered" in raw.headers["warning"]
        with pytest.raises(openai.BadRequestError, match="makes vectors of 8 dimensions") as wrong:
            client.embeddings.create(model="tiny/e5", input=TEXTS, dimensions=256)
        assert wrong.value.param == "dimensions"
        if below:
            assert client.models.retrieve("tiny/e5").id == "tiny/e5"
            assert {each.id for each in client.models.list()} == {"tiny-cross-encoder", "tiny/e5"}
        with pytest.raises(openai.AuthenticationError, match="needs a key") as refused:
            client.with_options(api_key="wrong").embeddings.create(model="tiny/e5", input=TEXTS)
        assert refused.value.code == "invalid_api_key"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_coheres_sdk_asks_a_served_sidecar(address: str, embedder: Embedder) -> None:
    passages, queries = embedder.embed(TEXTS), embedder.embed(TEXTS, purpose="query")
    inputs: Any = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    with httpx.Client() as http:
        second = cohere.ClientV2(api_key=KEY, base_url=address, httpx_client=http)
        made = second.embed(
            texts=TEXTS, model="tiny/e5", input_type="search_query", embedding_types=["float"]
        )
        assert np.allclose(made.embeddings.float_ or [], queries)
        assert made.texts == TEXTS
        made = second.embed(inputs=inputs, model="x", input_type="search_document", embedding_types=["float"])
        assert np.allclose(made.embeddings.float_ or [], passages)
        with pytest.raises(cohere.BadRequestError, match="int8"):
            second.embed(texts=TEXTS, model="x", input_type="search_query", embedding_types=["int8"])
        first = cohere.Client(api_key=KEY, base_url=address, httpx_client=http)
        plain: Any = first.embed(texts=TEXTS, model="tiny/e5", input_type="search_query")
        assert np.allclose(plain.embeddings, queries)
        typed: Any = first.embed(texts=TEXTS, model="tiny/e5", embedding_types=["float"])
        assert np.allclose(typed.embeddings.float_, passages)
        with pytest.raises(cohere.UnauthorizedError):
            cohere.Client(api_key="wrong", base_url=address, httpx_client=http).embed(texts=TEXTS)


@pytest.fixture
def _sessions() -> Iterator[None]:
    """End the sessions that the Hub's package keeps: another test may have made them offline."""
    reset_sessions()
    yield
    reset_sessions()


@pytest.mark.usefixtures("_sessions")
@pytest.mark.parametrize("path", ["", "/embed"])
def test_the_client_of_the_hugging_face_hub_asks_a_served_sidecar(
    address: str, embedder: Embedder, path: str
) -> None:
    """Haystack's and LangChain's embedders for TEI use it; it posts to the address as it is given."""
    client = InferenceClient(f"{address}{path}", token=KEY)
    made: Any = client.feature_extraction(TEXTS, truncate=True, normalize=True)  # type: ignore[arg-type]
    assert np.allclose(made, embedder.embed(TEXTS))
    query = client.feature_extraction(TEXTS[0], prompt_name="query")
    assert np.allclose(query, embedder.embed(TEXTS[:1], purpose="query"))
    with pytest.raises(HfHubHTTPError) as long:
        client.feature_extraction("word " * 100, truncate=False)
    assert long.value.response.status_code == 422
