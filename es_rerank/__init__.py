"""Elastic's retriever syntax, on every licence, with any cross-encoder, at the speed the hardware allows."""
