"""PS-MT: its target, weights, ramp and turns in numbers, and its adversarial noise against float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support.methods_support import case_of, clock, quiet
from torch import Tensor

from semibench.conformance.subject import SmallBackbones
from semibench.contracts.schedule import Clock
from semibench_plugins.methods.consistency.ps_mt import PSMT, strict_mean, weighted_cross_entropy


def method(**options: Any) -> tuple[PSMT, Any]:
    case = case_of(PSMT, options={"decay": 0.996, "labeled_view": "strong", **options})
    built = quiet(case.build().train())
    assert isinstance(built, PSMT)
    return built, case.data().batch(0)


def parameters(model: PSMT) -> list[list[Tensor]]:
    return [[one.clone() for one in (*teacher.net.parameters(), *teacher.net.buffers())] for teacher in model._both()]


def test_the_target_averages_logits() -> None:
    first, second = torch.tensor([2.0, 0.0]).view(1, 2, 1), torch.zeros(1, 2, 1)
    assert strict_mean(first, second).softmax(1)[0, 0, 0].item() == pytest.approx(0.7311, abs=1e-4)


def test_a_resting_teacher_keeps_its_seven_greatest_logits() -> None:
    resting, active = torch.arange(9.0).view(1, 9, 1), torch.full((1, 9, 1), -10.0)
    found = strict_mean(active, resting).flatten().tolist()
    assert found == [-10.0, -10.0, *[(value - 10.0) / 2 for value in range(2, 9)]]


def test_loss_weighs_by_confidence_and_drops_the_unsure() -> None:
    c = torch.tensor([0.9, 0.7, 0.55, 0.8])
    target = torch.stack([1 - c, c])[None].log()
    p = torch.tensor([0.5, 0.2, 0.9, 0.4])
    logits = torch.stack([1 - p, p])[None].log()
    valid = torch.tensor([[True, True, True, False]])
    found = weighted_cross_entropy(logits, target, 0.6, valid).item()
    assert found == pytest.approx((-0.9 * math.log(0.5) - 0.7 * math.log(0.2)) / 2, rel=1e-5)
    even = torch.zeros(1, 2, 4)
    assert weighted_cross_entropy(logits, even, 0.6, valid).item() == 0.0


def test_weight_rises_as_a_cosine() -> None:
    term = replace(PSMT.terms["pseudo"], weight=1.0)
    for share, expected in ((0.25, 0.1464), (0.5, 0.5), (1.0, 1.0), (3.0, 1.0)):
        assert term.at(share * 0.15) == pytest.approx(expected, abs=1e-4)


def test_teachers_take_turns_and_average_everything() -> None:
    model, batch = method()
    for step, passes, turn in (
        (0, 0.5, 0),
        (0, 1.5, 1),
        (0, 2.0, 0),
        (5, 0.0, 1),
        (9, 0.0, 1),
        (10, 0.0, 0),
        (10, 3.5, 1),
    ):
        now = Clock("train", step, 100, {"unlabeled": passes})  # without passes, a turn lasts a twentieth of the run
        model.losses(batch, now)
        before, student = parameters(model), [*model.student.parameters(), *model.student.buffers()]
        model.after_step(now)
        after = parameters(model)
        assert all(torch.equal(one, other) for one, other in zip(before[1 - turn], after[1 - turn], strict=True))
        for old, new, net in zip(before[turn], after[turn], student, strict=True):
            if net.is_floating_point():
                torch.testing.assert_close(new, 0.996 * old + 0.004 * net)
    model.after_step(clock("warm-up"))
    assert all(torch.equal(one, other) for one, other in zip(after[0], parameters(model)[0], strict=True))


def test_teachers_of_short_runs_average_a_twentieth_of_them() -> None:
    assert [teacher.decay for teacher in method(decay=None)[0]._both()] == [0.8, 0.8], "100 iterations"
    case = case_of(PSMT)
    long = PSMT(
        replace(case.task, budget=5000), SmallBackbones(case.backbone, case.task, case.backbone_options), PSMT.Options()
    )
    assert [teacher.decay for teacher in long._both()] == [0.996, 0.996]


def test_warm_up_trains_three_networks_that_the_teachers_copy() -> None:
    model, batch = method()
    loss = model.losses(batch, clock("warm-up"))
    assert list(loss) == ["sup"]
    nets = [model.student, *model.starts]
    found = [torch.autograd.grad(loss["sup"], list(net.parameters()), retain_graph=True) for net in nets]
    assert all(any(g.any() for g in each) for each in found)
    with torch.no_grad():
        for net in model.starts:
            next(net.parameters()).add_(1.0)
    model.begin("train", cast(Any, None))
    for net, teacher in zip(model.starts, model._both(), strict=True):
        pairs = zip(net.parameters(), teacher.parameters(), strict=True)
        assert all(torch.equal(one, other) and not other.requires_grad for one, other in pairs)
    assert not torch.equal(*[next(teacher.parameters()) for teacher in model._both()])


class Convex(torch.nn.Module):
    """A decoder whose head is not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(8, 2, 1)
        )

    def head(self, maps: Tensor) -> Tensor:
        return cast(Tensor, self.layers(maps))


