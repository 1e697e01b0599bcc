"""Measuring what reranking is worth: a collection, its judgements, and the first stage beside the reranked order."""
