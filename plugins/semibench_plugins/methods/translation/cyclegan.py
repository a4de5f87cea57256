"""CycleGAN (Zhu et al., ICCV 2017) as a baseline of domain adaptation: translate the source, then segment. 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semibench import Backbones, Batch, Clock, Method, Optimise, Optimiser, Pools, Stage, Task, Term
from semibench.blocks import Supervision, frozen_statistics, supervised_loss, without_dropout
from semibench_plugins.methods.translation.two_way import TranslationOptions, TwoWayTranslation


class CycleGAN(Method):
    """Two generators learn to translate between the domains; then a segmenter learns translated source images with the labels of
    the source, and is tested on images of the target.

    Stage `translate`: L = adversarial + 10 cycle + 5 identity for the generators, then the critic loss for the discriminators
    (`TwoWayTranslation` has the formulas). Stage `segment`: the generators are fixed, L_sup of h(G(x_s)) and y_s.

    Adam 2e-4, betas (.5, .999). Its rate falls linearly from the start; the published one is constant in the first half. The
    segmenter has the recipe's optimiser. Labeled samples are the source, unlabeled ones the target. All networks see intensities
    that are clipped to the range of their domain (.5 % of an image's values at either end) and scaled to [-1, 1], the segmenter
    in tests, too. In 3D the generators translate volumes, with half the filters.

    Ours are two defaults. A generator adds what it computes to the image (option `residual`), so that it starts as the identity;
    and passes over target images, without gradient, move the segmenter's running statistics (option `statistics`), because it is
    tested on them. With the published generator and statistics of translated images (preset `published`), 100 iterations of the
    learning check leave translations without anatomy: Dice .21 where everything foreground gives .19, with our defaults .79, with
    the labels alone .84.

    Nothing in these losses knows the anatomy: labels may no longer fit what was translated. The identity loss is doubtful between
    modalities whose tissues have other intensities: preset `modalities` leaves it out.

    Scored: the segmenter.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "adversarial": Term(),
        "cycle": Term(10.0, search=(1.0, 20.0)),
        "identity": Term(5.0, search=(0.1, 10.0)),
        "critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {"options": {"residual": False, "statistics": "translated"}},
        "modalities": {"terms": {"identity": 0.0}},
    }

    class Options(TranslationOptions, frozen=True, extra="forbid"):
        """Options of `cyclegan`."""

        translation: float = Field(
            0.5, gt=0.0, lt=1.0, description="share of the run in which the generators learn; useful range .3 to .7"
        )
        statistics: Literal["target", "translated"] = Field(
            "target",
            description="images that move the segmenter's running statistics: what is tested, or what it learns from",
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: CycleGAN.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.translation = TwoWayTranslation(task, options, self.net.decoder.channels[0])
        self._learns("translate")

    def stages(self) -> Sequence[Stage]:
        """Learns to translate, then to segment."""
        return Stage("translate", self.options.translation), Stage("segment", 1.0 - self.options.translation)

    def begin(self, stage: str, pools: Pools) -> None:
        """Fixes what the stage doesn't train."""
        if stage == "translate":
            self.translation.fit(pools)
        self._learns(stage)

    def _learns(self, stage: str) -> None:
        self.translation.requires_grad_(stage == "translate")
        self.net.requires_grad_(stage == "segment")

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`generators` and `critics` in the first stage, `net` in the second."""
        if next(self.net.parameters()).requires_grad:
            return {"net": Optimiser((self.net,))}
        adam = self.options.adam
        return {"generators": adam(*self.translation.generators), "critics": adam(*self.translation.critics)}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Updates the generators, then the discriminators; or the segmenter."""
        labeled = batch["labeled"]
        if clock.stage == "segment":
            logits = self.segmented(labeled.image, batch["unlabeled"].image)
            optimise({"sup": supervised_loss(logits, labeled.target, self.options.loss)}, on=["net"])
            return
        identity = self.weight("identity", clock) > 0
        losses, images = self.translation.generated(labeled, batch["unlabeled"], identity=identity)
        optimise(losses, on=["generators"])
        optimise({"critic": self.translation.critic_loss(images)}, on=["critics"])

    def segmented(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns the logits of translated source images, and moves the running statistics."""
        translated = self.translation.as_target(source)
        if self.options.statistics == "translated":
            return self.net(translated)
        with torch.no_grad(), without_dropout(self.net):
            self.net(self.translation.target_range(target))
        with frozen_statistics(self.net):
            return self.net(translated)

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside target images; see `TwoWayTranslation.pictures`."""
        return self.translation.pictures(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.net(self.translation.target_range(images))
