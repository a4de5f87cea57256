"""U2PL: unreliable pseudo-labels as negatives of a contrastive loss (Wang et al., CVPR 2022), in 2D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE, Backbones, Batch, Clock, Losses, MethodOptions, Samples, Task, Term
from semibench.blocks import (
    ScoredTeacher,
    Supervision,
    Teacher,
    frozen_statistics,
    paste,
    supervised_loss,
    voxel_entropy,
)
from semibench_plugins.methods.contrast_and_prototypes.reliable_pixels import reweighted
from semibench_plugins.methods.contrast_and_prototypes.represented import Represented
from semibench_plugins.methods.contrast_and_prototypes.u2pl.contrast import Contrast, Memory, Pixels, Rule
from semibench_plugins.methods.systems.csc_pa.masking import below_percentile, percentile

PUBLISHED_RANKS = (3, 20)
"""r_l and r_h for the 21 classes of Pascal VOC."""


def _in_order(ranks: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= ranks[0] < ranks[1]:
        raise ValueError("expected 1 <= r_l < r_h")
    return ranks


class U2PL(ScoredTeacher):
    """A mean teacher with CutMix; pixels too uncertain for a pseudo-label are negatives of the classes they can't have.

    The teacher labels x^u in eval mode, y = argmax p. With probability .5 images and labels of the batch are cut-mixed: each
    gets a box of half the image's area from the next one. A second pass of the teacher over labeled and mixed images, in
    training mode, gives features and probabilities, and their entropy h decides. With t the progress:
    L_u = P / P_c mean CE(student, y) over the P_c of P pixels whose h is below its percentile 80 + 20 t.
    L_c contrasts student features with features of the teacher (`contrast`): h at most its percentile 20 (1 - t) makes an
    anchor of the pixel's class, h at least its percentile 100 - 20 (1 - t) a negative of the classes ranked r_l to r_h - 1.
    L = L_sup + L_u + .1 L_c. The first eightieth of the run (one epoch of 80) has L_sup alone; the teacher is then a copy of
    the student. L_sup is (CE + Dice) / 2 as in all methods here; the paper has
    CE (presets `csc-pa` and `code`).

    r_l, r_h are 3, 20 in the paper, which leaves no negatives with two or three classes. Here they are limited to K - 1
    and K: with two classes an uncertain pixel is a negative of the class that it isn't predicted to have. Preset `code` has
    the code's weight 1 of L_c, and its negatives (see `negatives`); there all passes move the running statistics, and the
    teacher stays a copy of the student for one more epoch, since the code copies in each of its steps. By default labeled
    images alone move the running statistics, and the teacher's follow. Preset `csc-pa`: one epoch of 200. The representation
    has 256 channels in `deeplabv3plus`.

    What differs from the code in its preset, too: the code's list of classes is wrong where a class is missing; and until
    the teacher is first copied, its running statistics come from passes with its initial weights, here from the student.

    Scored: the teacher (as published) and the student.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(),
        "pseudo": Term(1.0, search=(0.1, 4.0), unlabeled=True),
        "contrast": Term(0.1, search=(0.01, 1.0), unlabeled=True),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "code": {
            "options": {"loss": "cross_entropy", "negatives": "code", "statistics": "every-pass", "copied": 1 / 80},
            "terms": {"contrast": 1.0},
        },
        "csc-pa": {"options": {"loss": "cross_entropy", "supervised": 1 / 200}},
    }

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `u2pl`."""

        supervised: float = Field(1 / 80, ge=0.0, lt=1.0, description="share of the run on labels alone")
        copied: float = Field(
            0.0,
            ge=0.0,
            lt=1.0,
            description="share of the run, after that, in which the teacher is a copy of the student (code: 1/80)",
        )
        drop: float = Field(
            20.0,
            ge=0.0,
            le=100.0,
            description="percent of pixels without a pseudo-label at first; useful range 5 to 50",
        )
        extremes: float = Field(
            20.0,
            ge=0.0,
            le=50.0,
            description="percent of pixels that are certain, and uncertain, at first; useful 5 to 40",
        )
        ranks: Annotated[tuple[int, int], AfterValidator(_in_order)] = Field(
            PUBLISHED_RANKS, description="r_l and r_h: ranks of the classes that an uncertain pixel can't have"
        )
        negatives: Rule = Field("paper", description="which pixels are negatives of a class")
        anchors: int = Field(256, ge=1, description="anchors of a class")
        samples: int = Field(50, ge=1, description="negatives of an anchor")
        temperature: float = Field(0.5, gt=0.0, description="of the contrastive loss; useful range .1 to 1")
        least: float = Field(0.3, ge=0.0, le=1.0, description="lowest probability of an anchor's class")
        bank: int = Field(
            30000, ge=1, description="negatives to remember for each class; five thirds of it for background"
        )
        cutmix: float = Field(0.5, ge=0.0, le=1.0, description="probability that a batch is cut-mixed")
        decay: float = Field(
            0.99, ge=0.0, le=1.0, description="largest decay of the teacher; useful range .99 to .9995"
        )
        statistics: Literal["labeled", "every-pass"] = Field(
            "labeled", description="what moves running statistics: labeled images alone, or every pass (the code)"
        )
        loss: Supervision = Field("dice_ce", description="supervised loss; cross_entropy: the paper")

    def __init__(self, task: Task, backbones: Backbones, options: U2PL.Options) -> None:
        super().__init__(task, backbones, options)
        self.options, self.classes = options, len(task.classes)
        self.student: Represented = Represented(backbones())
        rule: Literal["none", "ema"] = "none" if options.statistics == "every-pass" else "ema"
        self.teacher = Teacher(self.student, options.decay, buffers=rule, mode="eval")
        sizes = (5 * options.bank // 3, *[options.bank] * (self.classes - 1))
        self.memory = Memory(sizes, self.student.width)
        self.contrast = Contrast(
            options.anchors, options.samples, options.temperature, options.least,
            (min(options.ranks[0], self.classes - 1), min(options.ranks[1], self.classes)), options.negatives,
        )  # fmt: skip

    def after_step(self, clock: Clock) -> None:
        """Copies the student in the part on labels alone, then updates the moving average. Later copies count as updates."""
        if clock.progress < self.options.supervised:
            self.teacher.copy(self.student)
        elif clock.progress < self.options.supervised + self.options.copied:
            self.teacher.copy(self.student, restart=False)
        else:
            self.teacher.update(self.student)

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        """sup: labeled part; pseudo: mixed unlabeled part; contrast: both."""
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        if clock.progress < self.options.supervised:
            logits = self.student(labeled.image)
            sup = supervised_loss(logits, labeled.target, self.options.loss)
            return {"sup": sup, "pseudo": sup.new_zeros(()), "contrast": sup.new_zeros(())}
        mixed, label = self._mixed(unlabeled)
        images, count = torch.cat([labeled.image, mixed]), len(labeled.image)
        logits, features = self._learn(images, count)
        logits_t, features_t = self._teach(images)
        entropy = voxel_entropy(logits_t)
        counted = label != IGNORE
        reliable = below_percentile(entropy[count:], percentile(clock.progress, self.options.drop), counted) & counted
        self.notes["kept"] = reliable.float().mean()
        pixels = self._pixels(torch.cat([labeled.target, label]), logits_t, entropy, count, clock, features)
        return {
            "sup": supervised_loss(logits[:count], labeled.target, self.options.loss),
            "pseudo": reweighted(logits[count:], label, reliable),
            "contrast": self.contrast(_rows(features), _rows(features_t), pixels, self.memory),
        }

    def _mixed(self, unlabeled: Samples) -> tuple[Tensor, Tensor]:
        """Unlabeled images, cut-mixed at times, and their labels (B, H, W) with IGNORE on padding."""
        image = unlabeled.image
        label = self.teacher(image).argmax(1).masked_fill(~unlabeled.valid, IGNORE)
        if torch.rand(()) >= self.options.cutmix:
            return image, label
        box = half_boxes(len(image), image.shape[2:]).to(image.device)
        return paste(image, image.roll(-1, 0), box), paste(label, label.roll(-1, 0), box)

    def _learn(self, images: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Logits and representation of the student."""
        if self.options.statistics == "every-pass":
            return self.student.both(images)
        labeled = self.student.both(images[:count])
        with frozen_statistics(self.student):
            mixed = self.student.both(images[count:])
        return torch.cat([labeled[0], mixed[0]]), torch.cat([labeled[1], mixed[1]])

    @torch.no_grad()
    def _teach(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and representation of the teacher in training mode."""
        net = self.teacher.net
        assert isinstance(net, Represented)
        net.train()
        if self.options.statistics == "every-pass":
            outputs = net.both(images)
        else:
            with frozen_statistics(net):
                outputs = net.both(images)
        net.eval()
        return outputs

    def _pixels(self, label: Tensor, logits: Tensor, entropy: Tensor, count: int, clock: Clock, like: Tensor) -> Pixels:
        """What the contrastive loss must know, at the resolution of `like` (B, D, h, w)."""
        share = self.options.extremes * (1.0 - clock.progress)
        counted = label != IGNORE
        low, high = counted.clone(), counted.clone()
        low[count:] &= ~below_percentile(-entropy[count:], 100.0 - share, counted[count:])
        high[count:] &= ~below_percentile(entropy[count:], 100.0 - share, counted[count:])
        labeled = torch.zeros_like(counted)
        labeled[:count] = True
        size = like.shape[2:]
        maps = torch.stack([label.float(), labeled.float(), low.float(), high.float()], 1)
        kind, true, certain, uncertain = F.interpolate(maps, size, mode="nearest").movedim(1, 0).flatten(1)
        probabilities = F.interpolate(logits.float().softmax(1), size, mode="nearest")
        return Pixels(kind.long(), _rows(probabilities), true > 0, certain > 0, uncertain > 0)


def half_boxes(count: int, size: torch.Size) -> Tensor:
    """bool (count, H, W), True in a box of half the area: its width is uniform between W / 2 and W, its place as well."""
    height, width = size
    mask = torch.zeros(count, height, width, dtype=torch.bool)
    for one in mask:
        wide = int(torch.randint(width // 2 + 1, max(width, width // 2 + 2), ()))
        high = min(round(0.5 * height * width / wide), height)
        top, left = (int(torch.randint(side - part + 1, ())) for side, part in ((height, high), (width, wide)))
        one[top : top + high, left : left + wide] = True
    return mask


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B h w, C)."""
    return maps.movedim(1, -1).flatten(0, 2)
