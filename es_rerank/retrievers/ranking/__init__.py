"""The order of documents: fusion of lists, scores of a reranker, ties. Pure."""
