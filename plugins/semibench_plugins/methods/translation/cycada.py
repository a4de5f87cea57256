"""CyCADA, cycle-consistent adversarial domain adaptation (Hoffman et al., ICML 2018), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Method, Optimise, Optimiser, Pools, Samples, Stage, Task, Term
from semibench.blocks import Supervision, cross_entropy, supervised_loss
from semibench_plugins.methods.translation.two_way import Passes, TranslationOptions, TwoWayTranslation, grouped

TARGET, SOURCE = 0, 1
PIXEL_CYCLE: Mapping[str, float] = {"semantic": 0.0, "identity": 10.0}
"""Weights with which the published code translates streets."""
REMEMBERED = 100
"""Iterations over which the critic's accuracy is averaged."""
CRITIC_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"betas": (0.9, 0.99), "weight_decay": 0.0},
    "sgd": {"momentum": 0.99, "weight_decay": 5e-4},
}
"""Of the critic's optimisers."""


class ScoreCritic(nn.Module):
    """Tells at each position from which domain the scores of the classes come: convolutions of kernel 1 to 512, 256 and 2
    channels, with ReLU and dropout of .5 behind the first two."""

    def __init__(self, dims: int, classes: int, filters: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        dropout = (nn.Dropout2d, nn.Dropout3d)[dims - 2]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((classes, filters, max(filters // 2, 1))):
            layers += [conv(inputs, outputs, 1), nn.ReLU(), dropout(0.5)]
        self.layers = nn.Sequential(*layers, conv(max(filters // 2, 1), 2, 1))

    def forward(self, scores: Tensor) -> Tensor:
        """(B, K, *spatial) -> logits (B, 2, *spatial): target, source."""
        return self.layers(scores)


class RecentAccuracy(nn.Module):
    """The mean of the last hundred accuracies, in buffers."""

    values: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(REMEMBERED))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, accuracy: Tensor) -> Tensor:
        """Remembers an accuracy, a scalar, and returns the mean."""
        self.values.index_copy_(0, (self.count % REMEMBERED).view(1), accuracy.view(1).to(self.values.dtype))
        self.count += 1
        return self.values.sum() / self.count.clamp(max=REMEMBERED)


class CyCADA(Method):
    """Translates the source to the target so that a source segmenter sees the same in an image and its translation, and aligns
    what the segmenter of translated images says about both domains.

    Stage `source`: segmenter f_S learns labeled source images. Stage `translate`, f_S fixed: adversarial + 10 cycle as in
    CycleGAN (see `TwoWayTranslation`) + semantic, with
    semantic = CE(f_S(F(x_t)), argmax f_S(x_t)) + CE(f_S(G(x_s)), argmax f_S(x_s)).
    Stage `adapt`: f_T starts from f_S. A critic D of its scores (logits) at each position learns
    CE(D(f_T(G(x_s))), source) + CE(D(f_T(x_t)), target); then f_T learns L_sup on G(x_s) + .1 CE(D(f_T(x_t)), source).
    The last term counts only while D's accuracy, averaged over 100 iterations, exceeds .6.

    All networks see intensities that are scaled to [-1, 1], as in `cyclegan`, and as there the generators add what they compute
    to the image (option `residual`), which is ours. The paper trains f_T on translated images and then aligns; the published
    code can do both at once (its option to share the weights), as here. The weight of the semantic loss is not printed: 1.

    What differs from the published code. For the segmentation of streets it translates without the semantic loss and with
    CycleGAN's identity loss of weight 10: preset `pixel-cycle`. Preset `code` has its feature stage, too: f_T and D have SGD at a
    constant 1e-5, momentum .99, decay 5e-4 (f_S has 1e-3); D's loss is the mean over both domains; f_T doesn't change at all
    while the gate is closed, not even by L_sup; and each domain passes f_T by itself, with its own batch statistics. By default
    f_T has the recipe's optimiser, D has Adam, L_sup is learned behind a closed gate, too, and both domains pass together. In no
    preset: the code makes a step for each of f_T's two losses, here they share one; it ends once an epoch passes without an open
    gate, here the run goes on. Its version for digits trains f_S beside the generators, compares f_S(G(x_s)) with the true
    labels, leaves the semantic loss out while f_S's loss is above 1, and has cycle weight 1 and G's adversarial loss twice.

    Scored: f_T.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "adversarial": Term(),
        "cycle": Term(10.0, search=(1.0, 20.0)),
        "identity": Term(0.0),
        "semantic": Term(1.0, search=(0.1, 10.0)),
        "critic": Term(),
        "align": Term(0.1, search=(1e-3, 1.0), unlabeled=True),
        "align_critic": Term(),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pixel-cycle": {"terms": PIXEL_CYCLE},
        "code": {
            "options": {
                "residual": False, "passes": "separate", "supervised": "open-gate", "loss": "cross_entropy",
                "critic_optimiser": "sgd", "critic_lr": 1e-5, "adapt_factor": 0.01,
            },
            "terms": {**PIXEL_CYCLE, "align_critic": 0.5},
            "recipe": {"optimiser": "sgd", "lr": 1e-3, "momentum": 0.99, "weight_decay": 5e-4, "schedule": "constant"},
        },
    }  # fmt: skip

    class Options(TranslationOptions, frozen=True, extra="forbid"):
        """Options of `cycada`."""

        pretraining: float = Field(
            0.2,
            gt=0.0,
            lt=0.5,
            description="share of the run in which the source segmenter learns; useful range .1 to .3",
        )
        translation: float = Field(
            0.4, gt=0.0, lt=0.5, description="share of the run in which the generators learn; useful range .3 to .5"
        )
        gate: float = Field(
            0.6, ge=0.0, le=1.0, description="accuracy of the critic from which the segmenter learns to deceive it"
        )
        critic_lr: float = Field(1e-4, gt=0.0, description="rate of the critic of scores; useful range 1e-5 to 1e-3")
        critic_optimiser: Literal["adam", "sgd"] = Field(
            "adam", description="optimiser of the critic of scores; sgd: the published code's, momentum .99, decay 5e-4"
        )
        adapt_factor: float = Field(
            1.0, gt=0.0, le=1.0, description="factor on the segmenter's rate in the last stage; useful range .01 to 1"
        )
        supervised: Literal["always", "open-gate"] = Field(
            "always", description="when the segmenter learns labels in the last stage; open-gate: the published code"
        )
        passes: Passes = Field(
            "joint", description="whether both domains pass the segmenter in one batch; separate: the published code"
        )
        critic_filters: int = Field(512, ge=1, description="channels of its first convolution")
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: CyCADA.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net, self.source_net = backbones(), backbones()
        self.translation = TwoWayTranslation(task, options, self.net.decoder.channels[0])
        self.critic = ScoreCritic(task.dims, len(task.classes), options.critic_filters)
        self.accuracy = RecentAccuracy()
        self._learns("source")

    def stages(self) -> Sequence[Stage]:
        """Learns the source, then to translate, then to segment translated images."""
        source, translation = self.options.pretraining, self.options.translation
        return Stage("source", source), Stage("translate", translation), Stage("adapt", 1.0 - source - translation)

    def begin(self, stage: str, pools: Pools) -> None:
        """Fixes what the stage doesn't train; before `adapt`, the segmenter becomes that of the source."""
        if stage == "source":
            self.translation.fit(pools)
        elif stage == "adapt":
            self.net.load_state_dict(self.source_net.state_dict())
        self._learns(stage)

    def _learns(self, stage: str) -> None:
        self.source_net.requires_grad_(stage == "source")
        self.translation.requires_grad_(stage == "translate")
        self.net.requires_grad_(stage == "adapt")
        self.critic.requires_grad_(stage == "adapt")

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`source` in the first stage, `generators` and `critics` in the second, `net` and `align` in the third."""
        if next(self.source_net.parameters()).requires_grad:
            return {"source": Optimiser((self.source_net,))}
        if next(self.net.parameters()).requires_grad:
            options = self.options
            settings = CRITIC_SETTINGS[options.critic_optimiser]
            align = Optimiser(
                (self.critic,), options.critic_optimiser, options.critic_lr, schedule="constant", settings=settings
            )
            return {"net": Optimiser((self.net,), lr_factor=options.adapt_factor), "align": align}
        adam = self.options.adam
        return {"generators": adam(*self.translation.generators), "critics": adam(*self.translation.critics)}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """One of the three stages."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        if clock.stage == "source":
            logits = self.source_net(self.translation.source_range(labeled.image))
            optimise({"sup": supervised_loss(logits, labeled.target, self.options.loss)}, on=["source"])
        elif clock.stage == "translate":
            self._translate(labeled, unlabeled, clock, optimise)
        else:
            self._adapt(labeled, unlabeled, optimise)

    def _translate(self, source: Samples, target: Samples, clock: Clock, optimise: Optimise) -> None:
        identity = self.weight("identity", clock) > 0
        losses, images = self.translation.generated(source, target, identity=identity)
        if not identity:  # it would take two more passes, for nothing
            losses["identity"] = losses["cycle"].new_zeros(())
        if self.weight("semantic", clock) > 0:
            losses["semantic"] = self.semantic(images.fake_source, images.target, target.valid) + self.semantic(
                images.fake_target, images.source, source.valid
            )
        optimise(losses, on=["generators"])
        optimise({"critic": self.translation.critic_loss(images)}, on=["critics"])

    def semantic(self, translated: Tensor, original: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy of the source segmenter on translated images with what it says about the originals, both in [-1, 1]."""
        self.source_net.eval()
        with torch.no_grad():
            label = self.source_net(original).argmax(1)
        return cross_entropy(self.source_net(translated), label.masked_fill(~valid, IGNORE))

    def _adapt(self, source: Samples, target: Samples, optimise: Optimise) -> None:
        images = [self.translation.as_target(source.image), self.translation.target_range(target.image)]
        logits, logits_t = torch.cat([self.net(x) for x in grouped(images, self.options.passes)]).split(
            [len(source.image), len(target.image)]
        )
        judged = [self.critic(z.detach()) for z in (logits, logits_t)]
        right = torch.cat(
            [(z.detach().argmax(1) == kind).flatten() for z, kind in zip(judged, (SOURCE, TARGET), strict=True)]
        )
        mean = self.accuracy(right.float().mean())
        self.notes["accuracy"] = mean
        optimise({"align_critic": domain_loss(judged[0], SOURCE) + domain_loss(judged[1], TARGET)}, on=["align"])
        open_gate = mean > self.options.gate
        if self.options.supervised == "open-gate" and not open_gate:
            return
        align = domain_loss(self.critic(logits_t), SOURCE) * open_gate
        optimise({"sup": supervised_loss(logits, source.target, self.options.loss), "align": align}, on=["net"])

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside target images; see `TwoWayTranslation.pictures`."""
        return self.translation.pictures(images)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the adapted segmenter."""
        return self.net(self.translation.target_range(images))


def domain_loss(scores: Tensor, domain: int) -> Tensor:
    """Cross-entropy of scores (B, 2, *spatial) against one domain at every position."""
    return F.cross_entropy(scores.float(), torch.full_like(scores[:, 0], domain, dtype=torch.int64))
