"""Telling another system that a study has ended."""
