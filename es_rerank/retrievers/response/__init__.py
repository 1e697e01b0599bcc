"""Builds the answers in Elasticsearch's shape, and errors as the elasticsearch client raises them. No I/O."""
