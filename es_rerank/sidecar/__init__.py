"""The sidecar: an HTTP server that reranks for clients of Elasticsearch and clients of rerank services."""
