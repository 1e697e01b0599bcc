"""Models that come as ready-made ONNX graphs: from the Hub, a folder or a jar of Maven. Needs no torch."""
