"""PH-Net, patch-wise hardness (Jiang et al., CVPR 2024), in 2D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, MethodOptions, Task, Term
from semibench.blocks import ScoredTeacher, Supervision, Teacher, frozen_statistics, paste, supervised_loss
from semibench_plugins.methods.contrast_and_prototypes.reliable_pixels import reweighted
from semibench_plugins.methods.contrast_and_prototypes.represented import Represented
from semibench_plugins.methods.systems.csc_pa.masking import below_percentile, entropy, patch_of_pixels, percentile

WARM_UP = 0.05
"""10 of 200 epochs."""
LEAST_WIDTH = 16
LEAST_SIDE = 2
"""Smallest side of a patch of features, in positions: a patch of one position never holds two classes."""


def _shares(cut: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 <= cut[0] <= cut[1] <= 1.0:
        raise ValueError("expected 0 <= smallest <= largest <= 1")
    return cut


def patch_means(maps: Tensor, grid: int) -> Tensor:
    """(B, H, W) -> (B, grid^2): the mean of each patch; patches are as equal in size as possible. NaN for an empty patch."""
    index = patch_of_pixels((maps.shape[1], maps.shape[2]), grid, maps.device).flatten().expand(len(maps), -1)
    empty = torch.zeros(len(maps), grid * grid, device=maps.device)
    total = empty.scatter_add(1, index, maps.flatten(1).float())
    return total / empty.scatter_add(1, index, torch.ones_like(maps, dtype=empty.dtype).flatten(1))


def easy_patches(hardness: Tensor, protect: float, cut: tuple[float, float]) -> Tensor:
    """Draws the patches to replace, bool (B, P). The hardest share `protect` stays; of the others, a share of all patches that
    is uniform in `cut`, drawn for each image, is chosen at random."""
    count = hardness.shape[1]
    allowed = round((1.0 - protect) * count)
    easy = hardness.argsort(dim=1, stable=True).argsort(1) < allowed
    share = torch.rand(len(hardness), 1, device=hardness.device) * (cut[1] - cut[0]) + cut[0]
    number = (share * count).round().clamp(max=allowed)
    order = torch.rand(hardness.shape, device=hardness.device).masked_fill(~easy, 2.0).argsort(1).argsort(1)
    return order < number


@dataclass(frozen=True)
class PatchedMaps:
    """What the contrast looks at, flat over the positions of the feature map: features (N, D), label (N,) with IGNORE, the patch
    (N,) of each position, counted over the whole batch, and the hardness (P,) of the patches."""

    features: Tensor
    label: Tensor
    patch: Tensor
    hardness: Tensor

    @classmethod
    def of(cls, features: Tensor, label: Tensor, doubt: Tensor, grid: int) -> PatchedMaps:
        """features (B, D, h, w); label and entropy (B, H, W), which are taken to the size of the features."""
        size = (features.shape[2], features.shape[3])
        within = patch_of_pixels(size, grid, features.device).flatten()
        patch = torch.arange(len(features), device=features.device).view(-1, 1) * grid**2 + within
        small = F.interpolate(doubt.unsqueeze(1).float(), size, mode="bilinear", align_corners=False).squeeze(1)
        kinds = F.interpolate(label.unsqueeze(1).float(), size, mode="nearest").squeeze(1).long()
        flat = features.flatten(2).transpose(1, 2).flatten(0, 1)
        return cls(flat, kinds.flatten(), patch.flatten(), patch_means(small, grid).flatten())

    def counts(self, classes: int) -> Tensor:
        """How many positions of a patch have a class, (P, K)."""
        counted = self.label != IGNORE
        index = self.patch[counted] * classes + self.label[counted]
        return torch.bincount(index, minlength=len(self.hardness) * classes).view(-1, classes)


def hard_patch_contrast(
    anchors: PatchedMaps, labeled: PatchedMaps, classes: int, temperature: float, *, hard_only: bool = True
) -> Tensor:
    """Contrast of unlabeled positions in patches with several classes, a scalar; 0 where there are none.

    Each such patch takes the prototypes of the labeled patch with several classes whose hardness is nearest. A position counts
    if the prototype with the greatest scalar product is that of its label. Its loss is the cross-entropy over the cosines with
    the prototypes / temperature; means over the positions of each class of each patch, then over these. The features of
    `labeled` are constants. hard_only: False lets unlabeled patches with one class count, too.
    """
    mine, theirs = anchors.counts(classes), labeled.counts(classes)
    mixed, sources = (mine > 0).sum(1) > int(hard_only), ((theirs > 0).sum(1) > 1).nonzero()[:, 0]
    if not len(sources) or not bool(mixed.any()):
        return 0.0 * anchors.features.sum()
    gaps = (anchors.hardness.unsqueeze(1) - labeled.hardness[sources]).abs()
    match = sources[gaps.argmin(1)]
    rows = (mixed[anchors.patch] & (anchors.label != IGNORE)).nonzero()[:, 0]
    features, label, patch = anchors.features[rows].float(), anchors.label[rows], anchors.patch[rows]
    with torch.no_grad():
        inside = labeled.label != IGNORE
        index = labeled.patch[inside] * classes + labeled.label[inside]
        sums = features.new_zeros(theirs.numel(), features.shape[1]).index_add_(
            0, index, labeled.features[inside].detach().float()
        )
        prototypes = (sums / theirs.flatten().clamp(min=1).unsqueeze(1)).view(*theirs.shape, -1)[match]
        present = (theirs > 0)[match]
        product = torch.einsum("nd,nkd->nk", features, prototypes[patch]).masked_fill(~present[patch], -math.inf)
        kept = product.argmax(1) == label
    features, label, patch = features[kept], label[kept], patch[kept]
    cosine = torch.einsum("nd,nkd->nk", F.normalize(features, dim=1), F.normalize(prototypes, dim=2)[patch])
    logits = (cosine / temperature).masked_fill(~present[patch], -math.inf)
    each = F.cross_entropy(logits, label, reduction="none")
    group = patch * classes + label
    number = torch.bincount(group, minlength=mine.numel()).float()
    means = torch.zeros_like(number).index_add(0, group, each) / number.clamp(min=1.0)
    return means.sum() / (number > 0).sum().clamp(min=1)


class PHNet(ScoredTeacher):
    """Mean teacher whose entropy says which patches of an image are hard. Easy ones are replaced, hard ones are contrasted.

    The hardness of a patch is the mean of H(p) / ln K over it, p the teacher's softmax, on a grid of 9 x 9. Adaptive patch
    augmentation: the hardest 30 % of the patches of an unlabeled image stay; of the others a share of U(.1, .5) of all
    patches is replaced by the same places of the next image, labels included. Hard-patch contrast (`hard_patch_contrast`)
    compares the student's features in augmented images, where a patch holds several classes, with prototypes of the teacher's
    features in a labeled patch that is about as hard.

    L = CE(labeled) + w_u CE(augmented, teacher's label; filtered) + w_c L_c. The filter keeps the pixels whose entropy is
    below a percentile that grows from 80 to 100 over the run, and the loss counts all / kept times. Both weights are 1 after a
    supervised twentieth of the run.

    Released are the network and both modules, but no training: losses, weights, filter (U2PL's), temperature (.5, U2PL's),
    warm-up and the teacher's schedule are a reconstruction. Decisions made here: patches of the feature map are as equal as
    possible instead of resizing it to a multiple of 9, and there are fewer of them where it is small; the contrast takes their
    hardness from resized entropies, the code from resized probabilities; the teacher runs in eval mode, and augmented images
    leave the running statistics alone; with more than two classes the other prototypes of the patch are the negatives (the
    code is binary). The released network is `deeplabv3plus` with `low_channels=48`, but enlarges maps by nearest neighbours.
    Scored: the teacher and the student.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "unsup": Term(1.0, active=(WARM_UP, math.inf), search=(0.3, 3.0), unlabeled=True),
        "contrast": Term(1.0, active=(WARM_UP, math.inf), search=(0.05, 2.0), unlabeled=True),
    }

    rehearsal_options: ClassVar[Mapping[str, Any]] = {"hard_only": False}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `ph-net`."""

        grid: int = Field(9, ge=2, description="patches per side; useful range 4 to 16")
        protect: float = Field(
            0.3, ge=0.0, lt=1.0, description="share of the hardest patches that stay; useful range .1 to .6"
        )
        cut: Annotated[tuple[float, float], AfterValidator(_shares)] = Field(
            (0.1, 0.5), description="smallest and largest share of the patches to replace; useful range 0 to .7"
        )
        drop: float = Field(
            20.0, ge=0.0, le=100.0, description="percent of the pixels that the filter drops at first; ends at 0"
        )
        hard_only: bool = Field(
            True, description="contrast unlabeled patches with several classes only (the code), or all of them"
        )
        temperature: float = Field(0.5, gt=0.0, description="of the contrast; useful range .07 to 1")
        decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the teacher; useful range .9 to .999")
        width: int | None = Field(
            None,
            ge=1,
            description="channels of the projection head; default half of the decoder map's (256 of 512), at least 16",
        )
        loss: Supervision = Field("cross_entropy", description="supervised loss")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        """2D only."""
        return None if task.dims == 2 else "its patches are those of images: use a 2D network (--dims 2)"

    def __init__(self, task: Task, backbones: Backbones, options: PHNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        net = backbones()
        width = options.width or max(LEAST_WIDTH, net.decoder.channels[0] // 2)
        self.student = Represented(net, width)
        self.teacher = Teacher(self.student, options.decay, buffers="ema", mode="eval")

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; unsup, contrast: augmented unlabeled images, after the warm-up."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        count, logits = len(labeled.image), self.student(labeled.image)
        losses = {"sup": supervised_loss(logits, labeled.target, self.options.loss)}
        if clock.progress < WARM_UP:
            return {**losses, "unsup": logits.new_zeros(()), "contrast": logits.new_zeros(())}
        logits, features = self.teacher(torch.cat([labeled.image, unlabeled.image]), features=True)
        p = logits.float().softmax(1)
        doubt = entropy(p) / math.log(self.classes)
        label = p[count:].argmax(1).masked_fill(~unlabeled.valid, IGNORE)
        image, label, mixed_doubt = self._augmented(unlabeled.image, label, doubt[count:])
        with frozen_statistics(self.student):
            logits, anchors = self.student(image, features=True)
        grid = max(1, min(self.options.grid, min(features.shape[2:]) // LEAST_SIDE))
        contrast = hard_patch_contrast(
            PatchedMaps.of(F.normalize(anchors, dim=1), label, mixed_doubt, grid),
            PatchedMaps.of(F.normalize(features[:count], dim=1), labeled.target, doubt[:count], grid),
            self.classes,
            self.options.temperature,
            hard_only=self.options.hard_only,
        )
        unsup = self._filtered(logits, label, mixed_doubt, clock)
        return {**losses, "unsup": unsup, "contrast": contrast}

    def _augmented(self, image: Tensor, label: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replaces easy patches of images, labels and entropies by those of the next image."""
        grid = min(self.options.grid, *image.shape[2:])
        chosen = easy_patches(patch_means(doubt, grid), self.options.protect, self.options.cut)
        mask = chosen[:, patch_of_pixels((image.shape[2], image.shape[3]), grid, image.device)]
        self.notes["replaced"] = mask.float().mean()
        mixed = [paste(maps, maps.roll(-1, 0), mask) for maps in (image, label, doubt)]
        return mixed[0], mixed[1], mixed[2]

    def _filtered(self, logits: Tensor, label: Tensor, doubt: Tensor, clock: Clock) -> Tensor:
        """CE over the pixels of low entropy, times all / kept."""
        valid = label != IGNORE
        kept = below_percentile(doubt, percentile(clock.progress, self.options.drop), valid) & valid
        return reweighted(logits, label, kept)
