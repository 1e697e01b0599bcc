"""Runs an ONNX graph fast: one ONNX Runtime session, and many runs in parallel, one thread for each run.

This package sees token ids and arrays only. It knows no texts and no files of a model except the graph.
"""
