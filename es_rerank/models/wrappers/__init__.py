"""Rerankers over other rerankers: a score cache, two in a row, early exit, long texts in parts."""
