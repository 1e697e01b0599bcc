"""Reads documents, makes passages and vectors of them, and writes them into an Elasticsearch index."""

from .metadata import Unfit
from .pipeline import Ingest, IngestReport
from .reading import read_sources, source_files
from .rejects import Reject

__all__ = ["Ingest", "IngestReport", "Reject", "Unfit", "read_sources", "source_files"]
