"""The Ray cluster that an ingest runs on, and how many of its processors which stage takes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext

from es_rerank.errors import SettingsError

from .workers import Workers, workers_for


def cluster_workers(actors: int | None, threads: int | None) -> Workers:
    """Return the actors for the cluster that this process is connected to."""
    nodes: list[float] = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return workers_for(nodes, actors, threads)


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at ``address`` during the ``with`` block.

    None: the address in RAY_ADDRESS, else the Ray that runs on this machine, else one that is started here
    and ends with the block, as "local" does. A connection that there is already is used and kept. Raises
    SettingsError when no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core would otherwise warn on stderr of each actor that may be started again.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"no Ray cluster answers at {address or 'RAY_ADDRESS'} ({error}); check --ray-address, or leave "
            "it out for a Ray on this machine"
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():  # where alone Ray takes SIGTERM for itself
            for number, handler in handlers.items():
                signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


@contextmanager
def quiet() -> Iterator[None]:
    """Let Ray Data draw no bars of its own during the ``with`` block."""
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, logger.level
    context.enable_progress_bars = context.print_on_execution_start = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start, level = before
        logger.setLevel(level)
