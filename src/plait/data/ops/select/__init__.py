"""Selectors, groupers and aggregators."""
