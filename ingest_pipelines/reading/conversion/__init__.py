"""Converts HTML, PDF, DOCX and PPTX to Markdown, in a process of its own with limits of time and memory.

``python -m ingest_pipelines.reading.conversion`` is that process (``__main__``); ``child`` starts it. A file
may be made to keep a parser busy for hours, to unpack to gigabytes or to crash it; it takes only that process
with it.
"""
