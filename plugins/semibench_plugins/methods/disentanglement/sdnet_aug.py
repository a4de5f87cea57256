"""SDNet+Aug (Liu et al., STACOM 2020), disentangled representations that make new labeled images, in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
    Samples,
    Task,
    Term,
)
from semibench.blocks import (
    AnatomyEncoder,
    ModalityEncoder,
    ModulatedDecoder,
    Modulation,
    code_kl,
    evaluating,
    exchange_batch_norm,
    frozen_statistics,
    image_range,
    masked_mean,
    norm_of,
    resample,
)
from semibench_plugins.methods.disentanglement.supervision import STILL, dice_sum_ce, mnms_recipe


class SDNet(nn.Module):
    """Encoders of anatomy and modality, the decoder that draws an image from both, and the segmentor of the anatomy."""

    def __init__(self, task: Task, net: Backbone, options: SDNetAug.Options) -> None:
        super().__init__()
        filters, width = options.modality_filters, options.segmentor_filters
        self.anatomy = AnatomyEncoder(net)
        self.modality = ModalityEncoder(
            task.dims, task.channels, task.patch, code=options.code, filters=(filters, 2 * filters, 4 * filters)
        )
        self.decoder = ModulatedDecoder(
            task.dims, contents=options.anatomy, code=options.code, outputs=task.channels, kind=options.modulation
        )
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if task.dims == 2 else nn.Conv3d
        norm: type[nn.BatchNorm2d] | type[nn.BatchNorm3d] = nn.BatchNorm2d if task.dims == 2 else nn.BatchNorm3d
        layers: list[nn.Module] = []
        for inputs in (options.anatomy, width):
            layers += [conv(inputs, width, 3, padding=1), norm(width), nn.ReLU(inplace=True)]
        self.segmentor = exchange_batch_norm(
            nn.Sequential(*layers, conv(width, len(task.classes), 1)), norm_of(net)
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.segmentor(self.anatomy(images))


def donors(receiving: Tensor, giving: Tensor) -> Tensor:
    """For each sample of `receiving` (B,) the index of a random one of `giving` (N,) from another domain, or of any where all are
    from its own."""
    draws = torch.rand((len(receiving), len(giving)), device=receiving.device)
    return (draws + (receiving[:, None] != giving[None])).argmax(1)


class SDNetAug(Method):
    """An image is taken apart into binary maps of anatomy and a code of modality; new labeled images combine the anatomy of a
    labeled image with the modality of an unlabeled one from another domain.

    Anatomy s = round(softmax(U-Net(x))) in 8 channels, gradients straight through the rounding; code z of 8 numbers, normal
    with mean and variance by a second encoder; drawn image D(s, z) in [-1, 1]; segmentation from s alone. With x in [-1, 1]:
    L = seg + |D(s, z) - x| + |E_z(D(s, z)) - z| + .01 KL(z), seg = sum of the K Dice losses + CE; all means. Unlabeled images:
    the same without seg. An iteration takes a step on labeled images, one on unlabeled images, and, in the second half of the
    run, one on new images: a frozen copy of what the first half trained draws D(s(x_l), z(x_u)), which keeps the label of x_l.

    Resolution augmentation: labeled images and labels are zoomed about their centre by a factor from `resolution`, in all
    axes. The paper draws resolutions uniformly between those of the scanners; a factor in [.8, 1.4] is ours for it, since
    images here have been resized before.

    Where this differs: the released code never reaches its unlabeled and new images (its inner loop has 0 iterations). It has no
    KL and a code without variance (preset `code`). It trains a second network with the first one's images; here the first one
    goes on. Its cross-entropy counts foreground only and takes a softmax of a softmax; here it is that of the logits. The
    decoder is DGNet's with another modulation, the modality encoder's convolutions are those of the code (64, 128 and 256
    channels), with zeros as padding (the code reflects). The decoder draws images scaled to [-1, 1] by their own range, and
    new images get the range of the image that gives their modality. Running statistics come from labeled and unlabeled
    images, not from new ones.

    The encoder of anatomy and the segmentor have the recipe's optimiser. The rest has Adam with a rate of its own, 1e-3; the
    published rate of everything is 1e-4 (preset `mnms`). Scored: encoder of anatomy and segmentor.
    """

    terms: Mapping[str, Term] = {
        "seg": Term(),
        "rec": Term(search=(0.1, 5.0)),
        "code": Term(),
        "kl": Term(0.01),
        "rec_u": Term(search=(0.1, 5.0), unlabeled=True),
        "code_u": Term(unlabeled=True),
        "kl_u": Term(0.01, unlabeled=True),
        "seg_new": Term(search=(0.1, 5.0)),
        "rec_new": Term(),
        "code_new": Term(),
        "kl_new": Term(0.01),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "options": {"sampled": False},
            "terms": {"kl": 0.0, "kl_u": 0.0, "kl_new": 0.0},
        },
        "mnms": {"options": {"parts_lr": 1e-4}, "recipe": mnms_recipe(1e-4, 224, STILL)},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `sdnet-aug`."""

        anatomy: int = Field(8, ge=2, description="channels of the anatomy; useful range 4 to 16")
        code: int = Field(8, ge=1, description="length of the code of modality; useful range 4 to 16")
        modulation: Modulation = Field("film", description="how the code changes the drawn image")
        sampled: bool = Field(
            True, description="draw codes from their distribution in training; otherwise take the mean"
        )
        resolution: tuple[float, float] = Field(
            (0.8, 1.4), description="smallest and largest zoom of labeled images; (1, 1): none"
        )
        new_from: float = Field(
            0.5, gt=0.0, lt=1.0, description="share of the run after which there are new images; useful range .2 to .7"
        )
        parts_lr: float = Field(
            1e-3, gt=0.0, description="rate of modality encoder and decoder; useful range 1e-4 to 2e-3"
        )
        modality_filters: int = Field(64, ge=1, description="channels of the modality encoder's first convolution")
        segmentor_filters: int = Field(64, ge=1, description="channels of the segmentor")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """The zoom must be a range of positive numbers."""
        low, high = options.resolution
        return None if 0.0 < low <= high else f"resolution: expected 0 < smallest <= largest, got {low} and {high}"

    def __init__(self, task: Task, backbones: Backbones, options: SDNetAug.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.model = SDNet(task, backbones(outputs=options.anatomy), options)
        self.generator = SDNet(task, backbones(outputs=options.anatomy), options).requires_grad_(False)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains what is tested, `parts` the modality encoder and the decoder."""
        model = self.model
        parts = Optimiser(
            (model.modality, model.decoder), "adam", self.options.parts_lr, settings={"weight_decay": 0.0}
        )
        return {"net": Optimiser((model.anatomy, model.segmentor)), "parts": parts}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """A step on labeled images, one on unlabeled ones, and in the second half one on new ones."""
        before = (clock.step - 1) / clock.steps
        if before < self.options.new_from <= clock.progress:
            self.generator.load_state_dict(self.model.state_dict())
        labeled, unlabeled = self.rescaled(batch["labeled"]), batch["unlabeled"]
        both = ("net", "parts")
        optimise(self.learned(labeled.image, self.goal(labeled), labeled.valid, labeled.target), on=both)
        losses = self.learned(unlabeled.image, self.goal(unlabeled), unlabeled.valid)
        optimise({f"{name}_u": loss for name, loss in losses.items()}, on=both)
        if clock.progress >= self.options.new_from:
            image, drawn = self.new_images(labeled, unlabeled)
            with frozen_statistics(self.model):
                losses = self.learned(image, drawn, labeled.valid, labeled.target)
            optimise({f"{name}_new": loss for name, loss in losses.items()}, on=both)

    def rescaled(self, samples: Samples) -> Samples:
        """Zooms labeled samples, each by a factor of its own."""
        low, high = self.options.resolution
        if low == high == 1.0:
            return samples
        image, dims = samples.image, samples.image.ndim - 2
        factor = low + (high - low) * torch.rand(len(image), dtype=torch.float64)
        matrix = torch.eye(dims, dtype=torch.float64) / factor.view(-1, 1, 1)
        zoomed, label, valid = resample(image, samples.target, samples.valid, matrix, image.shape[2:])
        return Samples(zoomed, (), label, valid, samples.domain, samples.index)

    def goal(self, samples: Samples) -> Tensor:
        """The images in [-1, 1], as the decoder draws them."""
        return image_range(samples.image, samples.valid).scaled(samples.image)

    def learned(self, images: Tensor, goal: Tensor, valid: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """rec, code, kl, and with labels seg. goal: the images in [-1, 1]."""
        anatomy, code = self.model.anatomy(images), self.model.modality(goal)
        z = code.sample() if self.options.sampled else code.mean
        drawn = self.model.decoder(anatomy, z)
        losses = {
            "rec": masked_mean((drawn - goal).abs(), valid.unsqueeze(1)),
            "code": (self.model.modality(drawn).mean - z).abs().mean(),
            "kl": code_kl(code),
        }
        return losses if target is None else {"seg": dice_sum_ce(self.model.segmentor(anatomy), target), **losses}

    @torch.no_grad()
    def new_images(self, labeled: Samples, unlabeled: Samples) -> tuple[Tensor, Tensor]:
        """Images (B, C, *spatial) with the anatomy of the labeled samples and the modality of others, and the same in [-1, 1]."""
        chosen = donors(labeled.domain, unlabeled.domain)
        self.notes["other_domain"] = (labeled.domain != unlabeled.domain[chosen]).float().mean()
        given = unlabeled.image[chosen]
        span = image_range(given, unlabeled.valid[chosen])
        with evaluating(self.generator):
            code = self.generator.modality(span.scaled(given))
            drawn = self.generator.decoder(self.generator.anatomy(labeled.image), code.mean)
        return span.restored(drawn).to(labeled.image.dtype), drawn

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.model(images)

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside images: the drawn ones, and those drawn with the modality of the next image."""
        span = image_range(images)
        anatomy, code = self.model.anatomy(images), self.model.modality(span.scaled(images)).mean
        return {
            "reconstruction": self.model.decoder(anatomy, code),
            "with the next image's modality": self.model.decoder(anatomy, code.roll(-1, 0)),
        }
