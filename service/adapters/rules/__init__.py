"""Routing rules as a YAML file."""
