"""Texts on their way to a model: passages with offsets, and pairs of query and passage."""
