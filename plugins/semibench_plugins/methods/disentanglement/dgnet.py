"""DGNet (Liu et al., MICCAI 2021), meta-learning over domains with disentangled representations, in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

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
    Stream,
    Task,
    Term,
)
from semibench.blocks import (
    Code,
    ModalityEncoder,
    ModulatedDecoder,
    code_kl,
    content_rank,
    frozen_statistics,
    hsic,
    image_range,
    inner_step,
    masked_mean,
    three_domains,
)
from semibench_plugins.methods.disentanglement.supervision import TURNED, dice_sum_ce, mnms_recipe

UNLABELED: Mapping[str, Term] = {
    "rec": Term(search=(0.1, 5.0)),
    "code": Term(0.1, search=(0.01, 1.0)),
    "kl": Term(0.1, search=(0.01, 1.0)),
    "hsic": Term(0.1, search=(0.01, 1.0)),
    "domain": Term(search=(0.1, 5.0)),
    "rank": Term(0.1, search=(0.01, 1.0)),
    "test_rec": Term(),
    "test_domain": Term(),
}
"""Terms that need no label. The labeled step has them under these names, the unlabeled one with `_u` behind them."""


class Seen(NamedTuple):
    """What the networks make of images."""

    content: Tensor
    """(B, K + extra, *spatial); the first K channels are the logits of the segmentation."""
    code: Code
    drawn: Tensor
    """The reconstruction, in [-1, 1]."""
    domain: Tensor
    """Logits of the domains (B, domains)."""
    z: Tensor
    """The codes that were drawn from `code`: the first half tells the domain, the second the style."""
    again: Tensor
    """Means of the codes of the reconstruction; empty if they weren't asked for."""


class DGNetworks(nn.Module):
    """Content encoder, encoder of style and domain, decoder and classifier of domains; one pass serves functional calls."""

    def __init__(self, task: Task, net: Backbone, contents: int, options: DGNet.Options) -> None:
        super().__init__()
        first, size = options.modality_filters, 2 * options.code
        self.content = net
        self.modality = ModalityEncoder(
            task.dims, task.channels, task.patch, code=size, filters=[first * 2**n for n in range(6)], hidden=(324, 32),
            pooled=False, activation="none",
        )  # fmt: skip
        self.decoder = ModulatedDecoder(
            task.dims, contents=contents, code=size, outputs=task.channels, kind="adain", positive=options.positive
        )
        self.classifier = nn.Linear(options.code, len(task.domains))

    def forward(self, images: Tensor, goal: Tensor, again: bool = True) -> Seen:
        """images: (B, C, *patch). goal: the same in [-1, 1]. again: encode the reconstruction, too."""
        content, code = self.content(images), self.modality(goal)
        z = code.sample()
        drawn = self.decoder(content, z)
        domain = self.classifier(z[:, : self.classifier.in_features])
        return Seen(content, code, drawn, domain, z, self.modality(drawn).mean if again else z[:0])


