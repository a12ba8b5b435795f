"""Recipes, stages, runs, events and reports: what every strand stands on."""
