"""Supervised and mean teacher against the numbers of their sheets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.methods_support import case_of, clock
from torch import nn

from semibench.blocks import supervised_loss
from semibench_plugins.methods.baselines.supervised import Supervised
from semibench_plugins.methods.consistency.mean_teacher import MeanTeacher


def quiet(method: MeanTeacher) -> MeanTeacher:
    """Without dropout and input noise."""
    method.noise = 0.0
    for module in method.modules():
        if isinstance(module, nn.Dropout | nn.Dropout3d):
            module.p = 0.0
    return method


@pytest.mark.parametrize("loss", ["dice_ce", "dice_ce_foreground", "bce_dice", "cross_entropy"])
def test_supervised_is_its_loss(loss: str) -> None:
    case = case_of(Supervised, options={"loss": loss})
    method, batch = case.build().eval(), case.data().batch(0)
    assert set(batch) == {"labeled"}
    labeled = batch["labeled"]
    expected = supervised_loss(method(labeled.image), labeled.target, loss)  # type: ignore[arg-type]
    assert method.losses(batch, clock())["sup"].item() == expected.item()


def test_consistency_is_zero_for_equal_networks() -> None:
    case = case_of(MeanTeacher)
    method = quiet(case.build()).train()
    assert isinstance(method, MeanTeacher)
    batch = case.data().batch(0)
    unlabeled = replace(batch["unlabeled"], image=batch["labeled"].image, valid=batch["labeled"].valid)
    twice = {"labeled": batch["labeled"], "unlabeled": unlabeled}
    losses = method.losses(twice, clock())
    assert losses["consistency"].item() == pytest.approx(0.0, abs=1e-10), "the same batch statistics in both networks"


def test_consistency_worked_number() -> None:
    class Constant(nn.Module):
        def __init__(self, first: float) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([first, 0.0]))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.view(1, 2, 1, 1).expand(len(images), 2, *images.shape[2:])

    case = case_of(MeanTeacher)
    method = case.build()
    assert isinstance(method, MeanTeacher)
    method.student, method.teacher.net = Constant(2.0), Constant(0.0)  # type: ignore[assignment]
    losses = method.losses(case.data().batch(0), clock())
    assert losses["consistency"].item() == pytest.approx(0.145006, abs=1e-6)
    gradient = torch.autograd.grad(losses["consistency"], method.teacher.net.parameters(), allow_unused=True)
    assert gradient == (None,), "no gradient reaches the teacher"


def test_weight_and_gate_of_the_consistency() -> None:
    method = case_of(MeanTeacher).build()
    assert method.weight("consistency", clock(step=999, steps=30_000)) == 0.0
    assert method.weight("consistency", clock(step=1000, steps=30_000)) == pytest.approx(0.000906, abs=1e-6)
    assert method.weight("consistency", clock(step=15_000, steps=30_000)) == pytest.approx(0.0286505, abs=1e-6)
    assert method.weight("consistency", clock(step=15_149, steps=30_000)) == pytest.approx(0.0286505, abs=1e-6)
    assert method.weight("consistency", clock(step=29_999, steps=30_000)) < 0.1


def test_teacher_equals_student_after_the_first_step() -> None:
    case = case_of(MeanTeacher)
    rehearsal = case.rehearse(steps=1).run()
    method = rehearsal.method
    assert isinstance(method, MeanTeacher)
    pairs = zip(method.student.parameters(), method.teacher.net.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert list(method.predictors()) == ["student", "teacher"]


def test_noise_is_clipped_and_only_for_the_teacher() -> None:
    case = case_of(MeanTeacher, options={"noise": 0.1})
    method, batch = case.build(), case.data().batch(0)
    assert isinstance(method, MeanTeacher)
    seen: dict[str, torch.Tensor] = {}
    method.student.register_forward_pre_hook(lambda _m, given: seen.__setitem__("student", given[0]))
    method.teacher.net.register_forward_pre_hook(lambda _m, given: seen.__setitem__("teacher", given[0]))
    method.losses(batch, clock())
    assert torch.equal(seen["student"], torch.cat([batch["labeled"].image, batch["unlabeled"].image]))
    noise = seen["teacher"] - batch["unlabeled"].image
    assert noise.abs().max() == pytest.approx(0.2, abs=1e-5) and noise.std() == pytest.approx(0.1, abs=0.02)


def test_padding_of_unlabeled_samples_does_not_count() -> None:
    case = case_of(MeanTeacher)
    method = quiet(case.build())
    batch = dict(case.data().batch(0))
    masked = replace(batch["unlabeled"], valid=torch.zeros_like(batch["unlabeled"].valid))
    assert method.losses({**batch, "unlabeled": masked}, clock())["consistency"].item() == 0.0


@pytest.mark.slow
def test_supervised_fits_one_batch() -> None:
    torch.manual_seed(0)
    case = case_of(Supervised, backbone_options={"width": 0.5, "dropout": (0.0,) * 5})
    method, labeled = case.build(), case.data().batch(0)["labeled"]
    optimiser = torch.optim.Adam(method.parameters(), 5e-3)
    for _ in range(60):
        loss = method.losses({"labeled": labeled}, clock())["sup"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mask, truth = method(labeled.image).argmax(1).bool() & labeled.valid, labeled.target == 1
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.99
