"""Elastic's retriever tree. The packages follow the order of the work in a search.

    grammar     parses the retriever tree and the request body, and reports the errors in both
    planning    builds the requests to Elasticsearch: searches of the first stage, texts, the page
    ranking     orders the documents: fusion, scores of a reranker, ties
    response    builds the answer in the shape that Elasticsearch gives it
    execution   runs the steps of a search; the only package that talks to Elasticsearch and to models

All modules except ``execution.run`` are pure: they take dictionaries and return dictionaries, without I/O. A
package imports only from packages above it in this list. ``planning`` and ``ranking`` do not import from each
other.
"""
