"""Adapters for LangChain, LlamaIndex and OpenAI-compatible servers. Each needs its own extra."""
