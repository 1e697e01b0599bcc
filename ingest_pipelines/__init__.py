"""The write path: documents in, passages and vectors out, into an index that Kibana can show."""

from .pipeline import Ingest, IngestReport
from .readers import read_sources, source_files
from .rejects import Reject

__all__ = ["Ingest", "IngestReport", "Reject", "read_sources", "source_files"]
