"""CCT, cross-consistency training (Ouali et al., CVPR 2020), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Decoder, Losses, Method, MethodOptions, Ramp, Task, Term
from semibench.blocks import FeatureDropout, FeatureNoise, Supervision, softmax_mse, supervised_loss
from semibench_plugins.datasets.paper_budgets import MGCC_RECIPE, SSL4MIS_RECIPE

Perturbation = Literal[
    "feature-noise", "dropout", "spatial-dropout", "feature-dropout", "object-mask", "context-mask", "none"
]
SSL4MIS_OPTIONS = {"perturb": "all", "supervise": "all", "stop_gradient": False}
SSL4MIS_WEIGHT = {"weight": 0.1, "ramp": {"kind": "sigmoid", "levels": 200, "end": 1.0}}


class CCT(Method):
    """One encoder and a main decoder; auxiliary decoders see perturbed features and must agree with the main decoder.

    L = L_sup(main) + w / A sum_k mean |p_k - p_main|^2 on unlabeled samples, p_main a constant, w = 30 after
    a ramp exp(-5 (1 - t)^2) over the first tenth of the run. The encoder's last map is perturbed. The paper has 26 small
    decoders; here there are three of the backbone's own, one for each perturbation of SSL4MIS, and the option
    `perturbations` takes any number. Of the paper's seven perturbations, guided cutout and the adversarial one are
    missing. The paper's supervised loss is an annealed cross-entropy; the default here is that of all methods.

    Preset `ssl4mis` perturbs every map, supervises all decoders with the mean of their losses, lets the gradient
    through p_main and has weight .1. Preset `mgcc-2023` is the same with the loss and budget of that paper. SSL4MIS's
    script sets the learning rate of a step only after it, so its rate lags by one step; here it doesn't.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "consistency": Term(30.0, Ramp("sigmoid", end=0.1), search=(0.01, 30.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ssl4mis": {
            "options": SSL4MIS_OPTIONS,
            "terms": {"consistency": SSL4MIS_WEIGHT},
            "recipe": SSL4MIS_RECIPE,
        },
        "mgcc-2023": {
            "options": {**SSL4MIS_OPTIONS, "loss": "bce_dice"},
            "terms": {"consistency": {"weight": 0.1, "ramp": {"kind": "sigmoid", "levels": 200, "end": 1.5}}},
            "recipe": MGCC_RECIPE,
        },
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `cct`."""

        perturbations: tuple[Perturbation, ...] = Field(
            ("feature-noise", "dropout", "feature-dropout"), min_length=1, description="one for each auxiliary decoder"
        )
        perturb: Literal["bottleneck", "all"] = Field(
            "bottleneck", description="which maps to perturb: the last (the paper) or every one (SSL4MIS)"
        )
        supervise: Literal["main", "all"] = Field(
            "main", description="which decoders learn from labels: the main one (the paper) or all (SSL4MIS)"
        )
        stop_gradient: bool = Field(True, description="treat the main prediction as a constant in the consistency")
        noise: float = Field(
            0.3, gt=0.0, lt=1.0, description="largest relative change by feature-noise; useful range .1 to .5"
        )
        dropout: float = Field(
            0.3, gt=0.0, lt=1.0, description="probability that dropout zeroes an element; useful range .1 to .5"
        )
        spatial_dropout: float = Field(
            0.5, gt=0.0, lt=1.0, description="probability that spatial-dropout zeroes a whole channel"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: CCT.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()
        self.auxiliary = nn.ModuleList(self.net.new_decoder() for _ in options.perturbations)
        self.perturbations = nn.ModuleList(self._perturbation(name, task.dims) for name in options.perturbations)

    def _perturbation(self, name: Perturbation, dims: int) -> nn.Module:
        match name:
            case "feature-noise":
                return FeatureNoise(self.options.noise)
            case "feature-dropout":
                return FeatureDropout()
            case "dropout":
                return nn.Dropout(self.options.dropout)
            case "spatial-dropout":
                return (nn.Dropout2d if dims == 2 else nn.Dropout3d)(self.options.spatial_dropout)
            case "object-mask" | "context-mask" | "none":
                return nn.Identity()

    def branches(self, images: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> logits (B, K, *spatial) of every decoder, the main one first, from one encoder pass. The
        perturbations act in training mode only."""
        features, size = self.net.encode(images), images.shape[2:]
        outputs = [self.net.decode(features, size)]
        foreground = (outputs[0].detach().argmax(1, keepdim=True) > 0).to(features[-1].dtype)
        first = 0 if self.options.perturb == "all" else len(features) - 1
        for name, perturb, decoder in zip(self.options.perturbations, self.perturbations, self.auxiliary, strict=True):
            perturbed = [self._masked(perturb(maps), foreground, name) for maps in features[first:]]
            outputs.append(self.net.decode([*features[:first], *perturbed], size, cast(Decoder, decoder)))
        return outputs

    def _masked(self, maps: Tensor, foreground: Tensor, name: Perturbation) -> Tensor:
        """object-mask hides the main decoder's foreground, context-mask its background."""
        if not self.training or name not in ("object-mask", "context-mask"):
            return maps
        mask = F.interpolate(foreground, maps.shape[2:], mode="nearest")
        return maps * (1.0 - mask if name == "object-mask" else mask)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part, main decoder or mean over all; consistency: unlabeled part, mean over auxiliary decoders."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        sizes = [len(labeled.image), len(unlabeled.image)]
        outputs = [logits.split(sizes) for logits in self.branches(torch.cat([labeled.image, unlabeled.image]))]
        supervised = outputs if self.options.supervise == "all" else outputs[:1]
        sup = [supervised_loss(logits, labeled.target, self.options.loss) for logits, _ in supervised]
        main = outputs[0][1].float().softmax(1)
        goal = main.detach() if self.options.stop_gradient else main
        agreement = [softmax_mse(logits, goal, valid=unlabeled.valid) for _, logits in outputs[1:]]
        return {"sup": torch.stack(sup).mean(), "consistency": torch.stack(agreement).mean()}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of the main decoder; the others don't run."""
        return self.net(images)
