"""Builds the requests to Elasticsearch: searches of the first stage, texts, the page. No I/O."""
