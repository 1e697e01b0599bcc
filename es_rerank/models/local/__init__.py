"""Models that run in this process, from an exported folder."""
