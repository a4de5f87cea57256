"""Which images move the running statistics that a method is tested with: the whole images of the batch, and no others. What BCP
mixes, CSC-PA hides, and FixMatch and SemSim show as strong views is published; A&D and DTLP-Net have tests of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semibench import Method
from semibench_plugins.backbones.mgcc_net import MGCCNet
from semibench_plugins.methods.adaptation.adaoutput import AdaOutput
from semibench_plugins.methods.adaptation.dan import DAN
from semibench_plugins.methods.adaptation.ddsp import DDSP
from semibench_plugins.methods.adaptation.dsan import DSAN
from semibench_plugins.methods.baselines.supervised import Supervised
from semibench_plugins.methods.consistency.cct import CCT
from semibench_plugins.methods.consistency.dct import DCT
from semibench_plugins.methods.consistency.entropy_minimisation import EntropyMinimisation
from semibench_plugins.methods.consistency.mean_teacher import MeanTeacher
from semibench_plugins.methods.consistency.ua_mt import UAMT
from semibench_plugins.methods.consistency.urpc import URPC
from semibench_plugins.methods.contrast_and_prototypes.scp_net import SCPNet
from semibench_plugins.methods.contrast_and_prototypes.ss_net.method import SSNet
from semibench_plugins.methods.generalisation.stylematch import StyleMatch
from semibench_plugins.methods.pseudo_labels.cnt_b import CnTB
from semibench_plugins.methods.pseudo_labels.cps import CPS
from semibench_plugins.methods.pseudo_labels.ctct import CTCT
from semibench_plugins.methods.pseudo_labels.diffrect.method import DiffRect
from semibench_plugins.methods.pseudo_labels.fixmatch import FixMatch
from semibench_plugins.methods.pseudo_labels.medfct.method import MedFCT
from semibench_plugins.methods.pseudo_labels.s4cvnet import S4CVNet
from semibench_plugins.methods.systems.diff_cl.method import DiffCL
from semibench_plugins.methods.systems.mgcc import MGCC
from semibench_plugins.methods.systems.semsim.method import SemSim, SemSimMinus

torch.set_num_threads(1)

SEMSIM = {"cells": 2, "width": 32}
SMALL_DIFF_CL = {"samples": 128, "extremes": 16, "anchors": 32, "bank": 64, "added": 64, "width": 8}
METHODS: list[tuple[type[Method], dict[str, Any], str, int]] = [
    (Supervised, {}, "net", 1),
    (MeanTeacher, {}, "student", 1),
    (UAMT, {"consistency": "all"}, "student", 1),
    (EntropyMinimisation, {}, "net", 1),
    (URPC, {}, "net", 1),
    (CCT, {}, "net", 1),
    (CCT, {"perturb": "all", "supervise": "all"}, "net", 1),
    (DCT, {}, "first", 1),
    (DCT, {}, "second", 1),
    (CPS, {}, "second", 1),
    (CTCT, {"second_width": 0.125}, "first", 1),
    (S4CVNet, {"second_width": 0.125}, "first", 1),
    (CnTB, {"second_width": 0.125}, "first", 1),
    (MedFCT, {"second_width": 0.125}, "student", 1),
    (DiffRect, {"rectifier_width": 0.125}, "net", 1),
    (SSNet, {}, "net", 1),
    (SCPNet, {}, "net", 1),
    (MGCC, {}, "net", 1),
    (AdaOutput, {"critic_filters": 4}, "net", 2),
    (DSAN, {"critic_filters": 4}, "net", 1),
    (DDSP, {}, "net", 1),
    (DAN, {"critic_filters": 4}, "net", 1),
    (DAN, {"critic_filters": 4, "maps": "again"}, "net", 1),
    (DiffCL, SMALL_DIFF_CL, "segmentation", 1),
    (StyleMatch, {}, "net", 1),
]
"""Method, options, a network that is tested, passes over whole images in an iteration."""


def norms(net: nn.Module) -> list[_BatchNorm]:
    return [part for part in net.modules() if isinstance(part, _BatchNorm)]


def one_iteration(kind: type[Method], options: dict[str, Any], network: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Returns the network after an iteration, the images that moved its statistics, and the whole images of the batch."""
    case = case_of(kind, options=options, **({"backbone": MGCCNet} if kind is MGCC else {}))
    method, batch = case.build().train(), case.data().batch(0)
    net: nn.Module = getattr(method, network)
    first = next(part for part in net.modules() if isinstance(part, nn.Conv2d))
    seen: list[Tensor] = []

    def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if all(norm.training and norm.track_running_stats for norm in norms(net)):
            seen.append(given[0].detach())

    first.register_forward_pre_hook(record)
    method.begin("train", case.data().pools)
    method.step(batch, clock(), Collected())
    method.after_step(clock())
    return net, torch.cat(seen), torch.cat([samples.image for samples in batch.values()])


