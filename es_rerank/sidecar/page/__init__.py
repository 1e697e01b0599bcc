"""What the OpenAPI page says: words, schemas and examples for each path. No route depends on it."""
