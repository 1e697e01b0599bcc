"""Elastic's retriever tree: parsed, planned into Elasticsearch bodies, run, and answered.

Everything but ``run`` is pure: dictionaries in, dictionaries out.
"""
