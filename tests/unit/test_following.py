"""A sidecar of the local node looks for its address again, and not too often."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch

from es_rerank.node import moved_from
from es_rerank.node.record import ProcessRecord, Record, write
from es_rerank.sidecar.service import Service
from es_rerank.sidecar.upstream.following import Following

HERE, THERE = "http://127.0.0.1:1", "http://127.0.0.1:2"


class Place:
    """Where the node is, and how often it was asked."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.asked: list[str] = []
        self.now = 100.0

    def find(self, url: str) -> str | None:
        self.asked.append(url)
        return self.url

    def following(self) -> Following:
        return Following(self.find, AsyncElasticsearch, clock=lambda: self.now)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_looks_are_shared_and_a_second_apart(place: Place) -> None:
    following = place.following()
    found = await asyncio.gather(*(following.moved_from(HERE) for _ in range(20)))
    assert (found, len(place.asked)) == ([None] * 20, 1)
    place.now += 0.5
    assert (await following.moved_from(HERE), len(place.asked)) == (None, 1)
    place.now += 0.6
    place.url = THERE
    assert await following.moved_from(HERE) == THERE
    assert place.asked == [HERE, HERE]


async def test_a_look_that_fails_fails_no_request(place: Place) -> None:
    def fails(_: str) -> str | None:
        raise PermissionError("the folder of the record")

    following = place.following()
    following.find = fails
    assert await following.moved_from(HERE) is None
    following.find = place.find
    place.now, place.url = place.now + 2, THERE
    assert await following.moved_from(HERE) == THERE


async def test_all_clients_move_together(place: Place) -> None:
    service = Service(AsyncElasticsearch(HERE), lambda: ({}, None), following=place.following())
    await service.start()
    before = service.client({}), service.upstream, service.readiness
    await service.follow()
    assert (service.client({}), service.upstream, service.readiness) == before
    place.now, place.url = place.now + 2, THERE
    await asyncio.gather(*(service.follow() for _ in range(10)))
    node = next(iter(service.elasticsearch.transport.node_pool.all()))
    assert node.base_url == THERE
    assert service.upstream.base_url == THERE
    assert service.client({}).transport is service.elasticsearch.transport
    assert service.client({}) is not before[0]
    await service.close()


async def test_an_address_that_was_given_is_never_left() -> None:
    service = Service(AsyncElasticsearch(HERE), lambda: ({}, None))
    before = service.elasticsearch
    await service.follow()
    assert service.elasticsearch is before
    await service.close()


def test_a_record_leads_only_to_the_node_that_is_on_record(tmp_path: Path) -> None:
    assert moved_from(HERE, tmp_path) is None
    place = ProcessRecord(pid=1, started_at=0.0, home=tmp_path)
    record = Record(url=THERE, version="9.5.0", node_id="of our node", place=place)
    write(tmp_path, record)
    assert moved_from(THERE + "/", tmp_path) is None
    assert moved_from(HERE, tmp_path) is None  # no process of ours runs there
