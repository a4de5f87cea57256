"""DTLP-Net, diverse teaching and label propagation network (arXiv 2508.08549, 2025), in 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from semibench import (
    IGNORE,
    Backbones,
    Batch,
    Clock,
    Method,
    Optimise,
    Optimiser,
    Ramp,
    Samples,
    Task,
    Term,
    UsageError,
)
from semibench.blocks import Teacher, gumbel_blur, paste, without_dropout
from semibench_plugins.methods.generalisation.three_decoders.losses import dice_with_ce, soft_dice_between
from semibench_plugins.methods.generalisation.three_decoders.network import ThreeDecoders
from semibench_plugins.methods.nesterov import one_optimiser
from semibench_plugins.methods.systems.dtlp_net.ensemble import as_probabilities, fused
from semibench_plugins.methods.systems.dtlp_net.inputs import boxes, kept_blocks, partners
from semibench_plugins.methods.systems.dtlp_net.losses import relative_error
from semibench_plugins.methods.systems.dtlp_net.options import DTLPOptions
from semibench_plugins.methods.systems.dtlp_net.presets import PRESETS
from semibench_plugins.methods.systems.dtlp_net.propagation import propagated


class DTLPNet(Method):
    """A&D's encoder and decoders, two teachers for theta, and label propagation between similar voxels.

    deno, diff (eq. 2, 3): as in A&D, DiceCE = (CE + 1 - Dice) / 2. Teacher 1 is (Blur(Gumbel-softmax(o_xi)) +
    softmax(o_psi)) / 2 (eq. 7; the prose swaps the two symbols and eq. 7 leaves out the blur); teacher 2 is the moving
    average of encoder and theta. With `teachers=t1+t2`, p_t is their mean weighted by exp(-entropy) (eq. 8-10); by default it
    is teacher 1, since in short runs teacher 2 is sure of its labels before they are right. y_t is the argmax of p_t without
    threshold. Class weights act on the Dice alone. theta learns
    sup (ours): DiceCE(theta(x_l), y). The paper's theta sees labels only in mixed samples, which is too little for short runs;
    mix (eq. 12, 13): DiceCE on unlabeled samples with a pasted box of another sample and its label or pseudo-label;
    mic (eq. 14, 15): DiceCE(theta(masked x_u), y_t);
    rec (eq. 16): theta on masked labeled and unlabeled samples against teacher 2 on whole ones, relative squared error;
    kd (eq. 17): soft Dice of theta(x_u) with the diffusion's map and with psi;
    coor (eq. 18-21): DiceCE of logits propagated by the correlation of two embeddings of the encoder's map: theta(x_u)
    against y_t and xi(x_l, y_t) against y.
    The presets for Table I, `both-teachers` and `printed` follow eq. 3, 10 and 22: sup has weight 0 there.
    L = [sup +] deno + diff + mix + alpha mic + beta kd + gamma rec + eta coor (eq. 22). plain (eq. 11, L_u) is not in eq. 22
    nor in the ablation: weight 0.

    Only passes of whole images along the image path move running statistics (`statistics`): psi's of labeled and unlabeled
    images, theta's of whole unlabeled ones for kd and coor, and teacher 2's own. Noisy, mixed and masked input moves nothing.
    Labels are predicted with the statistics of the batch and without dropout (`labelling`, `teacher_mode`).

    Readings: the EMA's decay is not printed (.99 with warm-up, every iteration; the abstract says periodically); the
    difficulty of eq. 3-6 uses the moving averages of A&D's code (`difficulty`); the side of the box is not given; eq. 16
    says logits, other places features; eq. 17 uses the diffusion's map before the Gumbel noise; for eq. 18's scale, D and
    resolution see `propagation`; beta and gamma may be exchanged in Table I (presets NAME-swapped); no ramp is mentioned
    (preset `ramped`; the recipe may ramp them, too); inference uses decoder theta (figure 1 writes an encoder). A&D's blending of
    theta is in the presets alone (`mixing`). Without a preset, the weights are those of the M&Ms row.

    An iteration runs five backward passes (deno and its part of coor; diff and sup; mix; mic and rec; kd, plain and the rest of
    coor), so that memory holds the activations of one group at a time. Scored: theta (published) and the teacher.
    """

    terms: Mapping[str, Term] = {
        "sup": Term(search=(0.3, 3.0)),
        "deno": Term(search=(0.3, 3.0)),
        "diff": Term(search=(0.3, 3.0)),
        "mix": Term(search=(0.3, 3.0), unlabeled=True),
        "mic": Term(1.0, search=(0.05, 3.0), unlabeled=True),
        "kd": Term(0.1, search=(0.02, 1.0), unlabeled=True),
        "rec": Term(0.1, search=(0.02, 1.0), unlabeled=True),
        "coor": Term(1.0, search=(0.3, 2.0)),
        "plain": Term(0.0),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    class Options(DTLPOptions, frozen=True, extra="forbid"):
        """Options of `dtlp-net`; see `DTLPOptions`."""

    def __init__(self, task: Task, backbones: Backbones, options: DTLPNet.Options) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.kinds = len(task.classes)
        self.network = ThreeDecoders(backbones, options.statistics)
        net = self.network.net
        if options.stride not in net.strides:
            raise UsageError(f"stride {options.stride}: the backbone only has maps with strides {net.strides}")
        self.level = net.strides.index(options.stride)
        width = self.kinds if options.embedding == "classes" else options.embedding
        conv = (nn.Conv2d, nn.Conv3d)[task.dims - 2]
        self.queries, self.keys = (conv(net.channels[self.level], width, 1) for _ in range(2))
        self.difficulty = options.class_difficulty(self.kinds)
        mode: Literal["train", "eval"] = "eval" if options.teacher_mode == "eval" else "train"
        self.teacher = Teacher(net, options.decay, buffers=options.buffers, mode=mode)

    def optimisers(self) -> Mapping[str, Optimiser]:
        """One optimiser for everything; SGD if `nesterov` is set."""
        return one_optimiser(self, nesterov=self.options.nesterov)

    def _dice_ce(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return dice_with_ce(logits, target, weight=weight, weighted=self.options.weighted, form=self.options.loss)

    def _propagated(self, maps: list[Tensor], logits: Tensor) -> Tensor:
        """Eq. 18-20 for logits (B, K, *spatial) and the encoder's maps of the same pass."""
        options, features = self.options, maps[self.level]
        source = logits.detach() if options.detach_logits else logits
        return propagated(
            self.queries(features), self.keys(features), source,
            norm=options.norm, scale=options.scale, budget=options.memory,
        )  # fmt: skip

    def _teaching(self) -> AbstractContextManager[None]:
        return without_dropout(self.teacher) if self.options.teacher_mode == "no-dropout" else nullcontext()

    @torch.no_grad()
    def teach(self, images: Tensor, progress: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Eq. 7-10 for unlabeled images (B, C, *spatial): fused p_t, the diffusion's label map, softmax of psi, logits
        of teacher 2. progress: the share of the run that is done."""
        options = self.options
        drawn, psi = self.network.labels(
            images, self.kinds, mode=options.labelling, steps=options.ddim_steps, clean=options.clean_map
        )
        first = 0.5 * (gumbel_blur(drawn, temperature=options.temperature, sigma=options.blur) + psi)
        with self._teaching():
            second = self.teacher(images)
        return self._fused(first, second.float().softmax(1), progress), drawn, psi, second

    def _fused(self, first: Tensor, second: Tensor, progress: float) -> Tensor:
        """Eq. 10, or one teacher alone; teacher 2 may come in gradually."""
        options = self.options
        if options.teachers != "t1+t2":
            return first if options.teachers == "t1" else second
        end = options.teacher_ramp
        return fused(first, second, Ramp("sigmoid", end)(progress) if end else 1.0)

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        """Runs one iteration, with a backward pass for each group of losses."""
        self.network.blend(self.options.mixing)
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        target = labeled.target
        image, image_u = labeled.image, unlabeled.image
        self._learn_labels(image, target, clock, optimise)
        fusion, drawn, psi, second = self.teach(image_u, clock.progress)
        pseudo = fusion.argmax(1).masked_fill(~unlabeled.valid, IGNORE)
        self.notes["confidence"] = fusion.amax(1).mean()
        optimise({"mix": self._mixed(image, target, image_u, pseudo)}, step=False)
        self._learn_masked(image, image_u, labeled, unlabeled, pseudo, second, optimise)
        self._learn_whole(image_u, unlabeled.valid, pseudo, drawn, psi, optimise)

    def _learn_labels(self, image: Tensor, target: Tensor, clock: Clock, optimise: Optimise) -> None:
        """Learns deno and the labeled part of coor, updates the difficulty from xi, then learns diff and sup."""
        restored, maps = self.network.denoise_labels(image, target, self.kinds)
        weights = self.difficulty.update(restored.detach().argmax(1), target)
        self.notes["greatest-class-weight"] = weights.max()
        weight = None if self.options.difficulty == "none" else weights
        coor = self._dice_ce(self._propagated(maps, restored), target)
        optimise({"deno": self._dice_ce(restored, target), "coor": coor}, step=False)
        if not self.weight("sup", clock):
            optimise({"diff": self._dice_ce(self.network.psi_logits(image), target, weight)}, step=False)
            return
        theta, psi = self.network.image_logits(image)
        optimise({"diff": self._dice_ce(psi, target, weight), "sup": self._dice_ce(theta, target)}, step=False)

    def _mixed(self, image: Tensor, target: Tensor, image_u: Tensor, pseudo: Tensor) -> Tensor:
        """Eq. 12, 13 (printed with a != b for i != j)."""
        partner = partners(len(image_u), len(image)).to(image_u.device)
        box = boxes(image_u.shape[2:], len(image_u), self.options.box, like=image_u)
        images = paste(image_u, torch.cat([image_u, image])[partner], box)
        labels = paste(pseudo, torch.cat([pseudo, target.to(pseudo)])[partner], box)
        with self.network.auxiliary():
            return self._dice_ce(self.network.theta_logits(images), labels)

    def _learn_masked(
        self,
        image: Tensor,
        image_u: Tensor,
        labeled: Samples,
        unlabeled: Samples,
        pseudo: Tensor,
        second: Tensor,
        optimise: Optimise,
    ) -> None:
        """Learns mic on masked unlabeled samples and rec on all; masked voxels are 0."""
        options, net = self.options, self.network.net
        whole = torch.cat([image_u, image])
        valid = torch.cat([unlabeled.valid, labeled.valid])
        masked = whole * kept_blocks(whole, options.mask_ratio)
        with self.network.auxiliary():
            decoded = net.decoder(net.encode(masked))[0]
            logits = net.decoder.head(decoded)
        if options.rec_on == "features":
            goal, mine = self._goal(whole), decoded
        else:
            with self._teaching():
                goal, mine = torch.cat([second, self.teacher(image)]), logits
            if options.rec_on == "probabilities":
                goal, mine = goal.float().softmax(1), logits.float().softmax(1)
        mic = self._dice_ce(logits[: len(image_u)], pseudo)
        optimise({"mic": mic, "rec": relative_error(mine, goal, valid)}, step=False)

    @torch.no_grad()
    def _goal(self, images: Tensor) -> Tensor:
        net: Any = self.teacher.net
        with self._teaching():
            decoded: Tensor = net.decoder(net.encode(images))[0]
        return decoded

    def _learn_whole(
        self, image_u: Tensor, valid: Tensor, pseudo: Tensor, drawn: Tensor, psi: Tensor, optimise: Optimise
    ) -> None:
        """Learns kd, plain and the unlabeled part of coor on whole unlabeled samples; this last group takes the step."""
        net, squared = self.network.net, self.options.kd_squared
        maps = net.encode(image_u)
        logits = net.decode(maps, image_u.shape[2:])
        mine = logits.float().softmax(1)
        goals = (as_probabilities(drawn, self.options.kd_map), psi)
        kd = [soft_dice_between(mine, goal, valid=valid, squared=squared) for goal in goals]
        optimise(
            {
                "kd": kd[0] + kd[1],
                "plain": self._dice_ce(logits, pseudo),
                "coor": self._dice_ce(self._propagated(maps, logits), pseudo),
            }
        )

    def after_step(self, clock: Clock) -> None:
        """Updates the teacher."""
        self.teacher.update(self.network.net)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial) of theta on the image path, without diffusion."""
        return self.network.theta_logits(images)

    def predictors(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """theta (published tables) and the teacher."""
        return {"theta": self.network.theta_logits, "teacher": self.teacher}
