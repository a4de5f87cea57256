"""Looks for what a method holds outside the reach of torch: networks in plain containers, tensors with a graph."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Set
from typing import Any

from torch import Tensor, nn

DEEPEST = 4
"""Containers and plain objects within each other that are searched."""
PLAIN = (str, bytes, int, float, type, type(None), types.FunctionType, types.MethodType, types.BuiltinFunctionType)
"""Values that hold nothing."""
TORCH = frozenset({"_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"})
"""Where a module keeps what is registered."""


def held(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yields (path, value) for each tensor and each module that a module holds in a plain attribute, also within lists,
    dictionaries, sets and plain objects, for this module and all registered ones."""
    seen = {id(part) for part in module.modules()}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            empty = isinstance(value, dict) and not value  # torch gives each layer a dozen of them
            if key not in TORCH and not empty:
                yield from _within(f"{name}.{key}".lstrip("."), value, seen, DEEPEST)


def _within(path: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, PLAIN) or id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, (Tensor, nn.Module)):
        yield path, value
        return
    for name, inner in _parts(value):
        yield from _within(f"{path}{name}", inner, seen, depth - 1)


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", inner) for key, inner in value.items()]
    if isinstance(value, (list, tuple, Set)):
        return [(f"[{number}]", inner) for number, inner in enumerate(value)]
    inside = getattr(value, "__dict__", None)
    return [(f".{key}", inner) for key, inner in inside.items()] if isinstance(inside, dict) else []


def unregistered(module: nn.Module) -> list[str]:
    """Returns the paths of parameters, and of networks with some, that `module.parameters()` doesn't have."""
    known = {id(parameter) for parameter in module.parameters()}
    found = []
    for path, value in held(module):
        parameters = value.parameters() if isinstance(value, nn.Module) else [value]
        if any(isinstance(one, nn.Parameter) and id(one) not in known for one in parameters):
            found.append(path)
    return found


def with_graph(module: nn.Module) -> list[str]:
    """Returns the paths of tensors that keep the graph of an iteration: buffers, and tensors in plain attributes."""
    buffers = [(name, value) for name, value in module.named_buffers() if value.grad_fn is not None]
    plain = [(path, value) for path, value in held(module) if isinstance(value, Tensor) and value.grad_fn is not None]
    return [path for path, _ in (*buffers, *plain)]
