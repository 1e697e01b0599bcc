"""The command ``scripts/fuzz``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from elasticsearch import Elasticsearch

from es_rerank.node import down, up

from .index import filled
from .running import GROWTH_MIB, Outcome, is_alive, run
from .target import TREE, Target, target


def main() -> int:
    """Attack a sidecar and print what was found. Returns 1 when something was found, else 0."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=2000, help="how many requests are sent")
    parser.add_argument("--first", type=int, default=0, help="number of the first request")
    parser.add_argument("--seed", type=int, default=22, help="what the requests are drawn from")
    parser.add_argument("--url", help="a sidecar that runs already; its memory and its log are not read")
    parser.add_argument("--tree", type=Path, default=TREE, help="source tree whose sidecar is started")
    parser.add_argument("--elasticsearch-url", help="Elasticsearch for it; without it, one is started")
    parser.add_argument(
        "--pass-through", action="store_true", help="Elasticsearch gets all other requests too"
    )
    parser.add_argument("--index", help="index to search; without it, one is made and deleted")
    parser.add_argument("--out", type=Path, default=Path("fuzz-finds"), help="folder for the requests found")
    given = parser.parse_args()
    with ExitStack() as stack:
        elasticsearch = given.elasticsearch_url
        if elasticsearch is None and given.url is None:
            elasticsearch = stack.enter_context(_own_node())
        index = given.index or (
            stack.enter_context(_own_index(elasticsearch)) if elasticsearch else "fuzz-no-index"
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        more = ["--pass-through"] if given.pass_through else []
        against = (
            Target(given.url)
            if given.url
            else stack.enter_context(target(given.tree.resolve(), elasticsearch, folder, more))
        )
        began = time.monotonic()
        numbers = range(given.first, given.first + given.bodies)
        outcome = asyncio.run(run(against, elasticsearch, index, given.seed, numbers))
        outcome.alive = outcome.alive and is_alive(against.address)
        times = against.loop_times()
        if against.log is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "log").write_bytes(against.log.read_bytes())
    _report(outcome, times, given.out, time.monotonic() - began, given.bodies)
    return int(bool(outcome.finds or outcome.log_places or outcome.grows or not outcome.alive))


@contextmanager
def _own_node() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        try:
            yield up(state, timeout_s=300).url
        finally:
            down(state, purge=True)


@contextmanager
def _own_index(elasticsearch: str) -> Iterator[str]:
    with (
        Elasticsearch(elasticsearch, request_timeout=60) as es,
        filled(es, f"fuzz-{uuid4().hex[:8]}") as name,
    ):
        yield name


def _report(outcome: Outcome, times: str, out: Path, seconds: float, bodies: int) -> None:
    write = sys.stdout.write
    finds = sorted(outcome.finds.values(), key=lambda find: -find.count)
    for number, find in enumerate(finds, 1):
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"{number:03}.http"
        file.write_bytes(find.attack.data)
        write(f"{number:4} {find.count:6} x  {find.place}\n")
        write(f"               request {find.attack.number}, status {find.answer.status}, {file}\n")
    only_logged = set(outcome.log_places) - set(outcome.finds)
    for place in sorted(only_logged):
        write(f"   - {outcome.log_places[place]:6} x  only in the log: {place}\n")
    early, late = outcome.memory
    write(f"{bodies} requests in {seconds:.0f} s; answers: {dict(sorted(outcome.statuses.items()))}\n")
    write(f"{len(finds)} places with a fault, {len(only_logged)} more in the log alone\n")
    if outcome.of_elasticsearch:
        own = sum(outcome.of_elasticsearch.values())
        write(f"errors of Elasticsearch itself that were passed on: {own}\n")
        for fault, count in outcome.of_elasticsearch.most_common(5):
            write(f"     {count:6} x  {fault}\n")
    write(f"resident memory: {early:.0f} MiB in the second quarter, {late:.0f} MiB in the last one ")
    write(f"(bound: {GROWTH_MIB:.0f} MiB more)\n")
    write(f"the sidecar {'is alive' if outcome.alive else 'HAS ENDED'}\n")
    if times:
        found = json.loads(times)
        write(f"event loop: {found['callbacks']} callbacks, {found['over_50_ms']} over 50 ms of CPU time; ")
        write(f"largest {found['largest_cpu_ms']} ms\n")
        for entry in found["largest"][:5]:
            write(f"  {entry['cpu_ms']:8} ms  {entry['task']}  {entry['stack'] or entry['from']}\n")


if __name__ == "__main__":
    sys.exit(main())
