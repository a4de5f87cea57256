"""Passes through a network that several predictors need are made once: the mean of two networks and each of them, for example.

While predictors see the same batch, calls of a backbone, of its encoder or of a decoder with the same tensors return what the first
call returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from semibench.contracts.backbone import Backbone, Decoder

PLAIN = (int, float, str, bool, type(None))
Versions = tuple[tuple[int, int], ...]


class SharedPasses:
    """Within `with`, equal passes through the backbones and decoders of a model are made once.

    A call isn't shared if it has arguments other than tensors and plain values, if a weight, an argument or a result was changed
    since, or while a part of the network has hooks, which must see every pass. What else a predictor may do to a network between
    two calls isn't seen here: `agree` tells whether predictors may share.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parts = [part for part in model.modules() if isinstance(part, Backbone | Decoder)]
        self._known: dict[Any, _Pass] = {}
        self._names: list[tuple[nn.Module, str]] = []
        self._watching = False
        self.seen = 0
        """How many passes were equal to earlier ones."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block all passes are made, and equal ones counted."""
        self._watching = True
        try:
            with self:
                yield
        finally:
            self._watching = False

    def __enter__(self) -> None:
        for part in self._parts:
            for name in ("forward", "encode") if isinstance(part, Backbone) else ("forward",):
                if name not in part.__dict__:
                    # the attribute of the instance hides the method of its class, also from Module.__call__
                    part.__dict__[name] = self._shared(part, name, getattr(part, name))
                    self._names.append((part, name))

    def __exit__(self, *_: object) -> None:
        for part, name in self._names:
            del part.__dict__[name]
        self._names.clear()
        self._known.clear()

    def agree(self, calls: Sequence[Callable[[], Tensor]]) -> bool:
        """Return whether calls give the same digits with shared passes as without."""
        apart = [call() for call in calls]
        try:
            with self:
                together = [call() for call in calls]
        except Exception:
            return False
        return all(map(torch.equal, apart, together))

    def _shared(self, part: nn.Module, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        modules = list(part.modules())

        def shared(*args: Any, **keywords: Any) -> Any:
            tensors: list[Tensor] = []
            key = _key((args, keywords), tensors)
            if key is None or any(m._forward_hooks or m._forward_pre_hooks for m in modules):
                return call(*args, **keywords)
            weights = [*part.parameters(), *part.buffers()]
            known = self._known.get((id(part), name, key))
            if known is not None and known.holds(weights):
                self.seen += 1
                if not self._watching:
                    return known.result
            result = call(*args, **keywords)
            outputs: list[Tensor] = []
            if _key(result, outputs) is not None:
                self._known[id(part), name, key] = _Pass(result, tensors, outputs, weights)
            return result

        return shared


class _Pass:
    """A pass that was made. It keeps its arguments, so that no other tensor gets their identity."""

    def __init__(
        self, result: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor], weights: Iterable[Tensor]
    ) -> None:
        self._result, self._tensors = result, [*inputs, *outputs]
        self._versions, self._weights = _versions(self._tensors), _versions(weights)

    def holds(self, weights: Iterable[Tensor]) -> bool:
        """Return whether arguments, results and weights are as they were."""
        return _versions(self._tensors) == self._versions and _versions(weights) == self._weights

    @property
    def result(self) -> Any:
        """The result; lists are new, so that a caller may change them."""
        return type(self._result)(self._result) if isinstance(self._result, list | tuple) else self._result


def _versions(tensors: Iterable[Tensor]) -> Versions:
    return tuple((id(tensor), tensor._version) for tensor in tensors)


def _key(value: Any, tensors: list[Tensor]) -> Any:
    """Return a hashable key of an argument or result, and collect its tensors; None if it holds anything but tensors and
    plain values."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return ("tensor", id(value))
    if isinstance(value, PLAIN):
        return (type(value), value)
    parts: Iterable[Any]
    if type(value) in (list, tuple, torch.Size):
        parts = value
    elif isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        parts = [part for pair in sorted(value.items()) for part in pair]
    else:
        return None
    keys = [_key(part, tensors) for part in parts]
    return None if None in keys else (type(value), *keys)
