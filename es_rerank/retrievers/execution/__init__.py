"""The steps of a search and the code that runs them: only this package talks to Elasticsearch and models."""
