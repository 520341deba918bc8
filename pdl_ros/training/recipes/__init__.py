"""Recipes: how published and shipped weights were trained, one YAML each."""

from pdl_ros.training.recipes.recipe import (
    default_recipe,
    load_recipe,
    recipe,
    recipe_for,
    recipe_names,
    with_changes,
    write_recipe,
)

__all__ = [
    'default_recipe',
    'load_recipe',
    'recipe',
    'recipe_for',
    'recipe_names',
    'with_changes',
    'write_recipe',
]
