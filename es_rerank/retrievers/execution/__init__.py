"""How a search runs: its steps, and the only place that talks to Elasticsearch and to models."""
