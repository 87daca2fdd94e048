"""Synthetic patients and inserts whose calcium is exactly known: for tests, demo and training."""
