"""EPL, enhanced pseudo-labels for domain generalisation (Yao, Hu & Li, AAAI 2022), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, MethodOptions, Task, Term
from semibench.blocks import (
    Supervision,
    frozen_statistics,
    log_mean_softmax,
    masked_mean,
    mix_amplitude,
    paste,
    soft_dice,
    supervised_loss,
    voxel_kl,
)

SMOOTH = 0.1
"""Smoothing constant of the supervised Dice."""
RECIPE: Mapping[str, Any] = {
    "optimiser": "adamw", "lr": 1e-4, "weight_decay": 0.01, "labeled_batch": 32, "unlabeled_batch": 32, "patch": (288, 288),
}  # fmt: skip


def boxes_mask(size: Sequence[int], batch: int, boxes: int, area: tuple[float, float]) -> Tensor:
    """Draws several boxes for each sample, bool (B, *size): True inside an odd number of them (French et al., BMVC 2020).

    Each box has the share p / boxes of the image, p ~ U(area). Its sides, as shares of the image's, are p^u times
    boxes^(-1 / dims): in 2D u is uniform and the other exponent 1 - u; in 3D the three exponents are the gaps between two
    uniform numbers. It lies anywhere inside the image.
    """
    dims = len(size)
    share = area[0] + (area[1] - area[0]) * torch.rand(batch, boxes, 1, dtype=torch.float64)
    cuts = torch.rand(batch, boxes, dims - 1, dtype=torch.float64).sort(2).values
    ends = torch.cat([torch.zeros_like(share), cuts, torch.ones_like(share)], 2)
    sides = torch.tensor(tuple(size), dtype=torch.float64)
    length = (share ** ends.diff(dim=2) * boxes ** (-1.0 / dims) * sides).round()
    start = ((sides - length) * torch.rand(batch, boxes, dims, dtype=torch.float64)).round()
    mask = torch.zeros((batch, *size), dtype=torch.bool)
    for number in range(boxes):
        inside = torch.ones((batch, *size), dtype=torch.bool)
        for axis, side in enumerate(size):
            place = torch.arange(side, dtype=torch.float64)
            first, last = start[:, number, axis, None], (start + length)[:, number, axis, None]
            within = (place >= first) & (place < last)
            inside &= within.view(batch, *[side if other == axis else 1 for other in range(dims)])
        mask ^= inside
    return mask


class EPL(Method):
    """Cross pseudo supervision whose labels are the mean of two views of the style, and count less where the views disagree.

    F x is x with the low frequencies of another image's amplitude spectrum (`style`: "swap", box of half width floor(L
    side), L = .01; "mix": all frequencies, share U(0, .3)), both scaled to [0, 1] by their own range. M holds the positions
    inside an odd number of three boxes. With x' another unlabeled image, x_m = x (1 - M) + x' M, and F x_m the same of the
    views: y_b = argmax (o_b(x) + o_b(F x)) / 2, mixed as the images are, without gradient, for both networks b; V_b =
    KL(softmax o_b(F x_m) || softmax o_b(x_m)) per position; cross = mean exp(-V_2) CE(o_1(x_m), y_2) + mean exp(-V_1)
    CE(o_2(x_m), y_1); variance = mean V_1 + mean V_2. L = sum_b sum_c Dice_c(o_b(x_l), y) + 3 (cross + variance). V has a
    gradient in both terms, as in the code: it behaves like a variance that is learned. The Dice has plain sums over the
    batch and s = .1. No domain label is read.

    The code multiplies the *means* of exp(-V) and CE (`confidence` = "mean"). Its later configuration has weight 1.5 and
    batches of 8 (preset `code`); preset `printed` has its optimiser and batches of 32 with weight 3. Its histogram matching,
    which changes test images too, is left out. x' is the next image of the unlabeled batch (the code draws a second batch),
    the image that gives the style any other of both batches (the code: any training slice). Passes over views and mixed
    images leave the running statistics alone, which follow the whole images, labeled and unlabeled ones (the code: every
    pass moves them). The published networks are two DeepLabv3+ with ImageNet weights, on slices of 288 x 288.
    Scored: the mean of both softmaxes (published), the first network, the second.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "cross": Term(3.0, search=(0.5, 10.0), unlabeled=True),
        "variance": Term(3.0, search=(0.5, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "printed": {"recipe": RECIPE},
        "code": {
            "options": {"confidence": "mean"},
            "terms": {"cross": 1.5, "variance": 1.5},
            "recipe": {**RECIPE, "labeled_batch": 8, "unlabeled_batch": 8},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `epl`."""

        style: Literal["swap", "mix"] = Field(
            "swap", description="amplitude spectrum of a view: low frequencies of another image, or a mixture of both"
        )
        low: float = Field(
            0.01, gt=0.0, le=0.5, description="L, half width of the box that `swap` exchanges; useful range .005 to .1"
        )
        share: float = Field(
            0.3, ge=0.0, le=1.0, description="largest share of the other image in `mix`; useful range .1 to 1"
        )
        boxes: int = Field(3, ge=1, description="boxes of the mask that mixes two images; useful range 1 to 4")
        area: tuple[float, float] = Field(
            (0.25, 0.5), description="range of the share of the image in all boxes together"
        )
        confidence: Literal["voxel", "mean"] = Field(
            "voxel", description="exp(-V) weights the cross-entropy per position (the paper) or as a mean (the code)"
        )
        loss: Literal["dice", Supervision] = Field("dice", description="supervised loss; dice: sum over the classes")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """The range of the boxes' share must be one."""
        low, high = options.area
        return None if 0.0 < low <= high <= 1.0 else f"area: expected 0 < smallest <= largest <= 1, got {options.area}"

    def __init__(self, task: Task, backbones: Backbones, options: EPL.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.first, self.second = backbones(), backbones()

    def styled(self, images: Tensor, others: Tensor, valid: Tensor) -> Tensor:
        """Views of images (B, C, *spatial) in the style of random other images out of `others`, which begin with them."""
        options, count = self.options, len(images)
        step = torch.randint(1, max(len(others), 2), (count,), device=images.device)
        chosen = others[(torch.arange(count, device=images.device) + step) % len(others)]
        content, low, span = unit_range(images)
        style = unit_range(chosen)[0]
        if options.style == "swap":
            view = mix_amplitude(content, style, 1.0, low=options.low)
        else:
            view = mix_amplitude(content, style, options.share * torch.rand(count, device=images.device))
        return torch.where(valid.unsqueeze(1), (view * span + low).to(images.dtype), images)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, sum over the networks; cross, variance: unlabeled part."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        nets, image, valid = (self.first, self.second), unlabeled.image, unlabeled.valid
        sup = [self.supervised(net(labeled.image), labeled.target) for net in nets]
        view = self.styled(image, torch.cat([image, labeled.image]), valid)
        box = boxes_mask(image.shape[2:], len(image), self.options.boxes, self.options.area).to(image.device)
        image_m, view_m, valid_m = (paste(part, part.roll(1, 0), box) for part in (image, view, valid))
        logits, divergence, label = [], [], []
        for net in nets:
            with torch.no_grad():
                whole = net(image)
            with frozen_statistics(net):
                with torch.no_grad():
                    mean = (whole + net(view)) / 2
                logits.append(net(image_m))
                divergence.append(voxel_kl(logits[-1], net(view_m)))
            own = mean.argmax(1)
            label.append(paste(own, own.roll(1, 0), box).masked_fill(~valid_m, IGNORE))
        self.notes["agreement"] = masked_mean((label[0] == label[1]).float(), valid_m)
        cross = self.cross(logits[0], label[1], divergence[1], valid_m)
        cross = cross + self.cross(logits[1], label[0], divergence[0], valid_m)
        variance = masked_mean(divergence[0], valid_m) + masked_mean(divergence[1], valid_m)
        return {"sup": sup[0] + sup[1], "cross": cross, "variance": variance}

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """The supervised loss of a network."""
        if self.options.loss == "dice":
            return logits.shape[1] * soft_dice(logits, target, squared=False, smooth=SMOOTH)
        return supervised_loss(logits, target, self.options.loss)

    def cross(self, logits: Tensor, label: Tensor, divergence: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy against the other network's labels, weighted by exp(-V) of that network."""
        each = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="none")
        certain = (-divergence).exp()
        if self.options.confidence == "mean":
            return masked_mean(certain, valid) * masked_mean(each, valid)
        return masked_mean(certain * each, valid)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logarithm of the mean softmax of both networks, (B, K, *spatial)."""
        return log_mean_softmax((self.first(images), self.second(images)))

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The mean of both softmaxes, the first network, the second."""
        return {"mean": self, "first": self.first, "second": self.second}


def unit_range(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, C, *spatial) -> each sample scaled to [0, 1], its smallest value and its range (B, 1, ...)."""
    shape = (-1, *[1] * (images.ndim - 1))
    low, high = (ends.view(shape) for ends in torch.aminmax(images.float().flatten(1), dim=1))
    span = (high - low).clamp_min(1e-6)
    return (images - low) / span, low, span
