"""Measures what reranking is worth: a collection, its judgements, and the first stage against the reranked
order.
"""
