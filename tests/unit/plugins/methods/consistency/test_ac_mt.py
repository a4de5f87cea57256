"""AC-MT: worked numbers and the laws of its selection."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.methods_support import Collected, Constant, blank, case_of, clock, quiet, reached
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semibench import Clock
from semibench.blocks import Teacher
from semibench_plugins.methods.consistency.ac_mt import ACMT, normalised_entropy
from semibench_plugins.methods.consistency.ua_mt import UAMT

torch.set_num_threads(1)

END = Clock("train", 100, 100, {})


def by_foreground(*values: float) -> Tensor:
    p = torch.tensor(values).view(2, 2)
    return torch.stack([(1 - p).log(), p.log()])


STUDENT, TEACHER = by_foreground(0.6, 0.8, 0.9, 0.3), by_foreground(0.5, 0.9, 0.99, 0.3)


def acmt(student: Tensor = STUDENT, teacher: Tensor = TEACHER, **options: Any) -> ACMT:
    method = case_of(ACMT, options={"noise": 0.0, **options}).build().train()
    assert isinstance(method, ACMT)
    method.student = Constant(student)  # type: ignore[assignment]
    method.teacher = Teacher(Constant(teacher))
    return method


def test_ambiguity_and_loss_worked_numbers() -> None:
    method = acmt(end=0.95)
    entropy = normalised_entropy(STUDENT.unsqueeze(0).softmax(1)).flatten()
    assert entropy.tolist() == pytest.approx([0.971, 0.7219, 0.469, 0.8813], abs=1e-3)
    assert method.threshold(clock(step=0)) == pytest.approx(0.75135, abs=1e-5)
    early = method.losses(blank(), clock(step=0))["consistency"]
    assert early.item() == pytest.approx(0.005, abs=1e-6), "the first and the last voxel"
    assert method.threshold(END) == 0.95
    assert method.losses(blank(), END)["consistency"].item() == pytest.approx(0.01, abs=1e-6), "the first voxel"
    assert reached(early, method.student) and not any(p.requires_grad for p in method.teacher.parameters())


def test_the_papers_threshold_falls() -> None:
    """From .749, the entropy of .786; .95, the end of the code, is the entropy of .63."""
    method = acmt()
    two = torch.tensor([[0.786, 0.214], [0.63, 0.37]]).T.view(1, 2, 2)
    assert normalised_entropy(two).flatten().tolist() == pytest.approx([0.749, 0.951], abs=1e-3)
    assert method.threshold(clock(step=0)) == pytest.approx(0.749, abs=1e-4)
    assert method.threshold(END) == pytest.approx(0.6)
    late = method.losses(blank(), END)["consistency"].item()
    assert late == pytest.approx((0.02 + 0.02 + 0.0) / 6, abs=1e-6), "with the second voxel"
    assert ACMT.presets["la"]["options"] == {"end": 0.95}


def test_weight_and_no_ambiguous_position() -> None:
    method = acmt(by_foreground(0.99, 0.99, 0.01, 0.01))
    assert method.losses(blank(), clock())["consistency"].item() == 0.0
    weights = [method.weight("consistency", Clock("train", step, 8000, {})) for step in (0, 149, 3000, 6000)]
    assert weights == pytest.approx([6.7379e-4, 6.7379e-4, 0.02865048, 0.1], rel=1e-4)
    same = acmt(STUDENT, STUDENT)
    assert same.losses(blank(), clock())["consistency"].item() == 0.0


def test_uncertain_positions_are_those_that_ua_mt_leaves_out() -> None:
    """Of equal networks at an equal threshold; the divisor lacks the number of classes."""
    method = acmt(selector="uncertainty", end=0.9)
    threshold = method.threshold(clock(step=0))
    images = torch.zeros(1, 1, 2, 2)
    ambiguous = method.ambiguity(images, STUDENT.unsqueeze(0).softmax(1)) >= threshold
    other = case_of(UAMT, options={"noise": 0.0}).build().train()
    assert isinstance(other, UAMT)
    other.teacher = Teacher(Constant(STUDENT))
    certain = other.uncertainty(images) < threshold * math.log(2)
    assert torch.equal(ambiguous, ~certain) and ambiguous.any() and certain.any()
    assert method.losses(blank(), clock(step=0))["consistency"].item() == pytest.approx(0.01, abs=1e-6), (
        "K = 2 times .005"
    )


@pytest.mark.parametrize("selector", ["entropy", "uncertainty"])
def test_noised_images_move_no_running_statistics(selector: str) -> None:
    case = case_of(ACMT, options={"selector": selector, "passes": 2})
    method, batch = quiet(case.build()).train(), case.data().batch(0)
    assert isinstance(method, ACMT)
    seen: list[tuple[bool, int]] = []
    for net in (method.student, method.teacher.net):
        first = next(part for part in net.modules() if isinstance(part, nn.Conv2d))
        first.register_forward_pre_hook(lambda _m, given, net=net: seen.append((moves(net), len(given[0]))))
    method.step(batch, clock(), Collected())
    labeled, unlabeled = len(batch["labeled"].image), len(batch["unlabeled"].image)
    passes = [] if selector == "entropy" else 2 * [(False, unlabeled)]
    assert seen == [(True, labeled + unlabeled), (False, unlabeled), *passes]


def moves(net: nn.Module) -> bool:
    return all(part.track_running_stats for part in net.modules() if isinstance(part, _BatchNorm))
