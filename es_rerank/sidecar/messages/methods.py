"""The methods of HTTP that the sidecar knows."""

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
"""The methods that are served or forwarded. In figures and spans, every other method is ``other``."""
