"""PnP-AdaNet, plug-and-play adversarial domain adaptation (Dou et al., IEEE Access 2019), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import (
    Backbone,
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
    UnsupportedError,
)
from semibench.blocks import (
    Supervision,
    clip_weights,
    evaluating,
    frequency_weighted_loss,
    gradient_penalty,
    supervised_loss,
)
from semibench_plugins.methods.adaptation.adaoutput import PatchCritic
from semibench_plugins.methods.adaptation.resizing import resized

STRIDE = 4
"""Of the grid on which the critic compares features."""
JOINED = 32
"""Channels to which all levels are joined."""
PENALTY = 10.0
SMOOTH = 1e-7
"""Of the Dice."""
DECAY = 1e-4
"""Of the weights of the copied levels in the stage `adapt`."""


class PnPAdaNet(Method):
    """A segmenter learns on the source. Its first levels are then copied for the target and trained against two critics, so
    that target features look like source features to the higher levels, which stay as they are.

    Stage `source`: L = CE_w + Dice on labeled (source) samples, CE weighted by 1 - class frequency. Stage `adapt`: the
    feature critic D sees all encoder maps from the copied levels' last one on, the finest decoder map, the logits and their
    argmax, resized to stride 4, side by side; the mask critic D_m sees the softmax. Critics: L = E[D(f_t)] - E[D(f_s)] + the
    same of D_m, their weights clipped to +-.03. First levels: L = -E[D(f_t)] - .3 E[D_m(p_t)]. Both use RMSprop at 3e-4. The
    critics learn in every iteration, each with a batch of its own, the levels in each `critic_steps`-th one and not in
    the first tenth of the stage (published: 20100 of 140100 iterations). lipschitz="penalty" replaces the clipping by the
    gradient penalty of WGAN-GP with weight 10.

    Published networks and numbers are of 2D slices with a dilated residual network, which is cut between its convolutions;
    here the backbone is the run's and is cut between encoder levels. The higher levels have the running statistics of the
    source; those of the copied levels follow the target. Published are 20 critic steps (21 and more later on) for one of the
    levels, the preset `published`; 5 are ours, because budgets here are about a tenth of the published one. The authors multiply
    all adversarial losses, the decay of weights included, by .002; we leave it out, since RMSprop hardly sees a common factor
    (theirs adds its constant inside the root, so that small gradients make smaller steps with it). The decay is 1e-4 for the
    levels and that divided by `critic_steps` for the critics. The mask critic sees the softmax, in the authors' code the argmax,
    through which nothing flows to the levels. The rate follows the poly schedule instead of .98 for each 100 steps, and the
    first stage has the recipe's optimiser, in the preset `published` Adam at 1e-3 with batches of 6 + 6.

    Seen on a toy whose target has half the contrast and another noise, 200 iterations, seed 0: Dice .84 on the target, labels
    alone .09. It is .84 without both adversarial terms, too: there the running statistics of the copied levels adapt, and
    the critics' 18 updates of them add nothing. Where the target is the negative of the source it fails (.00, labels alone .05).

    Scored: the copied levels with the higher levels; in the stage `source` the segmenter.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "features": Term(1.0, active=(0.1, float("inf")), search=(0.1, 10.0)),
        "masks": Term(0.3, active=(0.1, float("inf")), search=(0.03, 1.0)),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {
            "options": {"critic_steps": 20},
            "recipe": {
                "optimiser": "adam", "lr": 1e-3, "weight_decay": 1e-4, "labeled_batch": 6, "unlabeled_batch": 6,
            },
        },
    }  # fmt: skip
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"critic_steps": 1}
    adapted: Tensor

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `pnp-adanet`."""

        source_share: float = Field(
            0.5, gt=0.0, lt=1.0, description="share of the budget of the source stage; useful range .3 to .7"
        )
        levels: int = Field(2, ge=1, description="encoder levels that are copied for the target; useful range 1 to 3")
        critic_steps: int = Field(
            5, ge=1, description="critic steps for each step of the copied levels; useful range 1 to 20"
        )
        lipschitz: Literal["clip", "penalty"] = Field("clip", description="what bounds the slope of the critics")
        clip: float = Field(0.03, gt=0.0, description="greatest weight of the critics; useful range .01 to .1")
        lr: float = Field(3e-4, gt=0.0, description="rate of copied levels and critics; useful range 1e-5 to 1e-3")
        critic_filters: int = Field(64, ge=1, description="channels of the critics' first convolution with stride 2")
        loss: Literal["class_weighted"] | Supervision = Field("class_weighted", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: PnPAdaNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net, self.target = backbones(), backbones()
        if "stages" not in self.net.provides:
            raise UnsupportedError(
                f"pnp-adanet copies the first levels of an encoder: expected a backbone with `stages`, such as unet or "
                f"vnet, got {type(self.net).__name__}"
            )
        self.cut = min(options.levels, len(self.net.channels) - 1)
        self.target.requires_grad_(False)
        self.first_levels.requires_grad_(True)
        classes = len(task.classes)
        seen = sum(self.net.channels[self.cut - 1 :]) + self.net.decoder.channels[0] + classes + 1
        self.size = tuple(max(side // STRIDE, 1) for side in task.patch)
        join = (nn.Conv2d, nn.Conv3d)[task.dims - 2](seen, JOINED, 1)
        patches = PatchCritic(task.dims, JOINED, self.size, options.critic_filters)
        self.feature_critic = nn.Sequential(join, nn.LeakyReLU(0.2), patches)
        self.mask_critic = PatchCritic(task.dims, classes, task.patch, options.critic_filters)
        self.register_buffer("adapted", torch.zeros((), dtype=torch.bool))

    @property
    def first_levels(self) -> nn.ModuleList:
        """The encoder levels that are copied for the target."""
        return nn.ModuleList(self.target.stages[: self.cut])  # type: ignore[index]

    def stages(self) -> Sequence[Stage]:
        """`source` trains the segmenter, `adapt` the copied levels and the critics."""
        share = self.options.source_share
        return Stage("source", share), Stage("adapt", 1.0 - share)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains the segmenter, `levels` the copied levels, `critics` both critics."""
        lr, critics = self.options.lr, (self.feature_critic, self.mask_critic)
        levels_decay, critics_decay = (
            {"momentum": 0.0, "weight_decay": decay} for decay in (DECAY, DECAY / self.options.critic_steps)
        )
        return {
            "net": Optimiser((self.net,)),
            "levels": Optimiser((self.first_levels,), "rmsprop", lr, settings=levels_decay),
            "critics": Optimiser(critics, "rmsprop", lr, settings=critics_decay),
        }

    def begin(self, stage: str, pools: Pools) -> None:
        """Copies the segmenter for the target."""
        if stage == "adapt":
            self.target.load_state_dict(self.net.state_dict())
            self.adapted.fill_(True)

    def train(self, mode: bool = True) -> PnPAdaNet:
        """The higher levels of the target path stay in eval mode: they are the source's, statistics included."""
        super().train(mode)
        self.target.eval()
        self.first_levels.train(mode)
        return self

    def views(self, net: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, *spatial) -> what the critics see: stacked features (B, N, *size), softmax (B, K, *spatial)."""
        maps = net.encode(images)
        finest = net.decoder(maps)[0]
        logits = net.enlarge(net.decoder.head(finest), images.shape[2:]).float()
        label = logits.detach().argmax(1, keepdim=True).float() / (logits.shape[1] - 1)
        levels = (*maps[self.cut - 1 :], finest, logits, label)
        return torch.cat([resized(level.float(), self.size) for level in levels], 1), logits.softmax(1)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Trains the segmenter, or else the copied levels (not in every iteration) and then the critics."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        if clock.stage == "source":
            optimise({"sup": self._supervised(self.net(labeled.image), labeled.target)}, on=["net"])
            return
        with evaluating(self.net):
            source = self.views(self.net, labeled.image)
        learns = (clock.step + 1) % self.options.critic_steps == 0
        with torch.set_grad_enabled(learns):
            target = self.views(self.target, unlabeled.image)
        critics = (self.feature_critic, self.mask_critic)
        if learns:
            features, masks = (-critic(seen).mean() for critic, seen in zip(critics, target, strict=True))
            optimise({"features": features, "masks": masks}, on=["levels"])
        losses = [
            self._critic_loss(critic, s, t.detach()) for critic, s, t in zip(critics, source, target, strict=True)
        ]
        optimise({"critic": torch.stack(losses).sum()}, on=["critics"])
        if self.options.lipschitz == "clip":
            for critic in critics:
                clip_weights(critic, self.options.clip)

    def _supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.options.loss == "class_weighted":
            return frequency_weighted_loss(logits, target, smooth=SMOOTH)
        return supervised_loss(logits, target, self.options.loss)

    def _critic_loss(self, critic: nn.Module, source: Tensor, target: Tensor) -> Tensor:
        """E[D(target)] - E[D(source)], with the gradient penalty if that bounds the slope."""
        loss = critic(target).mean() - critic(source).mean()
        if self.options.lipschitz == "penalty":
            loss = loss + PENALTY * gradient_penalty(critic, source, target)
        return loss

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the target path, or before `adapt` of the segmenter."""
        return self.target(images) if self.adapted else self.net(images)
