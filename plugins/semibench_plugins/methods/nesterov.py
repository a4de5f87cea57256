"""SGD with Nesterov momentum, which some published codes use and recipes don't have."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from semibench import Method, MethodOptions, Optimiser


class NesterovOptions(MethodOptions, frozen=True, extra="forbid"):
    """The option of a method whose published code has Nesterov momentum."""

    nesterov: bool = Field(
        False, description="SGD with Nesterov momentum, as in the published code; otherwise the recipe's optimiser"
    )


def one_optimiser(method: Method, *, nesterov: bool) -> Mapping[str, Optimiser]:
    """Returns the optimisers of a method that has a single one for all its parameters.

    Args:
        method: whose parameters it trains.
        nesterov: take SGD with Nesterov momentum, at the recipe's rate, instead of the recipe's optimiser.

    Returns:
        The optimiser by its name, `main`.
    """
    return {"main": Optimiser((method,), "sgd", settings={"nesterov": True}) if nesterov else Optimiser((method,))}
