"""Each example of the OpenAPI page is sent to a sidecar, and answered as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from elasticsearch import Elasticsearch
from openapi_faults import asked, check_error, failing, requests
from openapi_page import Sent, alike, checked, document, example_of, sent
from server import ready_address, serve

from es_rerank.node import Node
from es_rerank.settings import PREFIX
from es_rerank.sidecar.page.collection import ARTICLES
from es_rerank.sidecar.page.errors import OF_SEARCHES

PAGE = document()

INDEX = "openapi-page-articles"


@pytest.fixture(scope="module")
def address(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sidecar as ``es-rerank serve`` starts it, with the bundled models. It keeps no scores, so that an
    example does not depend on those before it.
    """
    log = tmp_path_factory.mktemp("log") / "sidecar.log"
    arguments = ["--port", "0", "--elasticsearch-url", node.url]
    with serve(arguments, log, {PREFIX + "SCORE_CACHE": "0"}) as process:
        yield ready_address(process, log)


@pytest.fixture(scope="module")
def filled(es: Elasticsearch) -> Iterator[str]:
    """The index of the examples."""
    es.options(ignore_status=404).indices.delete(index=INDEX)
    texts = {"title": {"type": "text"}, "text": {"type": "text"}}
    es.indices.create(
        index=INDEX,
        mappings={"properties": texts},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    lines: list[dict[str, Any]] = []
    for name, article in ARTICLES.items():
        lines += [{"index": {"_id": name}}, article]
    assert not es.bulk(index=INDEX, operations=lines, refresh=True)["errors"]
    yield INDEX
    es.indices.delete(index=INDEX)


@pytest.mark.parametrize("example", list(sent(PAGE)), ids=str)
def test_an_example_is_answered_as_the_page_shows_it(
    address: str, filled: str, es: Elasticsearch, example: Sent
) -> None:
    pit = es.open_point_in_time(index=filled, keep_alive="1m")["id"] if "pit" in repr(example[:5]) else None
    with httpx.Client(base_url=address, timeout=60) as client:
        answer = client.request(**example.request(index=filled, pit=pit))
    if pit is not None and example.method != "delete":
        es.close_point_in_time(id=pit)
    status = checked(PAGE, example.operation, answer)
    root = example.path == "/" and example.method != "post"
    if root and es.options(ignore_status=405).perform_request("GET", "/").meta.status == 405:
        assert answer.status_code == 405  # the distribution of Maven has no root page
        return
    assert status == "200", answer.text
    if answer.content == b"":
        return
    shown = example_of(example.operation, "200", example.key)
    if isinstance(shown, str):  # metrics
        assert {line.split()[0] for line in shown.splitlines()} <= {
            line.split()[0] for line in answer.text.splitlines()
        }
        return
    got = answer.json()
    assert list(alike(shown, _named(got))) == []
    _told(example, answer)


def _named(value: Any) -> Any:
    """Return an answer with the name of the index that the examples have."""
    if isinstance(value, list):
        return [_named(part) for part in value]
    if isinstance(value, dict):
        return {key: _named(part) for key, part in value.items()}
    return "articles" if value == INDEX else value


def _told(example: Sent, answer: httpx.Response) -> None:
    """Check headers that the page promises for an answer."""
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    promised = {name.lower() for name in example.operation["responses"]["200"]["headers"]}
    if "server-timing" in promised and "Elasticsearch runs itself" not in example.key:
        assert "total;dur=" in answer.headers.get("server-timing", "total;dur=")
    if "x-rerank-model" in promised:
        assert answer.headers["x-rerank-model"] in ("es-rerank-minilm-l6", "all-MiniLM-L6-v2")
        assert answer.headers["x-rerank-truncated"] == "0"
        assert "x-rerank-ignored" not in answer.headers, "examples have no key without an effect"


@pytest.mark.parametrize("fault", sorted({*OF_SEARCHES} - {"mistake", "not JSON", "unreachable"}))
async def test_an_error_of_a_search_is_as_the_page_shows_it(node: Node, filled: str, fault: str) -> None:
    """The search that reranks is sent to all paths of searches."""
    reranking = next(each for each in sent(PAGE) if each.key == "rerank-the-hits-of-a-text-search")
    tried = [each for each, _ in requests(PAGE, fault, searches=True)]
    assert tried
    async with failing(fault, node.url) as client:
        for example in tried:
            request = example.request(index=filled)
            if example.path.endswith("/_search"):
                request |= {"json": asked(reranking, fault, index=filled)["json"]}
            elif fault == "late":
                continue  # only Elasticsearch is late here
            if example.path == "/_search":
                request |= {"params": {"index": filled}}
            check_error(PAGE, example, "Elasticsearch", fault, await client.request(**request))
