"""Rerankers that wrap other rerankers: score cache, cascade, long texts in parts."""
