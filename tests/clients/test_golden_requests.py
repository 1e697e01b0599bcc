"""Tools that are no packages to install: their requests, written anew, and what they read of the answer.

The version of a golden request is the commit of the tool's source in which it was read.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NoReturn

import golden_requests as tools
import httpx
import pytest
import pytest_asyncio
from app_client import app_client
from client_table import client
from elasticsearch import AsyncElasticsearch
from golden_requests import BEST, QUERY, TEXTS, Golden

from es_rerank import ModelError, load_reranker
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.sidecar.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a-key-of-the-sidecar"
MORE = [*TEXTS, *(f"Recipe {number}: knead the dough and bake it for an hour." for number in range(38))]
"""More texts than any tool sends at once."""

Sidecars = tuple[httpx.AsyncClient, httpx.AsyncClient]
Ask = Callable[[Golden], Awaitable[dict[int, float]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sidecars() -> AsyncIterator[Sidecars]:
    """Callers of a sidecar that asks for no key, and of one that asks for ``KEY``, with the bundled model."""
    async with AsyncExitStack() as stack:
        open_, keyed = [
            await stack.enter_async_context(
                app_client(
                    Service(
                        AsyncElasticsearch("http://127.0.0.1:9"),
                        lambda: ({"bundled": load_reranker()}, None),
                        api_key_hashes=hashes,
                    )
                )
            )
            for hashes in ((), (key_hash(KEY),))
        ]
        yield open_, keyed


async def answered(caller: httpx.AsyncClient, golden: Golden, texts: list[str], key: str) -> dict[int, float]:
    """Return the score of each text as the tool understands it."""
    most = golden.most or len(texts)
    found: dict[int, float] = {}
    for start in range(0, len(texts), most):
        part = texts[start : start + most]
        answer = await caller.post(**golden.sent(QUERY, part, key))
        assert answer.status_code == 200, answer.text
        found |= {start + place: score for place, score in golden.read(answer.json(), part).items()}
    return found


@pytest.fixture
def ask(sidecars: Sidecars) -> Ask:
    """What tries a golden request without a key, with one that nobody asks for, with the right and with a
    wrong one, and returns the scores of ``TEXTS``.
    """
    open_, keyed = sidecars

    async def tried(golden: Golden) -> dict[int, float]:
        found = await answered(open_, golden, TEXTS, "")
        assert set(found) == set(range(len(TEXTS))), "a text has no score"
        assert golden.logits or all(0 <= score <= 1 for score in found.values())
        assert max(found, key=found.__getitem__) == BEST
        assert await answered(open_, golden, TEXTS, "a-key") == found
        if golden.authorization(KEY):
            assert await answered(keyed, golden, TEXTS, KEY) == found
        refused = await keyed.post(**golden.sent(QUERY, TEXTS, "wrong"))
        assert refused.status_code == 401
        assert "needs a key" in golden.refusal(refused.json())
        if golden.most:
            many = await answered(open_, golden, MORE, "")
            assert set(many) == set(range(len(MORE)))
            assert max(many, key=many.__getitem__) == BEST
        return found

    return tried


@pytest_asyncio.fixture(loop_scope="module")
async def plain(sidecars: Sidecars) -> list[float]:
    """The scores of ``TEXTS`` that TEI's clients get."""
    return await asked_of_tei(sidecars[0])


@pytest_asyncio.fixture(loop_scope="module")
async def logits(sidecars: Sidecars) -> list[float]:
    """The logits of ``TEXTS`` that TEI's clients get."""
    return await asked_of_tei(sidecars[0], raw_scores=True)


async def asked_of_tei(caller: httpx.AsyncClient, *, raw_scores: bool = False) -> list[float]:
    body = {"query": QUERY, "texts": TEXTS, "raw_scores": raw_scores}
    rows = (await caller.post("/rerank", json=body)).json()
    return [score for _, score in sorted((row["index"], row["score"]) for row in rows)]


async def test_weaviate_starts_when_the_models_are_loaded(sidecars: Sidecars) -> None:
    """Weaviate asks both without a key, and starts with an answer of at most 299 only (startup.go 594da1b,
    ranker_meta.go 2d7d85d).
    """
    for caller in sidecars:
        assert (await caller.get("/weaviate/.well-known/ready")).status_code <= 299
        assert isinstance((await caller.get("/weaviate/meta")).json(), dict)
    async with app_client(Service(AsyncElasticsearch("http://127.0.0.1:9"), without_a_model)) as caller:
        answer = await caller.get("/weaviate/.well-known/ready")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert "no such model" in answer.json()["error"]


def without_a_model() -> NoReturn:
    raise ModelError("no such model")


def by_place(found: dict[int, float]) -> list[float]:
    return [found[place] for place in range(len(TEXTS))]


@client("Open WebUI, external reranker", "Jina", "open-webui/open-webui", "0668cb7, ab233f8", golden=True)
async def test_open_webui(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.OPEN_WEBUI)) == plain


@client("Dify, OpenAI-API-compatible", "Jina", "langgenius/dify-official-plugins", "3e1e501", golden=True)
async def test_dify(ask: Ask, plain: list[float]) -> None:
    found = by_place(await ask(tools.DIFY))
    assert found == plain
    # What is below the threshold falls out; the caller still learns that the model answers.
    assert [place for place, score in enumerate(found) if score >= 0.4] == [BEST]


