"""The stages of recipes: the only place where the strands meet."""
