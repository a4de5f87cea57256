"""Builds the networks and the method of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semibench.contracts.errors import IdentityError, UnsupportedError
from semibench.contracts.recipe import Recipe
from semibench.registry import Registered, Registry
from semibench.run.settings import build

if TYPE_CHECKING:
    from torch import Tensor

    from semibench.contracts.backbone import Backbone
    from semibench.contracts.method import Method, Task
    from semibench.run.resolve import Resolved


class Builder:
    """The `Backbones` factory of one run (see the contract). The run's own backbone takes the run's options and start
    weights; another takes its defaults, its width from the recipe."""

    def __init__(
        self,
        plugins: Registry,
        item: Registered,
        options: Mapping[str, Any],
        task: Task,
        recipe: Recipe,
        weights: Path | None,
    ) -> None:
        self.plugins, self.item, self.options = plugins, item, dict(options)
        self.task, self.recipe, self.weights = task, recipe, weights

    def __call__(
        self, name: str | None = None, *, channels: int | None = None, outputs: int | None = None, **options: Any
    ) -> Backbone:
        own = name is None or name in (self.item.name, self.item.full_name)
        item = self.item if own else self.plugins.get("backbones", str(name))
        if self.task.dims not in item.card.dims:
            raise UnsupportedError(f"backbone {item.name!r} is for {item.card.dims} dims, the run has {self.task.dims}")
        cls = item.resolve()
        width = self.recipe.widths.get(item.name, self.recipe.widths.get("*", 1.0))
        base = self.options if own else {"width": width}
        net: Backbone = cls(
            dims=self.task.dims,
            channels=self.task.channels if channels is None else channels,
            outputs=len(self.task.classes) if outputs is None else outputs,
            patch=self.task.patch,
            options=build(cls.Options, f"backbone {item.name!r}", base, options),
        )
        if own and self.weights is not None:
            load_weights(net, self.weights, item.name)
        return net


def load_weights(net: Backbone, path: Path, name: str) -> None:
    """Start weights from a safetensors or torch file (weights only). Every entry must fit by key and shape; keys that are
    missing in the file (a head for other classes) stay as drawn only where they belong to the decoder.

    Raises IdentityError that lists what doesn't fit."""
    import torch
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = (
            load_file(str(path))
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        raise IdentityError(
            f"{path} is no weight file: expected safetensors, or a torch file that holds tensors only; got "
            f"{type(error).__name__}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state  # type: ignore[assignment]
    if not isinstance(state, Mapping) or not all(hasattr(value, "shape") for value in state.values()):
        raise IdentityError(f"{path} is no weight file: expected names and tensors, found {type(state).__name__}")
    state = dict(net.start_weights(state))
    mine = net.state_dict()
    unknown = sorted(set(state) - set(mine))
    wrong = [
        f"{key}: {tuple(state[key].shape)}, expected {tuple(mine[key].shape)}"
        for key in state
        if key in mine and state[key].shape != mine[key].shape
    ]
    missing = sorted(key for key in set(mine) - set(state) if not key.startswith("decoder."))
    if unknown or wrong or missing:
        said = [f"unknown: {', '.join(unknown[:5])}" if unknown else "", f"shapes: {'; '.join(wrong[:5])}" if wrong else "",
                f"missing: {', '.join(missing[:5])}" if missing else ""]  # fmt: skip
        raise IdentityError(f"{path} doesn't fit backbone {name!r}: {' | '.join(part for part in said if part)}")
    net.load_state_dict(state, strict=False)


def build_method(resolved: Resolved, task: Task, plugins: Registry) -> Method:
    """The method of a run with its resolved terms; weights are drawn from the replicate's seed. Raises UnsupportedError
    with the method's own reason."""
    from semibench.training.seeding import seed_construction

    reason = resolved.method.unsupported(task, resolved.method_options)
    if reason:
        raise UnsupportedError(f"method {resolved.items['method'].name!r}: {reason}")
    seed_construction(resolved.spec.replicate.seed)
    builder = Builder(
        plugins, resolved.items["backbone"], resolved.backbone_options, task, resolved.recipe, resolved.request.weights
    )
    method: Method = resolved.method(task, builder, resolved.method_options)
    method.terms = dict(resolved.terms)
    return method
