"""The sidecar: reranking over HTTP, for clients of Elasticsearch and of rerank services."""
