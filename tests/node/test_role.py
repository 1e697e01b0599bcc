"""The role that ``es-rerank role`` prints is enough for every kind of request of ours, and the least."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from _pytest.outcomes import Failed
from beside import gateway
from commands import run
from corpus import ARTICLES, EMBEDDER, MAPPINGS, fill
from elasticsearch import ApiError, Elasticsearch, ElasticsearchWarning
from ingests import MOON, TREATY, an_ingest, write
from mcp_servers import connected, fault_of, found_by
from own_nodes import OwnNode, secured_node
from scripted_sidecar import scripted
from server import reserved_port
from waiting import until

from es_rerank.cli.role import INGEST, PLUGIN, SEARCH, role_body
from es_rerank.errors import IngestError
from es_rerank.mcp_server.tools import Choices
from ingest_pipelines import IngestReport, read_sources
from ingest_pipelines.lifecycle.catalog import catalog
from ingest_pipelines.lifecycle.cleaning import removable, remove

pytestmark = pytest.mark.node

PASSWORD = "a-password-of-tests"
ALIAS, VERSION, OTHER, APART = "articles", "articles-000001", "articles-secret", "apart"
QUESTION = "who signed the treaty"
MATCH = {"standard": {"query": {"match": {"text": QUESTION}}}}


def printed(*arguments: str) -> dict[str, Any]:
    """Return what ``es-rerank role --json`` prints."""
    done = run("role", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


SEARCHING, INGESTING = [*PLUGIN, *SEARCH], list(INGEST)


def roles_to_try() -> dict[str, dict[str, Any]]:
    """Return the printed roles by name, and each of them without one of its privileges."""
    roles = {
        "search": printed(ALIAS, APART, "--plugin")["role"],
        "ingest": printed("ingest", "--ingest")["role"],
    }
    assert roles["search"] == role_body([ALIAS, APART], plugin=True)
    for kind, privileges in (("search", SEARCHING), ("ingest", INGESTING)):
        for left_out in privileges:
            name = without(kind, left_out)
            body = role_body([name], ingest=True) if kind == "ingest" else deepcopy(roles["search"])
            (indices,) = body["indices"]
            assert left_out in body["cluster"] + indices["privileges"]
            body["cluster"] = [each for each in body["cluster"] if each != left_out]
            indices["privileges"] = [each for each in indices["privileges"] if each != left_out]
            roles[name] = body
    return roles


def without(kind: str, privilege: str) -> str:
    """Return the name of a role without a privilege; an ingest writes into an index of this name."""
    return f"{kind}-without-{re.sub('[^a-z]', '-', privilege)}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnNode]:
    """A node with security and the plugin, an index behind an alias, one beside it, one with texts apart."""
    with reserved_port() as port, scripted(port):
        settings = {"es_rerank.url": f"http://127.0.0.1:{port}"}
        state = tmp_path_factory.mktemp("secured-role") / "state"
        roles = roles_to_try()
        written = "".join(f"{json.dumps({name: body})[1:-1]}\n" for name, body in roles.items())
        users = {name: name for name in roles}
        with secured_node(state, written, users, PASSWORD, settings, plugin=True) as node:
            node.start(heap_mb=512)
            with root(node) as es:
                fill(es, VERSION)
                fill(es, OTHER)
                es.indices.put_alias(index=VERSION, name=ALIAS)
                properties = MAPPINGS["properties"] | {"text": {"type": "text", "store": True}}
                mappings = {"_source": {"excludes": ["text"]}, "properties": properties}
                es.indices.create(index=APART, mappings=mappings, settings={"number_of_replicas": 0})
                for number, (title, text, _) in enumerate(ARTICLES):
                    es.index(index=APART, id=str(number), document={"title": title, "text": text})
                es.indices.refresh(index=APART)
                asked = es.options(ignore_status=404)
                until(
                    lambda: asked.perform_request("GET", "/_es_rerank").body["sidecar"]["status"] == "ok",
                    "the plugin reaches its sidecar",
                )
            yield node


def root(node: OwnNode) -> Elasticsearch:
    return Elasticsearch(node.url, basic_auth=("elastic", PASSWORD), request_timeout=60)


def header(name: str) -> str:
    """Return the credentials of the user who has the role of this name alone."""
    return httpx.BasicAuth(name, PASSWORD)._auth_header  # noqa: SLF001 it is shown nowhere else


def reranked(child: dict[str, Any], **more: Any) -> dict[str, Any]:
    wanted = {"retriever": child, "field": "text", "inference_text": QUESTION, **more}
    return {"text_similarity_reranker": wanted}


KNN = {
    "knn": {
        "field": "passages.vector",
        "query_vector_builder": {"text_embedding": {"model_text": QUESTION, "model_id": EMBEDDER.name}},
        "k": 5,
        "num_candidates": 5,
    }
}
INSIDE = {"es_rerank": {"retriever": MATCH, "field": "text", "inference_text": QUESTION}}
SEARCHES: dict[str, dict[str, Any]] = {
    "a reranker": {"retriever": reranked(MATCH)},
    "stored passages": {"retriever": reranked(MATCH, field="passages.text")},
    "fusion with kNN": {"retriever": reranked({"rrf": {"retrievers": [MATCH, KNN]}})},
    "fields of the index": {"retriever": {"rrf": {"query": QUESTION}}},
    "aggregations": {
        "retriever": reranked(MATCH),
        "aggs": {"years": {"terms": {"field": "metadata.year"}}},
        "highlight": {"fields": {"text": {}}},
    },
    "a plain search": {"query": {"match": {"text": QUESTION}}},
    "the plugin": {"retriever": INSIDE},
}


async def faults(caller: httpx.AsyncClient, authorization: str) -> dict[str, str]:
    """Return for each kind of request that is not answered in full what was said instead."""
    headers = {"authorization": authorization}
    found: dict[str, str] = {}

    async def ask(
        kind: str, method: str, path: str, body: Any = None, holds: Any = lambda _: True
    ) -> dict[str, Any]:
        many = isinstance(body, str)
        sent = headers | {"content-type": "application/x-ndjson" if many else "application/json"}
        answer = await caller.request(
            method, path, content=body if many or body is None else json.dumps(body), headers=sent
        )
        said: dict[str, Any] = answer.json() if answer.content else {}
        if not answer.is_success or not holds(said):
            found.setdefault(kind, f"{answer.status_code}: {answer.text[:500]}")
        return said

    for kind, body in SEARCHES.items():
        await ask(kind, "POST", f"/{ALIAS}/_search", body, lambda said: said["hits"]["hits"])
    await ask(
        "texts apart",
        "POST",
        f"/{APART}/_search",
        SEARCHES["a reranker"],
        lambda said: said["rerank"]["status"] == "reranked",
    )
    lines = "".join(
        f'{{"index": "{ALIAS}"}}\n{json.dumps(SEARCHES[kind])}\n' for kind in ("a reranker", "a plain search")
    )
    await ask(
        "msearch", "POST", "/_msearch", lines, lambda said: all("hits" in each for each in said["responses"])
    )
    pit = (await ask("a point in time", "POST", f"/{ALIAS}/_pit?keep_alive=1m")).get("id")
    held = SEARCHES["a reranker"] | {"pit": {"id": pit, "keep_alive": "1m"}}
    await ask("a point in time", "POST", "/_search", held, lambda said: said["hits"]["hits"])
    await ask("a point in time", "DELETE", "/_pit", {"id": pit})
    await ask("whether an index exists", "HEAD", f"/{ALIAS}")
    return found


@asynccontextmanager
async def caller_of(node: OwnNode) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(node.url) as caller:
        caller.timeout = 60
        yield caller


@pytest.mark.long
async def test_the_role_for_searching_is_enough_and_the_least(secured: OwnNode) -> None:
    async with caller_of(secured) as caller:
        assert (await caller.get("/readyz")).is_success, "the sidecar has no credentials"
        assert await faults(caller, header("search")) == {}
        closed = await caller.post(
            f"/{OTHER}/_search", json=SEARCHES["a reranker"], headers={"authorization": header("search")}
        )
        assert closed.status_code == 403
        for privilege in SEARCHING:
            less = header(without("search", privilege))
            assert await faults(caller, less), f"{privilege} is not needed"


@pytest.mark.long
async def test_the_role_for_searching_is_enough_for_the_tools_of_mcp(secured: OwnNode) -> None:
    """An index that Elasticsearch does not show to the server's credentials stays closed."""
    whose = secured.url.replace("://", f"://search:{PASSWORD}@")
    async with connected(whose, Choices((ALIAS, OTHER)), embedder=EMBEDDER) as client:
        found = await found_by(client, "search", query=QUESTION, index=ALIAS)
        asked = await found_by(client, "ask", question=QUESTION, index=ALIAS)
        refused = fault_of(await client.call_tool("search", {"query": QUESTION, "index": OTHER}))
    assert found["hits"]
    assert found["status"] == asked["status"] == "reranked"
    assert asked["passages"]
    assert refused.startswith(f"the mapping of [{OTHER}] may not be read")


