"""A moving average of a network that never receives gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """Exponential moving average of a network (Tarvainen & Valpola, NeurIPS 2017), called without gradient.

    The number of updates is a buffer, so that a resumed run continues where it stopped.

    Args:
        net: the network to copy.
        decay: the largest factor a of an update.
        warm_up: use a = min(1 - 1 / (t + 1), decay) after t updates, so that the first update makes the teacher equal to
            the network; otherwise a = decay always (BCP).
        buffers: what an update does to running statistics: "none" (SSL4MIS: the teacher's own forward passes move them),
            "ema" (averages them like parameters; integer counters are cast back) or "copy".
        mode: the teacher's mode while the harness trains, "train" (batch statistics, dropout) or "eval"; `eval()` always
            puts it in eval mode.

    Raises:
        ValueError: for a decay outside [0, 1] or an unknown name.
    """

    updates: Tensor

    def __init__(
        self,
        net: nn.Module,
        decay: float = 0.99,
        *,
        warm_up: bool = True,
        buffers: Literal["none", "ema", "copy"] = "none",
        mode: Literal["train", "eval"] = "train",
    ) -> None:
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay must lie in [0, 1], got {decay}")
        if buffers not in ("none", "ema", "copy") or mode not in ("train", "eval"):
            raise ValueError(f"buffers is none, ema or copy and mode is train or eval, got {buffers!r} and {mode!r}")
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.decay, self.warm_up, self.buffers_rule, self.mode = decay, warm_up, buffers, mode
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count: int | None = 0
        self.train(self.training)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Call the averaged network without gradient."""
        with torch.no_grad():
            return self.net(*args, **keywords)

    def train(self, mode: bool = True) -> Teacher:
        """Set the mode. With `mode="eval"` in the constructor, the averaged network always stays in eval mode.

        Args:
            mode: training mode of the harness.
        """
        super().train(mode)
        self.net.train(mode and self.mode == "train")
        return self

    @property
    def alpha(self) -> float:
        """The factor a of the next update."""
        if not self.warm_up:
            return self.decay
        if self._count is None:
            self._count = int(self.updates)
        return min(1.0 - 1.0 / (self._count + 1), self.decay)

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards a network: theta' <- a theta' + (1 - a) theta.

        Args:
            net: a network of the same structure.

        Raises:
            ValueError: if the numbers of parameters differ.
        """
        alpha = self.alpha
        mine: list[Tensor] = list(self.net.parameters())
        theirs: list[Tensor] = list(net.parameters())
        if len(mine) != len(theirs):
            raise ValueError(f"the network has {len(theirs)} parameters, its teacher {len(mine)}")
        torch._foreach_lerp_(mine, theirs, 1.0 - alpha)
        if self.buffers_rule != "none":
            for old, new in self._paired(net):
                if self.buffers_rule == "copy":
                    old.copy_(new)
                elif old.is_floating_point():
                    old.lerp_(new, 1.0 - alpha)
                else:
                    old.copy_(old.double().lerp_(new.double(), 1.0 - alpha))
        self.updates += 1
        self._count = None if self._count is None else self._count + 1

    @torch.no_grad()
    def copy(self, net: nn.Module) -> None:
        """Start again as an exact copy of a network, buffers included; the warm-up starts again too.

        Args:
            net: a network of the same structure.
        """
        for mine, theirs in zip(self.net.parameters(), net.parameters(), strict=True):
            mine.copy_(theirs)
        for old, new in self._paired(net):
            old.copy_(new)
        self.updates.zero_()
        self._count = 0

    def _paired(self, net: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.net.buffers(), net.buffers(), strict=True)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(state_dict, *args, **keywords)
        self._count = None
