"""What goes back: a response of Elasticsearch with our order, and our errors as its client raises them. Pure."""