class DGNet(Method):
    """An image is taken apart into maps of content, a code of style and a code of its domain; two training domains make an inner
    step theta' = theta - .001 grad L_train, and a third one tests it: L = L_train(theta) + L_test(theta').

    The content F has K + 4 channels, of which the first K are the logits of the segmentation. The code z = (z_d, z_s) has 8 + 8
    numbers, normal with mean and variance by an encoder of the image x in [-1, 1]; D(F, z) draws the image again.
    L_train = |D - x| + .1 |E(D) - z| + .1 (KL(z) + HSIC(z_d, z_s)) + CE(domain from z_d) + .1 sigma, where sigma is singular value
    number K + 1 of the content at 2000 random positions: 0 if it has rank K. L_test = |D - x| + CE(domain). Labeled images add
    5 (sum of the K Dice losses + CE) to both. In each iteration the domains are drawn; then one step on unlabeled images, and
    one on labeled images, each with its own inner step. The inner gradient is differentiated, too (second order), and moves
    weights and biases of convolutions and linear layers, not those of normalisations.

    Where this differs: the code's loss of the domain takes a sigmoid of a softmax, so that .5665 is the least for three
    domains (preset `code`); here it is the cross-entropy of the logits. HSIC is divided by (m - 1)^2 as in its definition;
    the code divides by m - 1, three times as much for its 4 samples (preset `code`). sigma is left out of the inner step:
    its second derivative is infinite where singular values are equal, which is what the term aims at. The rank is that of
    the content itself in both steps; the code takes its softmax in the labeled one (preset `code`). E(D) is the mean of the
    code of the reconstruction; the code draws from it. The decoder has a leaky ReLU behind each of its modulated
    convolutions. The third domain gives half a batch; the code draws from it twice. If there are more than three domains,
    three are drawn. The encoder of style flattens its map, so images of another size than the patch can't be drawn; they can
    be segmented. Running statistics come from the training domains.

    A batch has half the recipe's number of samples from every domain. The content encoder has the recipe's optimiser. The rest
    has Adam with a rate of its own, 1e-3; the published rate of everything is 4e-5 (preset `mnms`). Scored: the content encoder.
    """

    terms: Mapping[str, Term] = {
        "seg": Term(5.0, search=(1.0, 10.0)),
        "test_seg": Term(5.0, search=(1.0, 10.0)),
        **UNLABELED,
        **{f"{name}_u": replace(term, unlabeled=True) for name, term in UNLABELED.items()},
    }
    streams: ClassVar[Mapping[str, Stream]] = {
        "labeled": Stream("labeled", size=0.5, per_domain=True),
        "unlabeled": Stream("unlabeled", size=0.5, per_domain=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "options": {"domain_loss": "bce_of_softmax", "rank_of": "softmax_if_labeled"},
            "terms": {"hsic": 0.3, "hsic_u": 0.3},
        },
        "mnms": {"options": {"parts_lr": 4e-5}, "recipe": mnms_recipe(4e-5, 288, TURNED)},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `dgnet`."""

        inner_rate: float = Field(1e-3, ge=0.0, description="size of the inner step; useful range 1e-4 to 1e-2")
        first_order: bool = Field(
            False, description="take the inner gradient for a constant: about half the time and memory"
        )
        extra: int = Field(4, ge=1, description="channels of the content besides the classes; useful range 2 to 8")
        code: int = Field(8, ge=1, description="length of each of the two codes; useful range 4 to 16")
        domain_loss: Literal["cross_entropy", "bce_of_softmax"] = Field(
            "cross_entropy", description="loss of the domain; bce_of_softmax is the code's"
        )
        rank_of: Literal["content", "softmax_if_labeled"] = Field(
            "content",
            description="whose rank is bounded; softmax_if_labeled: of labeled images the softmax, as in the code",
        )
        positive: bool = Field(True, description="keep the decoder's scales and shifts from being negative")
        parts_lr: float = Field(
            1e-3, gt=0.0, description="rate of all but the content encoder; useful range 4e-5 to 2e-3"
        )
        modality_filters: int = Field(8, ge=1, description="channels of the first convolution of the encoder of style")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """Three domains are needed: two for meta-training and one for meta-testing."""
        if len(task.domains) < 3:
            return f"needs at least three training domains, but the split has {len(task.domains)}: {', '.join(task.domains)}"
        return None

    def __init__(self, task: Task, backbones: Backbones, options: DGNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        contents = self.classes + options.extra
        self.model = DGNetworks(task, backbones(outputs=contents), contents, options)
        layers = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
        self.moving = frozenset(
            f"{name}.{part}"
            for name, module in self.model.named_modules()
            if isinstance(module, layers)
            for part in ("weight", "bias")
        )

    def optimisers(self) -> Mapping[str, Optimiser]:
        """`net` trains the content encoder, `parts` the rest."""
        model, plain = self.model, {"weight_decay": 0.0}
        parts = Optimiser(
            (model.modality, model.decoder, model.classifier), "adam", self.options.parts_lr, settings=plain
        )
        return {"net": Optimiser((model.content,)), "parts": parts}

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Draws the order of the domains; a meta step on unlabeled images, then one on labeled images."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        order = torch.randperm(self.model.classifier.out_features).to(labeled.domain.device)
        losses = self.meta(unlabeled, order, clock, "_u")
        optimise({f"{name}_u": loss for name, loss in losses.items()}, on=("net", "parts"))
        optimise(self.meta(labeled, order, clock), on=("net", "parts"))

    def meta(self, samples: Samples, order: Tensor, clock: Clock, ending: str = "") -> dict[str, Tensor]:
        """Losses on the training domains, and, with the moved weights, on the test domain. ending: of the terms' names."""
        train, test = halves(samples.domain, order)
        losses = self.trained(picked(samples, train))
        inner = {f"{name}{ending}": loss for name, loss in losses.items() if name != "rank"}
        moved = inner_step(
            self.model, self.total(inner, clock), self.options.inner_rate, first_order=self.options.first_order
        )
        return {**losses, **self.tested(picked(samples, test), moved)}

    def trained(self, samples: Samples) -> dict[str, Tensor]:
        """Losses with the weights as they are."""
        goal = image_range(samples.image, samples.valid).scaled(samples.image)
        seen = self.model(samples.image, goal)
        half = self.options.code
        return {
            **self.both(seen, goal, samples),
            "code": (seen.again - seen.z).abs().mean(),
            "kl": code_kl(seen.code),
            "hsic": hsic(seen.z[:, :half], seen.z[:, half:]),
            "rank": content_rank(self.ranked(seen.content, samples), self.classes, valid=samples.valid),
        }

    def ranked(self, content: Tensor, samples: Samples) -> Tensor:
        """The maps whose rank counts: the content, or, as in the code, its softmax where there are labels."""
        normalised = self.options.rank_of == "softmax_if_labeled" and samples.label is not None
        return content.float().softmax(1) if normalised else content

    def tested(self, samples: Samples, moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses with the moved weights, by their names in `terms`."""
        goal = image_range(samples.image, samples.valid).scaled(samples.image)
        weights = {name: value for name, value in moved.items() if name in self.moving}
        with frozen_statistics(self.model):
            seen = functional_call(self.model, weights, (samples.image, goal, False))
        return {f"test_{name}": loss for name, loss in self.both(seen, goal, samples).items()}

    def both(self, seen: Seen, goal: Tensor, samples: Samples) -> dict[str, Tensor]:
        """Losses that training and test domains have: rec, domain, and with labels seg."""
        losses = {
            "rec": masked_mean((seen.drawn - goal).abs(), samples.valid.unsqueeze(1)),
            "domain": self.domain_loss(seen.domain, samples.domain),
        }
        return (
            losses
            if samples.label is None
            else {"seg": dice_sum_ce(self.logits(seen.content), samples.target), **losses}
        )

    def domain_loss(self, logits: Tensor, domain: Tensor) -> Tensor:
        """The loss of logits (B, domains) against the domains (B,)."""
        if self.options.domain_loss == "cross_entropy":
            return F.cross_entropy(logits.float(), domain)
        goal = F.one_hot(domain, logits.shape[1]).float()
        return F.binary_cross_entropy_with_logits(logits.float().softmax(1), goal)

    def logits(self, content: Tensor) -> Tensor:
        """Content (B, K + extra, *spatial) -> logits (B, K, *spatial)."""
        return content[:, : self.classes]

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        return self.logits(self.model.content(images))

    def pictures(self, images: Tensor) -> Mapping[str, Tensor]:
        """What to show beside images: the drawn ones, and those drawn with the style and domain of the next image."""
        goal = image_range(images).scaled(images)
        content, code = self.model.content(images), self.model.modality(goal).mean
        return {
            "reconstruction": self.model.decoder(content, code),
            "with the next image's style": self.model.decoder(content, code.roll(-1, 0)),
        }


def halves(domain: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Which samples, by domain (B,), are for training and for test: of the first three domains in this order that are there, the
    last is for test. Both are bool (B,).

    Raises:
        UsageError: if fewer than three are there.
    """
    present = three_domains(order[(order[:, None] == domain[None]).any(1)])
    test = domain == present[-1]
    return (domain[:, None] == present[None]).any(1) & ~test, test


def picked(samples: Samples, mask: Tensor) -> Samples:
    """The samples where the mask (B,) holds."""
    label = None if samples.label is None else samples.label[mask]
    return Samples(samples.image[mask], (), label, samples.valid[mask], samples.domain[mask], samples.index[mask])
