"""Token buckets: how often a caller may ask."""
