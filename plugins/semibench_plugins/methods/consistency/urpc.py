"""URPC, uncertainty rectified pyramid consistency (Luo et al., MICCAI 2021; Medical Image Analysis 2022), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Losses, Method, MethodOptions, Ramp, Task, Term, UsageError
from semibench.blocks import (
    FeatureDropout,
    FeatureNoise,
    Supervision,
    log_mean_softmax,
    masked_mean,
    supervised_loss,
)  # fmt: skip
from semibench_plugins.datasets.paper_budgets import SGD_POLY, SSL4MIS_RECIPE

Divergence = Literal["from-scale", "from-mean"]
Perturbation = Literal["features", "dropout", "none"]
CONV: Mapping[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
DROPOUT = (0.2, 0.3, 0.5)
"""Probabilities of the channel dropout before the heads in the 3D code, from the second finest map on."""
EPSILON = 1e-8


class URPC(Method):
    """One network predicts at four scales of its decoder. On unlabeled samples the scales are to agree with their mean, less
    so where they can't.

    The finest decoder map has the network's head, the next three have a convolution each; p_s is the softmax of the logits
    after enlarging them to full size, m = mean_s p_s. With the divergence D_s = sum_c p_s ln(p_s / m) at each position,
    consistency = mean_s [mean (m - p_s)^2 e^(-D_s) / mean e^(-D_s)], uncertainty = mean_s mean D_s, L_sup = mean_s of the
    supervised losses, L = L_sup + w (consistency + uncertainty). w rises to .1 in 200 steps over the run. Nothing is
    detached: gradients flow through m and e^(-D_s), too. Padding is left out.

    The published code has the divergence sum_c m ln(m / p_s) (divergence="from-mean", all presets). In 2D its heads are 3x3
    convolutions, logits are enlarged by nearest neighbours, and in training the coarser maps are perturbed: noise at 1/2,
    feature dropout at 1/4, dropout .5 at 1/8 of the size. (A fourth head that it builds and never uses is left out: 9,220 of
    its 1,831,060 parameters for four classes.) In 3D the code has a network of its own; tables of the left atrium put the
    heads on a V-Net, as here: 1x1x1 convolutions behind channel dropout .2, .3, .5, linear enlargement. (The code's network
    also drops channels of the finest map, .1, and hands each dropped map on to the next level; here only the coarser heads
    see them.)

    Preset `ssl4mis-3d` has the recipe and the loss of the 3D script: 60000 iterations, 400 steps, cross-entropy and the Dice
    of all classes. Preset `la` has 6000 iterations, 40 steps, and the Dice of the foreground instead (ours), so that rows of
    a table have one supervised loss.

    On the toy of the learning check (three labels, 200 iterations, seeds 0 to 2) the Dice is .80, .88, .73 by default, .75, .88,
    .73 with the code's divergence, and .76, .88, .68 with supervised heads alone; one supervised head has .84, .88, .79. So
    it is the supervision of all scales that costs there, and agreement gives some of it back.

    SSL4MIS's script sets the learning rate of a step only after it, so its rate lags by one step; here it doesn't.
    Scored: the finest scale (as published).
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 10.0), unlabeled=True),
        "uncertainty": Term(0.1, Ramp("sigmoid", levels=200), search=(0.01, 10.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {"options": {"divergence": "from-mean"}, "recipe": SSL4MIS_RECIPE},
        "ssl4mis-3d": {
            "options": {"divergence": "from-mean"},
            "terms": {"consistency": {"ramp": {"levels": 400}}, "uncertainty": {"ramp": {"levels": 400}}},
            "recipe": {**SGD_POLY, "lr": 0.1, "iterations": 60000, "labeled_batch": 2, "unlabeled_batch": 2},
        },
        "la": {
            "options": {"divergence": "from-mean", "loss": "dice_ce_foreground"},
            "terms": {"consistency": {"ramp": {"levels": 40}}, "uncertainty": {"ramp": {"levels": 40}}},
            "recipe": {"iterations": 6000, "labeled_batch": 2, "unlabeled_batch": 2},
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `urpc`."""

        scales: int = Field(4, ge=2, description="number of predictions, from the finest decoder map on; useful 2 to 4")
        divergence: Divergence = Field(
            "from-scale",
            description="D_s: of the scale from the mean (the paper) or of the mean from the scale (the code)",
        )
        perturb: Perturbation | None = Field(
            None,
            description="what happens to the coarser maps before their heads in training; default: features in 2D (noise, "
            "feature dropout, dropout), dropout of channels in 3D",
        )
        loss: Supervision = Field("dice_ce", description="supervised loss, at each scale")

    def __init__(self, task: Task, backbones: Backbones, options: URPC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        channels = self.net.decoder.channels
        if len(channels) < options.scales:
            raise UsageError(
                f"urpc predicts at {options.scales} scales, but the decoder of {type(self.net).__name__} has "
                f"{len(channels)} maps: choose another backbone or a smaller --set scales"
            )
        side = 3 if task.dims == 2 else 1
        self.heads = nn.ModuleList(
            CONV[task.dims](count, len(task.classes), side, padding=side // 2) for count in channels[1 : options.scales]
        )
        perturb = options.perturb or ("features" if task.dims == 2 else "dropout")
        self.perturbations = nn.ModuleList(_perturbation(perturb, level, task.dims) for level in range(len(self.heads)))
        self.mode = "nearest" if task.dims == 2 else "trilinear"

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial) of each scale, finest first, from one pass."""
        size = images.shape[2:]
        finest, *coarser = self.net.decoder(self.net.encode(images))
        outputs = [self.net.enlarge(self.net.decoder.head(finest), size)]
        for head, perturb, maps in zip(self.heads, self.perturbations, coarser, strict=False):
            outputs.append(F.interpolate(head(perturb(maps)), size, mode=self.mode))
        return outputs

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, mean over the scales; consistency and uncertainty: unlabeled part without padding."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        sizes = [len(labeled.image), len(unlabeled.image)]
        scales = [logits.split(sizes) for logits in self.pyramid(torch.cat([labeled.image, unlabeled.image]))]
        sup = [supervised_loss(logits, labeled.target, self.options.loss) for logits, _ in scales]
        consistency, uncertainty = rectified_agreement(
            [logits for _, logits in scales], unlabeled.valid, self.options.divergence
        )
        self.notes["divergence"] = uncertainty.detach()
        return {"sup": torch.stack(sup).mean(), "consistency": consistency, "uncertainty": uncertainty}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the finest scale; the other heads don't run."""
        return self.net(images)


def _perturbation(kind: Perturbation, level: int, dims: int) -> nn.Module:
    """What the map of a coarser scale goes through in training; level 0 is the second finest map."""
    if kind == "dropout":
        return (nn.Dropout2d if dims == 2 else nn.Dropout3d)(DROPOUT[min(level, len(DROPOUT) - 1)])
    if kind == "features":
        return (FeatureNoise(0.3), FeatureDropout(), nn.Dropout(0.5))[min(level, 2)]
    return nn.Identity()


def rectified_agreement(logits: Sequence[Tensor], valid: Tensor, divergence: Divergence) -> tuple[Tensor, Tensor]:
    """Rectified square and divergence of scales from their mean, both averaged over scales and valid positions.

    logits: (B, K, *spatial) of each scale. valid: (B, *spatial). Everything has a gradient.
    """
    log_mean = log_mean_softmax(logits)
    mean = log_mean.exp()
    squares, divergences = [], []
    for each in logits:
        log_p = each.float().log_softmax(1)
        p = log_p.exp()
        apart = (p * (log_p - log_mean) if divergence == "from-scale" else mean * (log_mean - log_p)).sum(1)
        weight = (-apart).exp()
        square = (mean - p).square().mean(1)
        squares.append(masked_mean(square * weight, valid) / (masked_mean(weight, valid) + EPSILON))
        divergences.append(masked_mean(apart, valid))
    return torch.stack(squares).mean(), torch.stack(divergences).mean()
