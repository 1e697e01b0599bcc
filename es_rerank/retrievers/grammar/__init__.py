"""Parses what a caller writes: the retriever tree and the request body. Reports the errors in both."""
