"""An ingest through a proxy that takes little at once, drops connections or loses answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from elasticsearch import ApiError, Elasticsearch
from elasticsearch import ConnectionError as NoConnection
from ingests import an_ingest, chunker, everything, read
from proxies import PAGE, Outcome, Proxy, Rule, closes, first_of_each, proxied, too_large

from es_rerank.collection import Document
from es_rerank.node import Node
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, IngestReport

LIMIT = 20_000


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejects files are written into the working folder."""
    monkeypatch.chdir(tmp_path)


def documents(number: int, size: int = 600) -> Iterator[Document]:
    for place in range(number):
        yield Document(str(place), "", f"text {place} " + "x" * size, {"place": place})


def through(
    proxy: Proxy, index: str, corpus: Iterator[Document], *, batch: int = 100, rebuild: bool = False
) -> IngestReport:
    with Elasticsearch(proxy.url, request_timeout=60, max_retries=0) as client:
        ingest = Ingest(
            client,
            HashEmbedder(16),
            chunker=chunker(),
            batch_documents=batch,
            initial_backoff_s=0,
            max_retries=3,
        )
        return ingest.run(index, corpus, rebuild=rebuild)


# --- a request that is too large


@pytest.mark.parametrize("rule", [too_large(LIMIT), closes(LIMIT)], ids=["413", "closed"])
def test_a_bulk_that_is_too_large_is_sent_in_smaller_ones(
    node: Node, es: Elasticsearch, index: str, rule: Rule
) -> None:
    with proxied(node.url, rule) as proxy:
        report = through(proxy, index, documents(100))
    assert (report.documents, report.failed) == (100, 0)
    assert len(everything(es, index)) == 100
    assert any(size > LIMIT for _, path, size, _ in proxy.seen if path.endswith("_bulk"))


def test_what_a_413_taught_holds_for_the_next_requests(node: Node, es: Elasticsearch, index: str) -> None:
    with proxied(node.url, too_large(100_000)) as proxy:
        report = through(proxy, index, documents(100, 10_000))
    assert (report.documents, report.failed) == (100, 0)
    assert es.count(index=index)["count"] == 100
    outcomes = proxy.outcomes("_bulk")
    refused = [place for place, outcome in enumerate(outcomes) if outcome is not None]
    assert refused
    assert refused == list(range(len(refused)))


def test_after_a_broken_connection_requests_are_small_for_a_while(
    node: Node, es: Elasticsearch, index: str
) -> None:
    with proxied(node.url, closes(100_000)) as proxy:
        report = through(proxy, index, documents(200, 10_000))
    assert (report.documents, report.failed) == (200, 0)
    outcomes = proxy.outcomes("_bulk")
    broken = [place for place, outcome in enumerate(outcomes) if outcome == "close"]
    assert broken[:2] == [0, 1]
    assert len(broken) < len(outcomes) / 4
    assert broken[-1] > 16  # larger requests were tried again


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (too_large(LIMIT), "413: the document needs a request of"),
        (closes(LIMIT), "the connection broke at each request with this document"),
    ],
    ids=["413", "closed"],
)
def test_a_document_that_no_request_can_carry_is_a_reject(
    node: Node, es: Elasticsearch, index: str, rule: Rule, reason: str
) -> None:
    with proxied(node.url, rule) as proxy:
        corpus = iter([*documents(5), Document("long", "", "x" * 2 * LIMIT, {}), *documents(3, 500)])
        report = through(proxy, index, corpus)
    assert (report.documents, report.failed) == (5, 1)
    (reject,) = read(report.rejects)
    assert reject["id"] == "long"
    assert reject["reason"].startswith(reason)
    assert everything(es, index) == {str(place) for place in range(5)}


def test_a_malformed_document_takes_no_other_with_it(node: Node, es: Elasticsearch, index: str) -> None:
    """A bulk request that cannot be parsed is refused whole: 400. Here each of many documents is."""

    def rule(method: str, path: str, size: int) -> Outcome:
        return (400, b"cannot be parsed") if path.endswith("_bulk") and size > 4_000 else None

    with proxied(node.url, rule) as proxy:
        report = through(proxy, index, documents(20))
    assert (report.documents, report.failed) == (20, 0)


def test_a_look_up_of_many_ids_is_halved(node: Node, es: Elasticsearch, index: str) -> None:
    def rule(method: str, path: str, size: int) -> Outcome:
        return (413, PAGE) if path.endswith("_mget") and size > 500 else None

    with proxied(node.url, rule) as proxy:
        assert through(proxy, index, documents(100)).documents == 100
        assert through(proxy, index, documents(100)).skipped == 100


