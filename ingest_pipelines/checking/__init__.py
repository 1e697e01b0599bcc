"""Checks an index that es-rerank made: what it lacks, and whether its vector search finds what is nearest."""
