"""Weights of classes by how hard they are to learn: those whose Dice falls count more (DHC, A&D, DTLP-Net)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semibench.contracts.method import IGNORE

TINY = 1e-8


class ClassDifficulty(nn.Module):
    """w_k = w_lambda,k d_k^exponent, d_k = du_k / dl_k, from the Dice lambda_k of each class, iteration by iteration.

    With the change Delta_k of lambda_k and the ratio r_k of the new to the last value, a step adds min(Delta, 0) ln r
    to what is unlearned (du) and max(Delta, 0) ln r to what is learned (dl); both are never negative.

    rule "window" (DTLP-Net, eq. 3-6): sums over the last `window` steps, w_lambda = 1 - lambda; a class that is
    neither there nor predicted is left as it is, and the first value of a class only starts its history. rule "ema"
    (code of A&D): moving averages with factor 1 - 1 / window for du, dl and 1 - lambda (from 1), times the number of
    classes; the last Dice starts at 1e-8 and an absent class has Dice 1/2. Weights are those after the step. State:
    buffers of fixed shape."""

    last: Tensor
    learned: Tensor
    unlearned: Tensor
    share: Tensor
    seen: Tensor
    slot: Tensor

    def __init__(
        self, classes: int, *, window: int = 50, exponent: float = 0.2, rule: Literal["window", "ema"] = "window"
    ) -> None:
        super().__init__()
        if classes < 2 or window < 1 or rule not in ("window", "ema"):
            raise ValueError(
                f"expected two classes or more, a window of at least 1 and rule window or ema; got {classes}, {window}, {rule!r}"
            )
        self.classes, self.window, self.exponent, self.rule = classes, window, exponent, rule
        rows = window if rule == "window" else 1
        self.register_buffer("last", torch.full((classes,), TINY if rule == "ema" else 0.0))
        self.register_buffer("learned", torch.zeros(rows, classes))
        self.register_buffer("unlearned", torch.zeros(rows, classes))
        self.register_buffer("share", torch.ones(classes))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("slot", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def dice(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Hard labels (B, *spatial) of prediction and truth -> Dice (K,) over the batch, and bool (K,): the class is
        there or predicted. Ignored positions are left out."""
        counted = target != IGNORE
        kinds = self.classes
        found = torch.bincount(prediction[counted], minlength=kinds)[:kinds]
        true = torch.bincount(target[counted].long(), minlength=kinds)[:kinds]
        agreed = counted & (prediction == target)
        both = torch.bincount(prediction[agreed], minlength=kinds)[:kinds]
        size = (found + true).float()
        return (2.0 * both.float() + TINY) / (size + 2.0 * TINY), size > 0

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One step with hard labels (B, *spatial); returns the weights (K,)."""
        return self.step(*self.dice(prediction, target))

    @torch.no_grad()
    def step(self, dice: Tensor, there: Tensor | None = None) -> Tensor:
        """One step with the Dice (K,) of each class; there: bool (K,), None: all are. Returns the weights (K,)."""
        everywhere = torch.ones_like(self.seen)
        known = everywhere if there is None or self.rule == "ema" else there
        now = dice.to(self.last).clamp(min=TINY)
        change, ratio = now - self.last, (now / self.last.clamp(min=TINY)).log()
        counts = known & (everywhere if self.rule == "ema" else self.seen)
        gain = torch.where(counts, change.clamp(min=0.0) * ratio, torch.zeros_like(now))
        loss = torch.where(counts, change.clamp(max=0.0) * ratio, torch.zeros_like(now))
        if self.rule == "ema":
            part = 1.0 / self.window
            self.learned.lerp_(gain[None], part)
            self.unlearned.lerp_(loss[None], part)
            self.share.lerp_((1.0 - now)[None][0], part)
        else:
            row = self.slot.reshape(1)
            self.learned.index_copy_(0, row, gain[None])
            self.unlearned.index_copy_(0, row, loss[None])
            self.share.copy_(torch.where(known, 1.0 - now, self.share))
            self.slot.copy_((self.slot + 1) % self.window)
        self.last.copy_(torch.where(known, now, self.last))
        self.seen.logical_or_(known)
        return self.weights

    @property
    def ratio(self) -> Tensor:
        """(K,) d_k^exponent; 1e-8 is added to both parts."""
        return ((self.unlearned.sum(0) + TINY) / (self.learned.sum(0) + TINY)) ** self.exponent

    @property
    def weights(self) -> Tensor:
        """(K,) the weights now; 1 for a class without history (rule "ema": the number of classes)."""
        return self.ratio * self.share * (self.classes if self.rule == "ema" else 1.0)
