"""The families of data sets, with the cards, recipe values and conventions of each. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard, DatasetCard, RecipeCard
from semibench_plugins.datasets.abdomen import cards as abdomen
from semibench_plugins.datasets.abdomen import recipes as abdomen_recipes
from semibench_plugins.datasets.brain import cards as brain
from semibench_plugins.datasets.brain import recipes as brain_recipes
from semibench_plugins.datasets.breast import cards as breast
from semibench_plugins.datasets.breast import recipes as breast_recipes
from semibench_plugins.datasets.fetal import cards as fetal
from semibench_plugins.datasets.fetal import recipes as fetal_recipes
from semibench_plugins.datasets.heart import cards as heart
from semibench_plugins.datasets.heart import recipes as heart_recipes
from semibench_plugins.datasets.pelvis import cards as pelvis
from semibench_plugins.datasets.pelvis import recipes as pelvis_recipes
from semibench_plugins.datasets.skin import cards as skin
from semibench_plugins.datasets.skin import recipes as skin_recipes
from semibench_plugins.datasets.thyroid import cards as thyroid
from semibench_plugins.datasets.thyroid import recipes as thyroid_recipes

_CARDS = (breast, thyroid, fetal, skin, heart, abdomen, brain, pelvis)
_RECIPES = (
    breast_recipes, thyroid_recipes, fetal_recipes, skin_recipes, heart_recipes, abdomen_recipes, brain_recipes,
    pelvis_recipes,
)  # fmt: skip
DATASETS: tuple[DatasetCard, ...] = tuple(card for family in _CARDS for card in family.DATASETS)
CONVENTIONS: tuple[ConventionCard, ...] = tuple(card for family in _CARDS for card in family.CONVENTIONS)
RECIPES: tuple[RecipeCard, ...] = tuple(card for family in _RECIPES for card in family.RECIPES)
