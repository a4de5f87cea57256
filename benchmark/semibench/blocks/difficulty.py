"""Class weights by learning difficulty: classes whose Dice falls weigh more (DHC, A&D, DTLP-Net)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semibench.contracts.method import IGNORE

TINY = 1e-8


class ClassDifficulty(nn.Module):
    """Tracks the Dice of each class, iteration by iteration, and turns it into class weights.

    With the Dice lambda_k of class k, its change Delta_k, and the ratio r_k of the new to the last value, a step adds
    min(Delta, 0) ln r to what is unlearned (du) and max(Delta, 0) ln r to what is learned (dl); neither is ever negative.
    The weights are w_k = w_lambda,k d_k^exponent with d_k = du_k / dl_k. The state is buffers of fixed shape.

    Rule "window" (DTLP-Net, eq. 3-6) sums over the last `window` steps, with w_lambda = 1 - lambda. A class that is neither
    present nor predicted does not change, and the first value of a class only starts its history.

    Rule "ema" (code of A&D) uses moving averages with factor 1 - 1 / window for du, dl and 1 - lambda (from 1), times the
    number of classes. The last Dice starts at 1e-8, and an absent class has Dice 1/2.

    Args:
        classes: number of classes K, background included.
        window: number of steps to look back.
        exponent: exponent of d_k.
        rule: "window" or "ema".

    Raises:
        ValueError: for fewer than two classes, a window below 1 or an unknown rule.
    """

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
        """Compute the Dice of each class over the batch; ignored positions do not count.

        Args:
            prediction: hard labels (B, *spatial).
            target: the reference, of the same shape, with IGNORE on padding.

        Returns:
            The Dice (K,), and bool (K,): whether the class is present or predicted.
        """
        counted = target != IGNORE
        kinds = self.classes
        predicted = torch.bincount(prediction[counted], minlength=kinds)[:kinds]
        true = torch.bincount(target[counted].long(), minlength=kinds)[:kinds]
        agreed = counted & (prediction == target)
        both = torch.bincount(prediction[agreed], minlength=kinds)[:kinds]
        size = (predicted + true).float()
        return (2.0 * both.float() + TINY) / (size + 2.0 * TINY), size > 0

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Take one step with hard labels.

        Args:
            prediction: hard labels (B, *spatial).
            target: the reference, of the same shape, with IGNORE on padding.

        Returns:
            The weights (K,) after the step.
        """
        return self.step(*self.dice(prediction, target))

    @torch.no_grad()
    def step(self, dice: Tensor, there: Tensor | None = None) -> Tensor:
        """Take one step with the Dice of each class.

        Args:
            dice: (K,).
            there: bool (K,), whether the class is present or predicted; None: all are.

        Returns:
            The weights (K,) after the step.
        """
        every_class = torch.ones_like(self.seen)
        present = every_class if there is None or self.rule == "ema" else there
        now = dice.to(self.last).clamp(min=TINY)
        change, ratio = now - self.last, (now / self.last.clamp(min=TINY)).log()
        counts = present & (every_class if self.rule == "ema" else self.seen)
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
            self.share.copy_(torch.where(present, 1.0 - now, self.share))
            self.slot.copy_((self.slot + 1) % self.window)
        self.last.copy_(torch.where(present, now, self.last))
        self.seen.logical_or_(present)
        return self.weights

    @property
    def ratio(self) -> Tensor:
        """d_k^exponent, (K,); 1e-8 is added to numerator and denominator."""
        return ((self.unlearned.sum(0) + TINY) / (self.learned.sum(0) + TINY)) ** self.exponent

    @property
    def weights(self) -> Tensor:
        """The weights now, (K,); 1 for a class without history (rule "ema": the number of classes)."""
        return self.ratio * self.share * (self.classes if self.rule == "ema" else 1.0)
