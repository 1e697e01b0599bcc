"""Bad requests drawn from a seed end in no fault of the sidecar. ``scripts/fuzz`` sends more of them."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from fuzzing.index import filled
from fuzzing.running import is_alive, run
from fuzzing.target import TREE, target

from es_rerank.node import Node

SEED = 22


def attacked(node: Node, es: Elasticsearch, index: str, folder: Path, count: int) -> None:
    """Attack a sidecar, and assert that nothing is wrong with its answers, its log and its memory."""
    with filled(es, index) as name, target(TREE, node.url, folder) as sidecar:
        outcome = asyncio.run(run(sidecar, node.url, name, SEED, range(count)))
        assert is_alive(sidecar.address)
    assert not outcome.finds, {find.place: find.attack.data[:2000] for find in outcome.finds.values()}
    assert not outcome.log_places
    assert not outcome.grows, outcome.memory
    assert not any(math.isnan(size) for size in outcome.rss_mib)
    assert outcome.statuses["200"] > count / 20, outcome.statuses


@pytest.mark.long
def test_three_hundred_bad_requests_find_no_fault(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    attacked(node, es, index, tmp_path, 300)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_thousand_bad_requests_find_no_fault(
    node: Node, es: Elasticsearch, index: str, tmp_path: Path
) -> None:
    attacked(node, es, index, tmp_path, 20_000)