def direction(model: PSMT, features: Tensor, start: Tensor, probe: float, kind: torch.dtype) -> Tensor:
    """T-VAT written out: gradient of the divergence at a step of `probe` along the unit vector of `start`."""
    heads = [cast(Any, teacher.net).decoder.to(kind) for teacher in model._both()]
    maps = features.to(kind)
    unit = (start / start.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).to(kind).requires_grad_()

    def mean(inputs: Tensor) -> Tensor:
        return cast(Tensor, 0.5 * (heads[0].head(inputs) + heads[1].head(inputs)))

    q = mean(maps).softmax(1).detach()
    divergence = (q * (q.log() - mean(maps + probe * unit).log_softmax(1))).sum()
    (gradient,) = torch.autograd.grad(divergence, unit)
    found = 2.0 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for head in heads:
        head.float()
    return found.float()


def test_noise_has_norm_two_and_the_direction_of_a_small_step() -> None:
    """The published step of 1e-6 needs float64; .1 gives its direction in float32."""
    model, _ = method()
    torch.manual_seed(0)
    for teacher in model._both():
        cast(Any, teacher.net).decoder = Convex()
    features = torch.randn(2, 8, 16, 16)
    torch.manual_seed(1)
    start = torch.rand_like(features) - 0.5
    torch.manual_seed(1)
    found = model.adversary(features)
    assert not found.requires_grad
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((2,), 2.0))
    exact = direction(model, features, start, 1e-6, torch.float64)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(found.flatten(1), exact.flatten(1)).min() > 0.99
    rounded = direction(model, features, start, 1e-6, torch.float32)
    assert cosine(rounded.flatten(1), exact.flatten(1)).abs().max() < 0.5
    assert all(part.training for part in model.teachers.modules())
    assert not method(noise=0.0)[0].adversary(features).any()


def test_mixed_images_leave_the_statistics_alone() -> None:
    model, batch = method(noise=0.0)
    other, _ = method(noise=0.0)
    other.student(batch["labeled"].strong[0])
    before = parameters(model)
    model.losses(batch, clock())
    pairs = zip(model.student.buffers(), other.student.buffers(), strict=True)
    assert all(torch.allclose(one.float(), two.float()) for one, two in pairs)
    assert all(torch.equal(one, two) for one, two in zip(before[0], parameters(model)[0], strict=True))


def test_in_the_published_code_every_pass_moves_the_statistics() -> None:
    """Labeled and mixed images pass apart, each normalised by itself, and the teachers' own passes count."""
    model, batch = method(noise=0.0, statistics="every-pass")
    sizes: list[int] = []
    encode = model.student.encode

    def counted(images: Tensor) -> list[Tensor]:
        sizes.append(len(images))
        return encode(images)

    model.student.encode = counted  # type: ignore[method-assign]
    moved = [name for name, _ in model.teachers.named_buffers() if name.endswith("running_mean")]
    before = dict(model.teachers.named_buffers())[moved[0]].clone()
    model.losses(batch, clock())
    assert sizes == [len(batch["labeled"].image), len(batch["unlabeled"].image)]
    assert moved and not torch.equal(before, dict(model.teachers.named_buffers())[moved[0]])
    passes = [int(count) for name, count in model.student.named_buffers() if name.endswith("num_batches_tracked")]
    assert passes and set(passes) == {2}
