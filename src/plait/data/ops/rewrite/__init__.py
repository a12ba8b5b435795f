"""Mappers that cut, split and rewrite texts."""
