"""LDDG, linear-dependency domain generalisation (Li et al., NeurIPS 2020), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, Method, MethodOptions, Stream, Task, Term
from semibench.blocks import Code, Supervision, class_counts, content_rank, masked_mean, supervised_loss

CONV: Mapping[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def weighted_cross_entropy(logits: Tensor, target: Tensor, foreground: float) -> Tensor:
    """Mean over positions of w_y CE, w_0 = 1, w_c = foreground / share of class c; 1 for a class that doesn't occur.

    For two classes this is the binary cross-entropy with pos_weight = foreground / share of the foreground.
    """
    counts = class_counts(target, logits.shape[1])
    weight = torch.where(counts > 0, foreground * counts.sum() / counts.clamp(min=1.0), torch.ones_like(counts))
    weight[0] = 1.0
    total = F.cross_entropy(logits.float(), target, weight=weight, ignore_index=IGNORE, reduction="sum")
    return total / counts.sum().clamp(min=1.0)


def gaussian_kl(mean: Tensor, logvar: Tensor, valid: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) per element, averaged over channels and valid positions."""
    return masked_mean(0.5 * (mean.square() + logvar.exp() - 1.0 - logvar), valid.unsqueeze(1))


class PixelEncoder(nn.Module):
    """Mean and logarithm of the variance of each position's latent: two times 1x1 convolution, ReLU, 1x1 convolution."""

    def __init__(self, dims: int, width: int, latent: int) -> None:
        super().__init__()
        conv = CONV[dims]
        self.mean, self.logvar = (
            nn.Sequential(conv(width, width, 1), nn.ReLU(inplace=True), conv(width, latent, 1)) for _ in range(2)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, *spatial) -> both (B, latent, *spatial)."""
        return self.mean(features), self.logvar(features)


class LDDG(Method):
    """The latents of all source domains together should have no more dimensions than there are classes.

    The last features of the network (64 channels) give each position N(mu, s^2) with 8 dimensions, z = mu + s e, e ~ N(0, 1);
    logits are a 1x1 convolution of z, in inference of mu.
    sup = mean w_y CE, w = 2 / share of a foreground class in the batch, 1 for the background (two classes: the published BCE);
    kl = mean KL(N(mu, s^2) || N(0, 1)) over positions and dimensions; rank = sigma_{K+1}(Z), the first singular value beyond
    the number K of classes, Z the z of 2,000 random positions of the batch. L = sup + .01 kl + .001 rank.
    Labeled samples alone are used. The recipe's labeled batch is divided among three source domains, so that each has its
    share in every batch (published: 24 slices).

    The published code segments the spinal cord and then, with a second network, the grey matter inside it. This is one
    network for any number of classes; the cord's has weight .02 for kl and the grey matter's 1 / share for its class (preset
    `code`: weight .02, with the optimiser, batch and patch). The code draws N(mu, s), multiplies it by s and adds mu once
    more; here e ~ N(0, 1). It lowers the rate tenfold every 80 of 200 epochs and chooses weights on the target domain;
    here the schedule is the recipe's and the last weights count. The features come from the backbone's head.
    Scored: the network.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "kl": Term(0.01, search=(1e-4, 0.1)),
        "rank": Term(0.001, search=(1e-4, 0.1)),
    }
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled", size=1 / 3, per_domain=True)}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "terms": {"kl": 0.02},
            "recipe": {
                "optimiser": "adam", "lr": 1e-4, "weight_decay": 1e-8, "labeled_batch": 24, "patch": (144, 144),
            },
        },
    }  # fmt: skip

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `lddg`."""

        width: int = Field(64, ge=1, description="channels of the network's last features and of the hidden layers")
        latent: int = Field(8, ge=2, description="dimensions of a latent, more than classes; useful range K + 1 to 16")
        samples: int = Field(2000, ge=16, description="positions whose latents make Z; useful range 500 to 5000")
        foreground: float = Field(
            2.0, gt=0.0, description="total weight of a foreground class in the loss; useful range 1 to 4"
        )
        loss: Literal["weighted", Supervision] = Field("weighted", description="supervised loss; weighted: published")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Latents need a dimension beyond the number of classes, and domains something to have in common."""
        if options.latent <= len(task.classes):
            return (
                f"latent: expected more dimensions than the {len(task.classes)} classes, got {options.latent}; set "
                f"method.latent={len(task.classes) + 1} or more"
            )
        if options.samples <= len(task.classes):
            return (
                f"samples: expected more positions than the {len(task.classes)} classes, got {options.samples}; set "
                f"method.samples={len(task.classes) + 1} or more"
            )
        if len(task.domains) < 2:
            return f"needs at least two training domains, but the split has one: {', '.join(task.domains)}"
        return None

    def __init__(self, task: Task, backbones: Backbones, options: LDDG.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.classes = len(task.classes)
        self.net = backbones(outputs=options.width)
        self.encoder = PixelEncoder(task.dims, options.width, options.latent)
        self.head = CONV[task.dims](options.latent, self.classes, 1)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup, kl, rank: labeled samples of all domains."""
        samples = batch["labeled"]
        mean, logvar = (part.float() for part in self.encoder(self.net(samples.image)))
        latent = Code(mean, logvar).sample()
        logits = self.head(latent)
        return {
            "sup": self.supervised(logits, samples.target),
            "kl": gaussian_kl(mean, logvar, samples.valid),
            "rank": content_rank(latent, self.classes, positions=self.options.samples, valid=samples.valid),
        }

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """The supervised loss."""
        if self.options.loss == "weighted":
            return weighted_cross_entropy(logits, target, self.options.foreground)
        return supervised_loss(logits, target, self.options.loss)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial), from the mean of the latents."""
        return self.head(self.encoder.mean(self.net(images)))
