"""How a graph runs fast: one ONNX Runtime session, single-threaded runs side by side. Sees token ids and arrays only."""
