"""Published models as YAML files, each with its source, the number to expect and the time it takes."""

from taut.recipes.book import Recipe, all_recipes, read_recipe

__all__ = ["Recipe", "all_recipes", "read_recipe"]
