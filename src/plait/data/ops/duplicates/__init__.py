"""Deduplicators, and the index they keep on disk."""