@pytest.mark.long
def test_elasticsearch_reads_the_printed_requests(secured: OwnNode) -> None:
    """This distribution may lack the analysis that the index of keys needs; that comes after the reading."""
    with httpx.Client(base_url=secured.url, auth=("elastic", PASSWORD), timeout=60) as client:
        for more in ((), ("--ingest",)):
            said = printed(ALIAS, *more)
            for method, path, body in (
                ("PUT", f"/_security/role/{said['name']}", said["role"]),
                ("POST", "/_security/api_key", said["api_key"]),
            ):
                answer = client.request(method, path, json=body)
                assert answer.is_success or "Unknown filter type [pattern_capture]" in answer.text, (
                    answer.text
                )
        said["role"]["indices"][0]["privileges"].append("no-such-privilege")
        wrong = client.put(f"/_security/role/{said['name']}", json=said["role"])
        assert "unknown index privilege" in wrong.text


def ingest_works(node: OwnNode, authorization: str, index: str, folder: Path) -> None:
    """Ingest documents, again, changed, as a new version, and as one that fails. Raises what is refused."""
    with Elasticsearch(node.url, headers={"authorization": authorization}, request_timeout=60) as client:
        ingest = an_ingest(client)

        def run_with(*records: dict[str, Any], rebuild: bool = False, sync: bool = False) -> IngestReport:
            source = write(folder / "documents.jsonl", records)
            documents = read_sources([source])
            return ingest.run(index, documents, rebuild=rebuild, rejects=folder / "rejects", sync=sync)

        assert run_with(TREATY, MOON).documents == 2
        again = run_with(MOON, TREATY | {"text": "Another peace."})
        assert (again.skipped, again.documents) == (1, 1)
        assert run_with(TREATY, MOON, rebuild=True).version.endswith("000002")
        with pytest.raises(IngestError):
            run_with(rebuild=True)
        assert run_with(TREATY, sync=True).removed == 1
        assert ingest.delete(index, ["treaty"]).removed == ["treaty"]
        versions = catalog(client, index)
        assert [(version.documents, version.watched) for version in versions] == [(2, False), (0, False)]
        assert list(remove(client, removable(versions, keep=1), keep=1)) == []
    with root(node) as es:
        assert set(es.indices.get(index=f"{index}-*")) == {f"{index}-000001", f"{index}-000002"}


@pytest.mark.long
def test_the_role_for_ingesting_is_enough_and_the_least(secured: OwnNode, tmp_path: Path) -> None:
    ingest_works(secured, header("ingest"), "ingest", tmp_path)
    for privilege in INGESTING:
        name = without("ingest", privilege)
        with pytest.raises((ApiError, AssertionError, ElasticsearchWarning, IngestError, Failed)):
            ingest_works(secured, header(name), name, tmp_path)
