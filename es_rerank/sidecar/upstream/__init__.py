"""Elasticsearch: what is sent to it, and whether it is ready."""
