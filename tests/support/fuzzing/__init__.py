"""A grammar fuzzer for the sidecar: requests drawn from a seed, sent, judged and reported.

``scripts/fuzz`` runs it. A request is a valid one of some route, changed at a few places.
"""
