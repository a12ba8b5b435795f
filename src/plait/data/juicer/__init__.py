"""Data-Juicer's recipes, read as they are.

recipe = read_juicer_recipe(Path("redpajama-cc.yaml"))
ops = read_ops(recipe.ops)
"""

from __future__ import annotations

from plait.data.juicer.recipe import JuicerRecipe, is_juicer_recipe, read_juicer_recipe, shipped_juicer_recipes

__all__ = ["JuicerRecipe", "is_juicer_recipe", "read_juicer_recipe", "shipped_juicer_recipes"]