@pytest.mark.parametrize("all_of_them", [False, True])
def test_what_a_proxy_refuses_for_its_words_takes_no_other_with_it(
    node: Node, index: str, all_of_them: bool
) -> None:
    """A filter lets one document never through, or none, as where a login has ended."""
    corpus = [*documents(29, 0), Document("bad", "", "x" * LIMIT, {})]

    def rule(method: str, path: str, size: int) -> Outcome:
        return (403, PAGE) if path.endswith("_bulk") and (all_of_them or size > LIMIT) else None

    ended = pytest.raises(ApiError) if all_of_them else nullcontext()
    with proxied(node.url, rule) as proxy, ended:
        report = through(proxy, index, iter(corpus))
        assert (report.documents, report.failed) == (29, 1)
        (reject,) = read(report.rejects)
        assert reject["id"] == "bad"
        assert reject["reason"].startswith("403: a proxy before Elasticsearch refuses the document: <html>")


# --- a server that is busy, and a connection that breaks


BAD_MOMENTS: list[Outcome] = [
    (429, b"{}"),
    (500, PAGE),
    (503, PAGE),
    (520, PAGE),
    (200, PAGE),  # a login page
    "close",
    "lose",
]


@pytest.mark.parametrize("outcome", BAD_MOMENTS, ids=["429", "500", "503", "520", "page", "closed", "lost"])
def test_a_bad_moment_of_any_call_is_waited_out(
    node: Node, es: Elasticsearch, index: str, outcome: Outcome
) -> None:
    """Every call of an ingest that makes a new version fails once."""
    an_ingest(es).run(index, [Document("old", "", "x", {})])
    with proxied(node.url, first_of_each(outcome)) as proxy:
        report = through(proxy, index, documents(5), rebuild=True)
    assert (report.documents, report.failed, report.duplicates) == (5, 0, 0)
    version = f"{index}-000002"
    assert report.version == version
    assert set(es.indices.get_alias(name=index)) == {version}
    assert everything(es, index) == set("01234")
    asked = {(method, path) for method, path, _, _ in proxy.seen if method != "HEAD"}
    assert asked >= {
        ("GET", f"/{index}"),
        ("GET", f"/{index}-*"),
        ("PUT", f"/{version}"),
        ("GET", "/_nodes"),
        ("GET", f"/{version}/_mapping"),
        ("PUT", f"/{version}/_mapping"),
        ("POST", f"/{version}/_mget"),
        ("PUT", f"/{version}/_bulk"),
        ("POST", f"/{version}/_refresh"),
        ("POST", "/_aliases"),
    }


@pytest.mark.parametrize("part", ["_mget", "_refresh", "_bulk"])
def test_a_server_that_stays_busy_ends_the_run(node: Node, index: str, part: str) -> None:
    def rule(method: str, path: str, size: int) -> Outcome:
        return (429, b"{}") if part in path else None

    with proxied(node.url, rule) as proxy, pytest.raises(ApiError) as error:
        through(proxy, index, documents(3))
    assert error.value.status_code == 429
    assert proxy.outcomes(part).count((429, b"{}")) == 4


def test_a_server_that_went_away_ends_the_run_and_rejects_nothing(
    node: Node, index: str, tmp_path: Path
) -> None:
    gone = []

    def rule(method: str, path: str, size: int) -> Outcome:
        gone.extend([1] if path.endswith("_bulk") else [])
        return "close" if gone else None

    with proxied(node.url, rule) as proxy, pytest.raises(NoConnection):
        through(proxy, index, documents(20))
    assert list(tmp_path.glob("*.rejects*")) == []


def test_a_new_version_that_is_in_use_is_not_deleted_though_its_switch_seemed_to_fail(
    node: Node, es: Elasticsearch, index: str
) -> None:
    """The alias moves, all answers to it are lost, and so the run ends with an error."""
    an_ingest(es).run(index, [Document("old", "", "x", {})])

    def rule(method: str, path: str, size: int) -> Outcome:
        return "lose" if path.endswith("_aliases") else None

    with proxied(node.url, rule) as proxy, pytest.raises(NoConnection):
        through(proxy, index, documents(3), rebuild=True)
    assert set(es.indices.get_alias(name=index)) == {f"{index}-000002"}
    assert everything(es, index) == {"0", "1", "2"}


def test_a_version_that_another_run_created_is_not_taken_for_ours(
    node: Node, es: Elasticsearch, index: str
) -> None:
    def rule(method: str, path: str, size: int) -> Outcome:
        if method == "PUT" and path.endswith("-000001"):
            es.options(ignore_status=400).indices.create(index=f"{index}-000001")
        return None

    with proxied(node.url, rule) as proxy:
        through(proxy, index, documents(3))
    assert set(es.indices.get_alias(name=index)) == {f"{index}-000002"}
    assert es.count(index=f"{index}-000001")["count"] == 0
