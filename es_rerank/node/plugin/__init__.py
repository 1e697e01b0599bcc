"""The Elasticsearch plugin: makes its archive, and installs it in an Elasticsearch."""
