"""StyleMatch, FixMatch with a stochastic classifier and views in other domains' style (Zhou et al., IJCV 2023), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbones, Batch, Clock, Confidence, Losses, Method, MethodOptions, Optimiser, Stream, Task, Term
from semibench.blocks import (
    Supervision,
    adain,
    confident_cross_entropy,
    frozen_statistics,
    mix_amplitude,
    supervised_loss,
)


class StochasticClassifier(nn.Module):
    """Cosine classifier of positions whose weights are Gaussian: w = mu + softplus(s - 4) e, one e ~ N(0, 1) for a pass; the
    logits are f.w / (|f| |w| temperature), so they lie in +-1 / temperature."""

    def __init__(self, features: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(0.01 * torch.randn(classes, features))
        self.spread = nn.Parameter(torch.zeros(classes, features))
        self.temperature = temperature

    def forward(self, features: Tensor, *, drawn: bool) -> Tensor:
        """(B, F, *spatial) -> logits (B, K, *spatial); drawn: with random weights, else with mu."""
        weight: Tensor = self.mean
        if drawn:
            weight = weight + F.softplus(self.spread - 4.0) * torch.randn_like(weight)
        unit = F.normalize(features.float(), dim=1)
        return torch.einsum("bf...,kf->bk...", unit, F.normalize(weight, dim=1)) / self.temperature


def partners(domain: Tensor) -> Tensor:
    """(B,) domains -> (B,) samples of another domain: each domain gets one random other, whose samples are paired in order.
    With a single domain the second half of the batch is paired with the first."""
    rows = [(domain == one).nonzero()[:, 0] for one in domain.unique()]
    if len(rows) == 1:
        return torch.arange(len(domain), device=domain.device).roll(len(domain) // 2)
    partner = torch.empty_like(domain)
    for number, own in enumerate(rows):
        other = rows[(number + int(torch.randint(1, len(rows), ()))) % len(rows)]
        partner[own] = other[torch.arange(len(own), device=domain.device) % len(other)]
    return partner


class StyleMatch(Method):
    """A confident prediction on the weak view becomes the label of two views: the strong one, and one in the style of another
    source domain. The classifier's weights are random, against overfitting to few labels.

    On labeled and unlabeled samples together: p = softmax of the classifier with mu on the weak view, without gradient,
    y' = argmax p, m = [max p >= .95]; L = L_sup(x_l, y) + mean m CE(strong, y') + mean m CE(styled, y'), the means over all
    positions, confident or not. The three passes with a gradient draw weights of their own. In the last two terms the labels
    of labeled samples are predicted, too. Every batch has equally many samples of each source domain; styled is the image in
    the style of one randomly chosen other one, samples paired in order. The target domain is never a style.

    A classifier of images was published; how it came to segment for the tables is unknown. Ours: the classifier acts on each
    position, on `features` channels that the backbone's head gives; L_sup is that of all methods (preset `paper`: the
    cross-entropy). There is no VGG for volumes, so AdaIN (`style` = "adain", share .5) acts on intensities; "amplitude"
    mixes amplitude spectra instead. Strong views are the recipe's (published: RandAugment and cutout). The code sums the
    losses over the source domains, each with a pass of its own, and passes labeled images a second time for L_sup (preset
    `code`, `passes` = "apart"); by default one pass of labeled and unlabeled images of all domains serves both, and there is
    a mean. The code's styled image is unchanged otherwise; here it is the weak view, for which y' holds. The cosine schedule
    of preset `code` is poly here. The recipe's batch is divided among three domains (published: 16 + 16 of each). Passes
    over strong and styled views leave the running statistics alone. Scored: the network with mu.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "strong": Term(search=(0.1, 3.0), unlabeled=True),
        "styled": Term(search=(0.1, 3.0), unlabeled=True),
    }
    streams: ClassVar[Mapping[str, Stream]] = {
        "labeled": Stream("labeled", strong=1, size=1 / 3, per_domain=True),
        "unlabeled": Stream("unlabeled", strong=1, size=1 / 3, per_domain=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"options": {"loss": "cross_entropy"}},
        "code": {
            "options": {"loss": "cross_entropy", "passes": "apart"},
            "terms": {"sup": 3.0, "strong": 3.0, "styled": 3.0},
            "recipe": {
                "optimiser": "sgd",
                "momentum": 0.9,
                "lr": 0.003,
                "weight_decay": 5e-4,
                "schedule": "poly",
                "labeled_batch": 48,
                "unlabeled_batch": 48,
            },
        },
    }
    rehearsal_options: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `stylematch`."""

        threshold: Confidence = Field(
            0.95, ge=0.0, le=1.0, description="confidence from which a position counts; useful range .7 to .99"
        )
        temperature: float = Field(0.05, gt=0.0, description="divides the cosines; useful range .03 to .2")
        features: int = Field(16, ge=1, description="channels that the classifier sees; useful range 16 to 64")
        style: Literal["adain", "amplitude"] = Field(
            "adain", description="what a style is: mean and deviation of the intensities, or their amplitude spectrum"
        )
        share: float = Field(0.5, ge=0.0, le=1.0, description="share of the other style; useful range .1 to 1")
        passes: Literal["together", "apart"] = Field(
            "together", description="whether the domains of a batch share a pass, and so the statistics of batch norm"
        )
        rate: float = Field(
            10 / 3,
            gt=0.0,
            description="learning rate of the classifier, as a factor on the network's; useful range 1 to 10",
        )
        loss: Supervision = Field("dice_ce", description="supervised loss")

    def __init__(self, task: Task, backbones: Backbones, options: StyleMatch.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones(outputs=options.features)
        self.classifier = StochasticClassifier(options.features, len(task.classes), options.temperature)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """The network, and the classifier with a rate of its own."""
        return {"net": Optimiser((self.net,)), "classifier": Optimiser((self.classifier,), lr_factor=self.options.rate)}

    def features(self, images: Tensor, domain: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, F, *spatial), in one pass or in one for each domain; of a single domain, each half of the batch
        has a pass."""
        if self.options.passes == "together":
            return self.net(images)
        rows = [(domain == one).nonzero()[:, 0] for one in domain.unique()]
        if len(rows) == 1:
            rows = list(rows[0].chunk(2))
        found = torch.cat([self.net(images[own]) for own in rows])
        return found[torch.cat(rows).argsort()]

    def styled(self, images: Tensor, domain: Tensor, valid: Tensor) -> Tensor:
        """Images (B, C, *spatial) in the style of other domains of the batch; padding stays."""
        chosen = partners(domain)
        if self.options.style == "adain":
            return adain(images, images[chosen], self.options.share, valid=valid, style_valid=valid[chosen])
        low = images.flatten(1).amin(1).view(-1, *[1] * (images.ndim - 1))
        raised = images - low
        view = mix_amplitude(raised, raised[chosen], self.options.share) + low
        return torch.where(valid.unsqueeze(1), view, images)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; strong, styled: all samples."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count = len(labeled.image)
        images, strong = (
            torch.cat([one, two])
            for one, two in ((labeled.image, unlabeled.image), (labeled.strong[0], unlabeled.strong[0]))
        )
        valid, domain = torch.cat([labeled.valid, unlabeled.valid]), torch.cat([labeled.domain, unlabeled.domain])
        together = self.options.passes == "together"
        with torch.set_grad_enabled(together):
            features = self.features(images, domain)
        confidence, label = self.classifier(features.detach(), drawn=False).detach().softmax(1).max(1)
        kept = (confidence >= self.options.threshold) & valid
        self.notes["kept"] = kept.float().mean()
        learned = features[:count] if together else self.features(labeled.image, labeled.domain)
        sup = supervised_loss(self.classifier(learned, drawn=True), labeled.target, self.options.loss)
        losses = {"sup": sup}
        with frozen_statistics(self.net):
            for name, view in (("strong", strong), ("styled", self.styled(images, domain, valid))):
                logits = self.classifier(self.features(view, domain), drawn=True)
                losses[name] = confident_cross_entropy(logits, label, kept, valid=valid)
        return losses

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) with the mean weights."""
        return self.classifier(self.net(images), drawn=False)
