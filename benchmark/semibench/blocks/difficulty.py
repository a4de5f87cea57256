"""Class weights by learning difficulty: classes whose Dice falls weigh more (DHC, A&D, DTLP-Net)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semibench.contracts.method import IGNORE

TINY = 1e-8


class ClassDifficulty(nn.Module):
    """Weights classes by how hard they are to learn: classes whose Dice falls count more (DHC, A&D, DTLP-Net).

    w_k = w_lambda,k d_k^exponent with d_k = du_k / dl_k, from the Dice lambda_k of each class, iteration by iteration. With the
    change Delta_k of lambda_k and the ratio r_k of the new to the last value, a step adds min(Delta, 0) ln r to what is
    unlearned (du) and max(Delta, 0) ln r to what is learned (dl); both are never negative. The state consists of buffers of
    fixed shape, so it is saved and resumed with the method.

    Args:
        classes: K, background included.
        window: iterations that the weights look back.
        exponent: exponent of d_k.
        rule: "ema" (code of A&D) averages du, dl and 1 - lambda (which starts at 1) with factor 1 - 1 / window and multiplies by
            the number of classes K; the last Dice starts at 1e-8, and an absent class has Dice 1/2. Since the first Dice
            counts as a great gain, the weights start at K or below.
            "window" (DTLP-Net, eq. 3-6) sums over the last `window` steps, with w_lambda = 1 - lambda; a class that is
            neither present nor predicted keeps its state, and the first value of a class only starts its history. A class
            that fell but never rose so far has dl = 0, so its weight depends on the 1e-8 in the denominator: in the first
            steps weights of 36 were seen, where .5 is usual later. Nothing is clipped.

    Raises:
        ValueError: for fewer than two classes, an empty window or an unknown rule.

    Examples:
        >>> ClassDifficulty(3).update(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]])).shape
        torch.Size([3])
    """

    last: Tensor
    learned: Tensor
    unlearned: Tensor
    share: Tensor
    seen: Tensor
    slot: Tensor

    def __init__(
        self, classes: int, *, window: int = 50, exponent: float = 0.2, rule: Literal["ema", "window"] = "ema"
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
        """Computes the Dice of each class over a batch, without ignored positions.

        Args:
            prediction: predicted labels (B, *spatial).
            target: true labels (B, *spatial), with IGNORE where nothing counts.

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
        """Takes one step from predicted and true labels (B, *spatial); returns the weights (K,)."""
        return self.step(*self.dice(prediction, target))

    @torch.no_grad()
    def step(self, dice: Tensor, there: Tensor | None = None) -> Tensor:
        """Takes one step from the Dice of each class.

        Args:
            dice: (K,).
            there: bool (K,), which classes are present or predicted; None: all.

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
        """The current weights (K,); 1 for a class without history (with rule "ema": the number of classes)."""
        return self.ratio * self.share * (self.classes if self.rule == "ema" else 1.0)
