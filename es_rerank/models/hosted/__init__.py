"""Rerankers over HTTP: Cohere, another sidecar, or a text-embeddings-inference (TEI) server."""
