"""Orders the documents: fusion of lists, scores of a reranker, ties. Pure functions, no I/O."""
