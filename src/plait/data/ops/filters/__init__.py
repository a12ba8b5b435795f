"""Filters that measure texts and fields."""
