"""What Elasticsearch is asked for: searches of the first stage, texts, the page. Pure functions around bodies."""