def is_among(image: Tensor, whole: Tensor) -> bool:
    return any(torch.equal(image, one) for one in whole)


@pytest.mark.parametrize(
    ("kind", "options", "network", "passes"), METHODS, ids=[f"{k.__name__}-{n}-{len(o)}" for k, o, n, _ in METHODS]
)
def test_only_whole_images_move_the_statistics_of_a_tested_network(
    kind: type[Method], options: dict[str, Any], network: str, passes: int
) -> None:
    net, seen, whole = one_iteration(kind, options, network)
    assert norms(net) and len(seen) == len(whole)
    assert all(is_among(image, whole) for image in seen)
    assert {int(norm.num_batches_tracked) for norm in norms(net)} == {passes}, "in decoders too"


def test_a_quarter_turn_of_a_whole_image_counts_as_one() -> None:
    net, seen, whole = one_iteration(DCT, {"variant": "rotation"}, "first")
    turned = torch.cat([torch.rot90(whole, quarters, (2, 3)) for quarters in range(4)])
    assert all(is_among(image, turned) for image in seen)
    assert {int(norm.num_batches_tracked) for norm in norms(net)} == {2}


@pytest.mark.parametrize(
    ("kind", "options", "strong"),
    [(FixMatch, {}, 2), (FixMatch, {"variant": "a"}, 4), (SemSim, SEMSIM, 4), (SemSimMinus, SEMSIM, 4)],
)
def test_strong_views_move_them_as_in_the_published_code(
    kind: type[Method], options: dict[str, Any], strong: int
) -> None:
    """One pass over weak views and one over strong ones; the pass that labels partners, in eval mode, moves nothing."""
    net, seen, whole = one_iteration(kind, options, "net")
    assert len(seen) == len(whole) + strong
    assert sum(not is_among(image, whole) for image in seen) == strong
    assert {int(norm.num_batches_tracked) for norm in norms(net)} == {2}


@pytest.mark.parametrize("kind", [MeanTeacher, UAMT])
def test_the_statistics_of_a_teacher_follow_those_of_its_student(kind: type[Method]) -> None:
    """Worked: decay is min(1 - 1 / (t + 1), .99), so after two iterations each statistic is the mean of the student's two."""
    case = case_of(kind)
    method = case.build().train()
    student, teacher = (norms(getattr(method, name)) for name in ("student", "teacher"))
    history = []
    for step in range(2):
        method.step(case.data().batch(step), clock(step=step), Collected())
        method.after_step(clock(step=step))
        history.append([norm.running_mean.clone() for norm in student])
    for norm, first, second in zip(teacher, *history, strict=True):
        torch.testing.assert_close(norm.running_mean, (first + second) / 2)
        assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", [MeanTeacher, UAMT])
def test_a_student_learns_the_same_whatever_statistics_its_teacher_keeps(kind: type[Method]) -> None:
    """The teacher labels with the statistics of its batch, so the published student stays, digit by digit."""
    weights = []
    for rule in ("ema", "none"):
        case = case_of(kind)
        rehearsal = case.rehearse(steps=3)
        rehearsal.method.teacher.buffers_rule = rule  # type: ignore[union-attr]
        if rule == "none":
            for norm in norms(rehearsal.method.teacher):
                norm.running_mean.fill_(7.0)  # type: ignore[union-attr]
        weights.append({name: value for name, value in rehearsal.run().state().items() if name.startswith("student")})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
