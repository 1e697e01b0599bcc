"""Models that run in this process: an exported folder, its tokenizer, and the engine."""
