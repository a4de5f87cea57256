"""Whether a run's validation may choose weights, or only the last ones are kept."""

from __future__ import annotations

from semibench.contracts.cases import Split
from semibench.contracts.recipe import Recipe
from semibench.evaluation.validation_cases import validation_cases

FEWEST_GROUPS = 4
"""Fewest groups (patients) among the validation cases with which the best weights are chosen. With two or three, the choice follows
those patients."""


def why_no_best(recipe: Recipe, split: Split) -> str | None:
    """Returns why a run keeps no weights as the best on validation, or None if it does."""
    if not recipe.keep_best or recipe.evaluate_every <= 0:
        return "the recipe doesn't validate (keep_best, evaluate_every)"
    if not split.validation:
        return "the split has no validation cases"
    groups = {(ref.dataset, ref.group) for ref in validation_cases(split.validation, recipe.evaluate_cases)}
    if len(groups) < FEWEST_GROUPS:
        return (
            f"the scored validation cases come from {len(groups)} group{'s' if len(groups) > 1 else ''} (patients), and fewer than "
            f"{FEWEST_GROUPS} can't choose weights"
        )
    return None
