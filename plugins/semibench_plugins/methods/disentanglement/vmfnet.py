"""vMFNet (Liu et al., MICCAI 2022), compositional parts of images as von Mises-Fisher kernels, in 2D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import (
    Backbones,
    Batch,
    Clock,
    Method,
    MethodOptions,
    Optimise,
    Optimiser,
    Pools,
    Stage,
    Task,
    Term,
)
from semibench.blocks import VMFKernels, evaluating, exchange_batch_norm, fit_vmf_mixture, masked_mean, norm_of
from semibench_plugins.methods.disentanglement.supervision import TURNED, dice_sum_ce, mnms_recipe

FIRST, SECOND = "reconstruct", "compose"


def drawing_head(inputs: int, width: int, outputs: int, *, linear: bool) -> nn.Sequential:
    """Two convolutions, a transposed one that doubles the size, two convolutions, and one of kernel 1.

    linear: nothing but convolutions; otherwise batch norm and ReLU follow those of kernel 3."""

    def convolution(before: int) -> list[nn.Module]:
        layer = nn.Conv2d(before, width, 3, padding=1)
        return [layer] if linear else [layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *convolution(inputs), *convolution(width), nn.ConvTranspose2d(width, width, 2, stride=2),
        *convolution(width), *convolution(width), nn.Conv2d(width, outputs, 1),
    )  # fmt: skip


class VMFNet(Method):
    """The features at each position become shares of a few kernels, directions that stand for parts of images; from the shares
    alone one head segments, and from the features put together again of the kernels another one draws the image.

    f is the decoder map of the backbone at half the resolution; a_j = exp(30 cos(f, mu_j)) where the cosine is positive,
    divided by the sum over the 12 kernels; f' = sum_j a_j mu_j. L = |R(f') - x| + sum over images of mean (1 - max_j cos(f,
    mu_j)), f constant, + seg(S(a)), seg = sum of the K Dice losses + CE. Unlabeled images have the first two, in a step of
    their own. Before, the backbone learns to draw its input (L1 of its last layer) for a twentieth of the run, and the
    kernels are fitted to 500 features of each training image (of random ones where there are more than 200), as directions
    of a mixture with concentration 30 (k-means++, then EM). R is linear: convolutions alone. Kernels are normalised in the
    cosine, not in f', as in the code.

    Where this differs: the code's S ends in a sigmoid, of which its cross-entropy takes a log-softmax; here S ends in logits. Its
    fitted kernels came from another layer than the one it uses. The U-Nets here have more or fewer channels at half the
    resolution than its 64 ("ssl4mis" 32, "34m" 128); a backbone's second finest map is taken, whatever its resolution, and
    heads double it. A decoder always returns all its maps, so the finest one is computed, too, and not used: a sixth of the
    network's forward pass. Padding counts in the second loss, as in the code, and not in the others.

    The backbone and the segmenting head have the recipe's optimiser. Kernels and drawing head have Adam with a rate of their own,
    1e-3; the published rate of everything is 1e-4 (preset `mnms`). Scored: the segmenting head.
    """

    terms: Mapping[str, Term] = {
        "first_rec": Term(),
        "seg": Term(),
        "rec": Term(search=(0.1, 5.0)),
        "cluster": Term(search=(0.1, 5.0)),
        "rec_u": Term(search=(0.1, 5.0), unlabeled=True),
        "cluster_u": Term(search=(0.1, 5.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mnms": {"options": {"parts_lr": 1e-4}, "recipe": mnms_recipe(1e-4, 288, TURNED)},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `vmfnet`."""

        kernels: int = Field(12, ge=2, description="number of kernels; useful range 8 to 32")
        kappa: float = Field(30.0, gt=0.0, description="concentration of the kernels; useful range 10 to 50")
        first: float = Field(
            0.05, gt=0.0, lt=1.0, description="share of the run in which the backbone learns to draw its input"
        )
        positions: int = Field(500, ge=1, description="features of each image to which the kernels are fitted")
        most: int = Field(100_000, ge=100, description="largest number of these features, over all images")
        width: int = Field(64, ge=1, description="channels of both heads")
        parts_lr: float = Field(1e-3, gt=0.0, description="rate of kernels and drawing head; useful range 1e-4 to 2e-3")

    def __init__(self, task: Task, backbones: Backbones, options: VMFNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones(outputs=task.channels)
        self.level = min(1, len(self.net.decoder.channels) - 1)
        channels = self.net.decoder.channels[self.level]
        self.kernels = VMFKernels(options.kernels, channels, options.kappa)
        self.renderer = drawing_head(channels, options.width, task.channels, linear=True)
        self.segmentor = exchange_batch_norm(
            drawing_head(options.kernels, options.width, len(task.classes), linear=False), norm_of(self.net)
        )

    def stages(self) -> Sequence[Stage]:
        """The backbone learns to draw its input; then everything is trained."""
        return Stage(FIRST, self.options.first), Stage(SECOND, 1.0 - self.options.first)

    def begin(self, stage: str, pools: Pools) -> None:
        """Before the second stage, fits the kernels to features of the training images."""
        if stage == SECOND:
            kernels = fit_vmf_mixture(self.collected(pools), self.options.kernels, kappa=self.options.kappa)
            with torch.no_grad():
                self.kernels.kernels.copy_(kernels)

    @torch.no_grad()
    def collected(self, pools: Pools) -> Tensor:
        """Features (N, channels), N at most `most`, at random positions of training images, without padding: of all images, or of
        as many random ones as are needed."""
        images = sum(len(samples.image) for samples in pools.batches("all"))
        chosen = torch.zeros(images, dtype=torch.bool)
        chosen[torch.randperm(images)[: -(-self.options.most // self.options.positions)]] = True
        found, first = [], 0
        with evaluating(self.net):
            for samples in pools.batches("all"):
                read = chosen[first : first + len(samples.image)].to(samples.image.device)
                first += len(samples.image)
                if not read.any():
                    continue
                features = self.features(samples.image[read])
                inside = self.net.enlarge(samples.valid[read].unsqueeze(1).float(), features.shape[2:]).flatten(1) > 0.5
                for vectors, counted in zip(features.flatten(2).transpose(1, 2), inside, strict=True):
                    usable = vectors[counted]
                    found.append(usable[torch.randperm(len(usable))[: self.options.positions].to(usable.device)])
        return torch.cat(found)[: self.options.most]

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains what is tested but the kernels, `parts` the kernels and the drawing head."""
        parts = Optimiser((self.kernels, self.renderer), "adam", self.options.parts_lr, settings={"weight_decay": 0.0})
        return {"net": Optimiser((self.net, self.segmentor)), "parts": parts}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """A step on labeled images and one on unlabeled images; in the first stage, one on both."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        if clock.stage == FIRST:
            images, valid = torch.cat([labeled.image, unlabeled.image]), torch.cat([labeled.valid, unlabeled.valid])
            optimise({"first_rec": masked_mean((self.net(images) - images).abs(), valid.unsqueeze(1))}, on=["net"])
            return
        losses, activations = self.composed(labeled.image, labeled.valid)
        logits = self.net.enlarge(self.segmentor(activations), labeled.image.shape[2:])
        optimise({"seg": dice_sum_ce(logits, labeled.target), **losses}, on=["net", "parts"])
        losses, _ = self.composed(unlabeled.image, unlabeled.valid)
        optimise({f"{name}_u": loss for name, loss in losses.items()}, on=["net", "parts"])

    def composed(self, images: Tensor, valid: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses rec and cluster, and the activations (B, kernels, *s)."""
        features = self.features(images)
        activations = self.kernels(features)
        drawn = self.drawn(activations, images)
        losses = {
            "rec": masked_mean((drawn - images).abs(), valid.unsqueeze(1)),
            "cluster": self.kernels.distance(features),
        }
        return losses, activations

    def features(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> the second finest decoder map."""
        return self.net.decoder(self.net.encode(images))[self.level]

    def drawn(self, activations: Tensor, images: Tensor) -> Tensor:
        """Activations (B, kernels, *s) -> reconstructions of the size of these images."""
        return self.net.enlarge(self.renderer(self.kernels.recomposed(activations)).float(), images.shape[2:])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net.enlarge(self.segmentor(self.kernels(self.features(images))), images.shape[2:])

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside images: the drawn ones, and the kernel that explains each position best, numbered from 1."""
        activations = self.kernels(self.features(images))
        parts = activations.argmax(1, keepdim=True).float() + 1.0
        return {
            "reconstruction": self.drawn(activations, images),
            "nearest kernel": self.net.enlarge(parts, images.shape[2:]),
        }
