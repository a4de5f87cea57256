"""A moving average of a network that never receives gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """An exponential moving average of a network (Tarvainen & Valpola, NeurIPS 2017), called without gradient.

    update(net): theta' <- a theta' + (1 - a) theta with a = min(1 - 1 / (t + 1), decay), where t counts the updates before this
    one: after the first update the teacher equals the network. The count is a buffer, so a resumed run continues where it was.

    Args:
        net: the network to average; it is copied, buffers included.
        decay: largest a, in [0, 1].
        warm_up: False: a = decay in every update (BCP).
        buffers: what an update does with running statistics: "none" (the teacher's own forward passes in training mode move
            them), "ema" (averaged like the parameters; integer counters are cast back) or "copy". Inference normalises with
            them, so they should come from whole images as they are tested. A teacher that labels noised, masked or mixed
            images takes "ema" and runs under `frozen_statistics`; then its statistics follow those of the network.
        mode: mode of the teacher while the harness trains: "train" (batch statistics, dropout) or "eval". `eval()` always
            puts it into eval mode.

    Raises:
        ValueError: if decay is outside [0, 1], or buffers or mode is unknown.

    Examples:
        >>> Teacher(torch.nn.Linear(4, 2))(torch.ones(1, 4)).requires_grad
        False
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
        """Returns what the averaged network returns, without gradient."""
        with torch.no_grad():
            return self.net(*args, **keywords)

    def train(self, mode: bool = True) -> Teacher:
        """Sets the training mode; the averaged network follows `mode` of the constructor ("eval": always eval mode)."""
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

    def limit(self, steps: float) -> None:
        """Limits the length of the average: the decay becomes at most 1 - 1 / steps.

        Args:
            steps: largest number of steps that the average covers; 1 or less: the teacher equals the network.
        """
        self.decay = min(self.decay, 1.0 - 1.0 / max(steps, 1.0))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Moves the average one step towards `net`, which must have the same structure.

        Raises:
            ValueError: if the numbers of parameters differ.
        """
        alpha = self.alpha
        mine: list[Tensor] = list(self.net.parameters())
        theirs: list[Tensor] = list(net.parameters())
        if len(mine) != len(theirs):
            raise ValueError(f"the network has {len(theirs)} parameters, its teacher {len(mine)}")
        torch._foreach_lerp_(mine, theirs, 1.0 - alpha)
        if self.buffers_rule == "copy":
            for old, new in self._paired(net):
                old.copy_(new)
        elif self.buffers_rule == "ema":
            self._average_buffers(net, 1.0 - alpha)
        self.updates += 1
        self._count = None if self._count is None else self._count + 1

    def _average_buffers(self, net: nn.Module, share: float) -> None:
        floating = [pair for pair in self._paired(net) if pair[0].is_floating_point()]
        if floating:
            torch._foreach_lerp_([old for old, _ in floating], [new for _, new in floating], share)
        for old, new in self._paired(net):
            if not old.is_floating_point():
                old.copy_(old.double().lerp_(new.double(), share))

    @torch.no_grad()
    def copy(self, net: nn.Module, *, restart: bool = True) -> None:
        """Becomes an exact copy of `net`, buffers included.

        Args:
            net: a network of the same structure.
            restart: the warm-up starts again; False: the copy counts as an update, so that the next one averages as if none of
                them had been a copy.
        """
        for mine, theirs in zip(self.net.parameters(), net.parameters(), strict=True):
            mine.copy_(theirs)
        for old, new in self._paired(net):
            old.copy_(new)
        if restart:
            self.updates.zero_()
            self._count = 0
        else:
            self.updates += 1
            self._count = None if self._count is None else self._count + 1

    def _paired(self, net: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.net.buffers(), net.buffers(), strict=True)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(state_dict, *args, **keywords)
        self._count = None
