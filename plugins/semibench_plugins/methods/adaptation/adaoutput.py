"""AdaOutput, which is what medical tables call AdaptSegNet (Tsai et al., CVPR 2018), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Method, MethodOptions, Optimise, Optimiser, Task, Term
from semibench.blocks import Supervision, supervised_loss

SOURCE, TARGET = 0.0, 1.0
LEVELS = 5


class PatchCritic(nn.Module):
    """Scores patches of a softmax map with five convolutions: f, 2f, 4f, 8f, 1 channels, kernel 4, stride 2, leaky ReLU
    .2, no normalisation. Axes too short to halve (under 2) use kernel 3 and stride 1, so inputs under 32 also work. The
    scores are 4^3 for inputs of 128^3 and 3x3x2 for 112x112x80."""

    def __init__(self, dims: int, inputs: int, patch: Sequence[int], filters: int = 64) -> None:
        super().__init__()
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
        sides = list(patch)
        layers: list[nn.Module] = []
        for level in range(LEVELS):
            outputs = filters * 2**level if level < LEVELS - 1 else 1
            halved = [side >= 2 for side in sides]
            kernel = tuple(4 if yes else 3 for yes in halved)
            stride = tuple(2 if yes else 1 for yes in halved)
            layers.append(conv(inputs, outputs, kernel, stride=stride, padding=1))  # type: ignore[arg-type]
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            sides = [side // 2 if yes else side for side, yes in zip(sides, halved, strict=True)]
            inputs = outputs
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, probabilities: Tensor) -> Tensor:
        """(B, K, *spatial) -> scores (B, 1, *patches), logits of "this is target"."""
        return self.layers(probabilities)


class AdaOutput(Method):
    """The segmenter learns from labeled source samples and tries to make critics of its softmax maps mistake target
    samples for source samples. There are two levels: the main logits and an auxiliary head on the second finest decoder
    map.

    L = L_seg + .1 L_seg_aux + .001 BCE(D(P_t), source) + .0002 BCE(D_aux(P_t_aux), source); critic, on detached maps:
    per level BCE(D(P_s), source) / 2 + BCE(D(P_t), target) / 2, source 0 and target 1, means over the patch map. Labeled
    samples are the source, unlabeled samples the target. The segmenter uses the recipe's optimiser (the paper: 2.5e-4
    and a pretrained DeepLab); the critics use Adam 1e-4, betas (.9, .99), no decay. The supervised loss is the paper's
    cross-entropy; the option `loss` offers those of the medical literature. Preset `ls`: least squares, weight .01.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "sup_aux": Term(0.1, search=(0.01, 0.5)),
        "adv": Term(1e-3, search=(1e-4, 1e-2), unlabeled=True),
        "adv_aux": Term(2e-4, search=(2e-5, 2e-3), unlabeled=True),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ls": {"options": {"adversarial": "least-squares"}, "terms": {"adv": 1e-2, "adv_aux": 2e-3}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `adaoutput`."""

        loss: Supervision = Field("cross_entropy", description="supervised loss, at both levels")
        adversarial: Literal["bce", "least-squares"] = Field("bce", description="loss that trains the critics")
        critic_lr: float = Field(1e-4, gt=0.0, description="useful range 1e-5 to 1e-3")
        critic_filters: int = Field(64, ge=1, description="channels of the critics' first convolution")

    def __init__(self, task: Task, backbones: Backbones, options: AdaOutput.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        classes = len(task.classes)
        self.net = backbones()
        self.level = min(1, len(self.net.decoder.channels) - 1)
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if task.dims == 2 else nn.Conv3d
        self.aux = conv(self.net.decoder.channels[self.level], classes, 1)
        self.critics = nn.ModuleList(
            PatchCritic(task.dims, classes, task.patch, options.critic_filters) for _ in range(2)
        )

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` updates the segmenter and its auxiliary head, `critics` both critics."""
        settings = {"betas": (0.9, 0.99), "weight_decay": 0.0}
        return {
            "net": Optimiser((self.net, self.aux)),
            "critics": Optimiser((self.critics,), "adam", lr=self.options.critic_lr, settings=settings),
        }

    def logits_by_level(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) -> main and auxiliary logits, both (B, K, *spatial)."""
        size = images.shape[2:]
        maps = self.net.decoder(self.net.encode(images))
        return self.net.enlarge(self.net.decoder.head(maps[0]), size), self.net.enlarge(
            self.aux(maps[self.level]), size
        )

    def critic_loss(self, scores: Tensor, domain: float) -> Tensor:
        """Returns the mean loss of critic scores against SOURCE or TARGET."""
        goal = torch.full_like(scores, domain, dtype=torch.float32)
        if self.options.adversarial == "bce":
            return F.binary_cross_entropy_with_logits(scores.float(), goal)
        return F.mse_loss(scores.float(), goal)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the segmenter against fixed critics, then the critics on the segmenter's softmax maps."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        source = self.logits_by_level(labeled.image)
        target = self.logits_by_level(unlabeled.image)
        sup, sup_aux = (supervised_loss(z, labeled.target, self.options.loss) for z in source)
        source_maps, target_maps = ([z.float().softmax(1) for z in side] for side in (source, target))
        adv, adv_aux = (
            self.critic_loss(critic(p), SOURCE) for critic, p in zip(self.critics, target_maps, strict=True)
        )
        optimise({"sup": sup, "sup_aux": sup_aux, "adv": adv, "adv_aux": adv_aux}, on=["net"])
        losses = [
            0.5 * self.critic_loss(critic(p.detach()), domain)
            for maps, domain in ((source_maps, SOURCE), (target_maps, TARGET))
            for critic, p in zip(self.critics, maps, strict=True)
        ]
        optimise({"critic": torch.stack(losses).sum()}, on=["critics"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> main logits (B, K, *spatial)."""
        return self.net(images)
