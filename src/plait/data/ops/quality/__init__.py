"""Filters by a trained quality classifier."""
