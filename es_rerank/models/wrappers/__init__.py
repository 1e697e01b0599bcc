"""Rerankers that wrap other rerankers: score cache, cascade, early exit, long texts in parts."""
