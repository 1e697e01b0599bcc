"""What the sidecar tells of itself: its log, its metrics and its traces."""
