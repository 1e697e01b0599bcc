"""Exported models for Chinese and English. es-rerank finds them by their names (entry points
``es_rerank.models``).
"""
