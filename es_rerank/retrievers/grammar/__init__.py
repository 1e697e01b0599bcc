"""What a caller writes: the retriever tree, the body around it, and the faults of both."""
