"""Fits a reranker to an index by the judgements or clicks of its users, and measures what this is worth."""
