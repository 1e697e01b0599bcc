"""The write path: documents in, passages and vectors out, into an index that Kibana can show."""
