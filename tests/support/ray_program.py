"""An ingest as a program: ``ray_program.py URL INDEX FOLDER RUNNER [sync]``. It prints the counts as JSON.

A local Ray with two processors is started for it, and ends with it. The first signal stops the ingest.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from ingests import chunker

from es_rerank.errors import IngestStoppedError
from es_rerank.testing import HashEmbedder
from ingest_pipelines import Ingest, read_sources


def load(_threads: int) -> HashEmbedder:
    return HashEmbedder(16)


def ingest_of(client: Elasticsearch, url: str, runner: str) -> Ingest:
    options: dict[str, Any] = {"chunker": chunker(40, 8), "batch_documents": 50, "initial_backoff_s": 0.01}
    if runner == "local":
        return Ingest(client, load(1), **options)
    from ingest_pipelines.ray_runner.connection import Connection, Hidden  # noqa: PLC0415 as the command does
    from ingest_pipelines.ray_runner.run import RayIngest  # noqa: PLC0415

    connection = Connection(Hidden(url))
    return RayIngest(client, load(1), connection=connection, load=load, address="local", **options)


def main(url: str, index: str, folder: str, runner: str, *more: str) -> None:
    rejects = Path(folder).with_name(f"{index}.rejects.jsonl")
    with Elasticsearch(url, request_timeout=120) as client:
        ingest = ingest_of(client, url, runner)
        signal.signal(signal.SIGINT, lambda *_: ingest.stop())
        sources = read_sources([Path(folder)], on_note=print, elsewhere=runner == "ray")
        try:
            report = ingest.run(index, sources, rejects=rejects, sync="sync" in more)
        except IngestStoppedError as error:
            sys.exit(error.message)
    print(json.dumps(asdict(report), default=str))  # noqa: T201 what it prints is its answer


if __name__ == "__main__":
    main(*sys.argv[1:])
