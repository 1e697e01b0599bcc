"""The formats in which tools ask a reranker: what each sends, what it reads, and how it is told of an error.

Pure functions, no I/O. The sidecar reads requests and writes answers with them; a ``remote:`` reranker writes
requests and reads answers.
"""
