"""The paths that the sidecar serves, one file for each group of them."""
