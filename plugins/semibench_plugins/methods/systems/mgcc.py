"""MGCC: multi-level global context cross-consistency (arXiv 2305.09447, 2023, section III-C).

There are one encoder, a chain of ConvMixer layers at the bottleneck and four decoders. The main decoder sees the whole
chain; each auxiliary decoder taps it earlier and gets perturbed features. All four learn from labels, and on unlabeled
samples each auxiliary decoder must agree with the main one. Inference uses the encoder, the whole chain and the main
decoder.

Where the paper and the authors' code differ, the default follows the code, which produced the paper's tables; the preset
`paper` follows the text. The consistency weight is 7 with a ramp that 20000 iterations never complete (it ends at 3.994),
against 0.1 over the run; all five maps are perturbed, against the bottleneck alone. The paper doesn't print the power of
the norm in the consistency: the code's mean square is used. No gradient is stopped. The code sets the learning rate of a
step only after it, so its rate lags by one step; here it doesn't.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from semibench import (
    Backbones,
    Batch,
    Clock,
    Decoder,
    Losses,
    Method,
    MethodOptions,
    Ramp,
    Task,
    Term,
    UnsupportedError,
    UsageError,
)
from semibench.blocks import FeatureDropout, FeatureNoise, bce_dice, softmax_mse, two_class_logits
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE

Perturbation = Literal["none", "feature-dropout", "dropout", "feature-noise"]


class MGCC(Method):
    """Auxiliary decoders on perturbed features with different context lengths agree with the main decoder. Needs a
    backbone with `taps` (`mgcc-net`). Two classes use one output z and logits cat([0, z]); more classes use a softmax
    and the same losses generalised to it."""

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(7.0, Ramp("sigmoid", end=1.5, levels=200), search=(0.05, 20.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {"recipe": MGCC_RECIPE},
        "paper": {
            "options": {"perturb": "bottleneck"},
            "terms": {"consistency": {"weight": 0.1, "ramp": {"end": 1.0, "levels": 0}}},
            "recipe": MGCC_RECIPE,
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `mgcc`; the depths of the taps and the kernel are options of `mgcc-net`."""

        perturbations: tuple[Perturbation, ...] = Field(
            ("feature-dropout", "dropout", "feature-noise"), description="perturbation for each auxiliary decoder"
        )
        perturb: Literal["all", "bottleneck"] = Field(
            "all", description="which maps to perturb: all five (the code) or the bottleneck only (the paper's text)"
        )
        noise: float = Field(0.3, gt=0.0, le=0.5, description="largest relative change by feature-noise")
        dropout: float = Field(0.3, gt=0.0, le=0.5, description="probability that dropout zeroes an element")
        stop_gradient: bool = Field(False, description="treat the main prediction as a constant in the consistency")
        smooth: float = Field(1e-5, gt=0.0, description="smoothing in the Dice; 1 tames images without foreground")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only; volumes are trained as slices."""
        return None if task.dims == 2 else f"mgcc is a 2D method, but the task asks for a {task.dims}D network"

    def __init__(self, task: Task, backbones: Backbones, options: MGCC.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.binary = len(task.classes) == 2
        self.net = backbones(outputs=1 if self.binary else None)
        if not hasattr(self.net, "taps"):
            raise UnsupportedError(
                f"mgcc needs a backbone with features at several depths (`taps`), such as mgcc-net; "
                f"{type(self.net).__name__} has none"
            )
        self.taps = cast("Callable[[Tensor], list[list[Tensor]]]", self.net.taps)
        auxiliary = len(cast("tuple[int, ...]", self.net.depths)) - 1
        if auxiliary < 1 or len(options.perturbations) != auxiliary:
            raise UsageError(
                f"mgcc needs one perturbation for each auxiliary decoder: expected {auxiliary} for the depths "
                f"{self.net.depths}, but the option `perturbations` names {len(options.perturbations)}"
            )
        self.auxiliary = nn.ModuleList(self.net.new_decoder() for _ in range(auxiliary))
        self.perturbations = nn.ModuleList(self._perturbation(name) for name in options.perturbations)

    def _perturbation(self, name: Perturbation) -> nn.Module:
        match name:
            case "feature-dropout":
                return FeatureDropout()
            case "dropout":
                return nn.Dropout(self.options.dropout)
            case "feature-noise":
                return FeatureNoise(self.options.noise)
            case "none":
                return nn.Identity()

    def branches(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W) of every decoder, the main one first, from one encoder pass. The
        perturbations act in training mode only."""
        *early, full = self.taps(images)
        size = images.shape[2:]
        outputs = [self.net.decode(full, size)]
        for features, perturb, decoder in zip(early, self.perturbations, self.auxiliary, strict=True):
            clean = [] if self.options.perturb == "all" else features[:-1]
            perturbed = [*clean, *(perturb(maps) for maps in features[len(clean) :])]
            outputs.append(self.net.decode(perturbed, size, cast(Decoder, decoder)))
        return [self._classes(logits) for logits in outputs]

    def _classes(self, logits: Tensor) -> Tensor:
        return two_class_logits(logits) if self.binary else logits

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: BCE / 2 + Dice on the labeled part, averaged over all decoders. consistency: mean square between the
        auxiliary and the main probabilities on the unlabeled part, averaged over the auxiliary decoders."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        sizes = [len(labeled.image), len(unlabeled.image)]
        outputs = [logits.split(sizes) for logits in self.branches(torch.cat([labeled.image, unlabeled.image]))]
        sup = [bce_dice(logits, labeled.target, smooth=self.options.smooth) for logits, _ in outputs]
        main = outputs[0][1].float().softmax(1)
        goal = main.detach() if self.options.stop_gradient else main
        agreement = [softmax_mse(logits, goal, valid=unlabeled.valid) for _, logits in outputs[1:]]
        return {"sup": torch.stack(sup).mean(), "consistency": torch.stack(agreement).mean()}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W) of the main path; auxiliary decoders don't run."""
        return self._classes(self.net(images))
