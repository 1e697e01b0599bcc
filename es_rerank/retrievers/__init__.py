"""Elastic's retriever tree: parsed, planned into Elasticsearch bodies, run, and answered.

``request`` takes a body apart with ``tree`` and ``parsing``; ``steps`` says what is wanted next (``effects``), with ``plan``,
``fusion`` and ``rerank`` for the bodies and the orders; ``run`` does it, the only place that talks to Elasticsearch and to
models; ``answer`` and ``evaluated`` make the response; ``searching`` and ``batch`` are what both clients share. All but
``run`` is pure: dictionaries in, dictionaries out.
"""