@client("Dify, plugins on its SDK", "Jina", "langgenius/dify-plugin-sdks", "1e544b4", golden=True)
async def test_dify_sdk(ask: Ask, plain: list[float]) -> None:
    found = by_place(await ask(tools.DIFY_SDK))
    assert found == pytest.approx([1 / (1 + math.exp(-score)) for score in plain])


@client("RAGFlow, OpenAI-API-compatible and LocalAI", "Jina", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_openai(ask: Ask, plain: list[float]) -> None:
    found = by_place(await ask(tools.RAGFLOW_OPENAI))
    low, high = min(plain), max(plain)
    assert found == pytest.approx([(score - low) / (high - low) for score in plain])


@client("RAGFlow, vLLM and Cohere", "Cohere v1", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_cohere(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_COHERE)) == plain


@client("RAGFlow, Xinference", "Jina", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_xinference(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_XINFERENCE)) == plain


@client("RAGFlow, SiliconFlow", "Jina", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_siliconflow(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_SILICONFLOW)) == plain


@client("RAGFlow, GPUStack", "Jina", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_gpustack(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_GPUSTACK)) == plain


@client("RAGFlow, Hugging Face", "TEI", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_hugging_face(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_HUGGING_FACE)) == plain


@client("LibreChat, Jina", "Jina", "danny-avila/agents", "4599c23", golden=True)
async def test_librechat(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.LIBRECHAT)) == plain


@client("LightRAG, Jina", "Jina", "HKUDS/LightRAG", "08d65b3", golden=True)
async def test_lightrag_jina(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.LIGHTRAG_JINA)) == plain


@client("LightRAG, Cohere and vLLM", "Cohere v2", "HKUDS/LightRAG", "08d65b3", golden=True)
async def test_lightrag_cohere(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.LIGHTRAG_COHERE)) == plain


@client("Weaviate, reranker-transformers", "Weaviate", "weaviate/weaviate", "1e25081, f90bfd0", golden=True)
async def test_weaviate(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.WEAVIATE)) == plain


@client("clients of LocalAI", "Jina", "mudler/LocalAI", "c7a5606", golden=True)
async def test_clients_of_localai(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.LOCALAI)) == plain


@client("kotaemon, TEI", "TEI", "Cinnamon/kotaemon", "05e1099", golden=True)
async def test_kotaemon(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.KOTAEMON)) == plain


@client("Xinference's client", "Jina", "xorbitsai/inference", "f3d0f19", golden=True)
async def test_xinference(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.XINFERENCE)) == plain


@client("FastGPT", "Jina", "labring/FastGPT", "0352c5d", golden=True)
async def test_fastgpt(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.FASTGPT)) == plain


@client("Milvus, vLLM", "vLLM", "milvus-io/milvus", "25ec72e", golden=True)
async def test_milvus_vllm(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.MILVUS_VLLM)) == plain


@client("Elasticsearch, cohere", "Cohere v2 and v1", "elastic/elasticsearch", "096a7c6, 21c8dd2", golden=True)
async def test_elasticsearch_cohere(ask: Ask, plain: list[float]) -> None:
    for golden in (tools.ELASTICSEARCH_COHERE, tools.ELASTICSEARCH_COHERE_SHORT):
        assert by_place(await ask(golden)) == plain


@client("Elasticsearch, hugging_face", "TEI", "elastic/elasticsearch", "f41bfb9, 4d9ec59", golden=True)
async def test_elasticsearch_hugging_face(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.ELASTICSEARCH_HUGGING_FACE)) == plain


@client("Elasticsearch, jinaai", "Jina", "elastic/elasticsearch", "0ed58fb, 08504a8", golden=True)
async def test_elasticsearch_jina(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.ELASTICSEARCH_JINA)) == plain


@client("Elasticsearch, voyageai", "Voyage", "elastic/elasticsearch", "6eb287f, 4eddd89", golden=True)
async def test_elasticsearch_voyage(ask: Ask, plain: list[float]) -> None:
    for golden in (tools.ELASTICSEARCH_VOYAGE, tools.ELASTICSEARCH_VOYAGE_SHORT):
        assert by_place(await ask(golden)) == plain


@client("RAGFlow, NVIDIA", "NVIDIA", "infiniflow/ragflow", "5b404a9", golden=True)
async def test_ragflow_nvidia(ask: Ask, logits: list[float]) -> None:
    assert by_place(await ask(tools.RAGFLOW_NVIDIA)) == logits


@client("LangChain, NVIDIARerank", "NVIDIA", "langchain-ai/langchain-nvidia", "348af44", golden=True)
async def test_langchain_nvidia(ask: Ask, logits: list[float]) -> None:
    assert by_place(await ask(tools.LANGCHAIN_NVIDIA)) == logits


@client("Elasticsearch, nvidia", "NVIDIA", "elastic/elasticsearch", "04f78d1, 747cf47", golden=True)
async def test_elasticsearch_nvidia(ask: Ask, logits: list[float]) -> None:
    assert by_place(await ask(tools.ELASTICSEARCH_NVIDIA)) == logits


@client("Continue, huggingface-tei", "TEI", "continuedev/continue", "dcf0415", golden=True)
async def test_continue_tei(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.CONTINUE)) == plain


@client(
    "OpenSearch, connector of ml-commons",
    "Cohere v1",
    "opensearch-project/ml-commons",
    "b4a1636",
    golden=True,
)
async def test_opensearch(ask: Ask, plain: list[float]) -> None:
    assert by_place(await ask(tools.OPENSEARCH)) == plain
