"""Models that run elsewhere and are asked over HTTP: Cohere, another sidecar, a text-embeddings-inference
server.
"""
