"""Elastic's retriever tree, in rooms along the way of a search.

    grammar     what a caller writes: the tree, the body around it, and the faults of both
    planning    what Elasticsearch is asked for: searches of the first stage, texts, the page
    ranking     the order of documents: fusion, a reranker's scores, ties
    response    what goes back, in Elasticsearch's shape
    execution   the steps of a search, and the only place that talks to Elasticsearch and to models

All but ``execution.run`` is pure: dictionaries in, dictionaries out. A room imports only from rooms above it in this list,
``planning`` and ``ranking`` not from one another.
"""
