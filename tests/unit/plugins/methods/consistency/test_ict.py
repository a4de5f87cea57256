"""ICT and ICT-Med: the laws of mixing, a plain loop, and what moves the running statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, reached
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from semibench.discovery.registry import registry
from semibench_plugins.methods.consistency.ict import ICT, ICTMed, halves

torch.set_num_threads(1)


def with_factors(*values: float, **options: Any) -> tuple[ICT, Any]:
    """ICT without dropout whose mixing factors are given, and a batch of three unlabeled images (two pairs)."""
    case = case_of(ICT, classes=3, options=options)
    method, data = quiet(case.build()).train(), case.data()
    data.size = 3
    assert isinstance(method, ICT)
    method.factors = lambda pairs: torch.tensor(values, dtype=torch.float64)[:pairs]  # type: ignore[method-assign]
    return method, data.batch(0)


def test_a_batch_is_halved_and_an_odd_one_takes_its_first_image_twice() -> None:
    unlabeled = case_of(ICT).data()
    for size, pairs in ((4, [(0, 2), (1, 3)]), (3, [(0, 2), (1, 0)]), (1, [(0, 0)])):
        unlabeled.size = size
        samples = unlabeled.batch(0)["unlabeled"]
        first, second = halves(samples)
        for row, (a, b) in enumerate(pairs):
            assert torch.equal(first.image[row], samples.image[a]) and torch.equal(second.image[row], samples.image[b])
            assert torch.equal(second.valid[row], samples.valid[b])


def test_consistency_is_that_of_a_loop() -> None:
    method, batch = with_factors(0.25, 0.7)
    unlabeled = batch["unlabeled"]
    unlabeled.valid[0, :8], unlabeled.valid[2, 20:] = False, False
    for parameter in method.teacher.net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    image, valid = unlabeled.image, unlabeled.valid
    pairs = ((0, 2, 0.25), (1, 0, 0.7))
    with torch.no_grad():
        mixed = torch.stack([(1 - share) * image[a] + share * image[b] for a, b, share in pairs])
        p, t_u, t_v = (
            net(shown).softmax(1)
            for net, shown in ((method.student, mixed), (method.teacher, image[:2]), (method.teacher, image[[2, 0]]))
        )
    total, count = 0.0, 0
    for row, (a, b, share) in enumerate(pairs):
        q = (1 - share) * t_u[row] + share * t_v[row]
        kept = (p[row] - q).square()[:, valid[a] & valid[b]]
        total, count = total + float(kept.sum()), count + kept.numel()
    loss = method.losses(batch, clock())["consistency"]
    assert loss.item() == pytest.approx(total / count, rel=1e-4)
    assert reached(loss, method.student) and not any(p.requires_grad for p in method.teacher.parameters())


def test_a_factor_of_zero_is_a_mean_teacher_on_the_first_half() -> None:
    method, batch = with_factors(0.0, 0.0)
    first, second = halves(batch["unlabeled"])
    with torch.no_grad():
        square = (method.student(first.image).softmax(1) - method.teacher(first.image).softmax(1)).square()
    kept = square.movedim(1, -1)[first.valid & second.valid]
    assert method.losses(batch, clock())["consistency"].item() == pytest.approx(kept.mean().item(), abs=1e-9)


def test_one_image_twice_and_equal_networks_agree() -> None:
    method, batch = with_factors(0.3, 0.6)
    batch["unlabeled"].image[:] = batch["unlabeled"].image[:1].clone()
    assert method.losses(batch, clock())["consistency"].item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_factors_follow_the_law_beta(alpha: float) -> None:
    """Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); bands of five standard errors."""
    torch.manual_seed(0)
    drawn = case_of(ICT, options={"alpha": alpha}).build().factors(20000)  # type: ignore[operator]
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.015)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.004)
    shared = case_of(ICT, options={"factors": "batch"}).build().factors(5)  # type: ignore[operator]
    assert len(shared) == 5 and len(set(shared.tolist())) == 1


def seen_by_the_statistics(statistics: str, network: str) -> tuple[list[Tensor], Any]:
    """Images of the passes of one iteration that move the running statistics of student or teacher."""
    case = case_of(ICT, options={"statistics": statistics})
    method, batch = case.build().train(), case.data().batch(0)
    net: Any = getattr(method, network)
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm)]
    seen: list[Tensor] = []

    def record(_: Any, given: tuple[Tensor, ...]) -> None:
        if all(norm.training and norm.track_running_stats for norm in norms):
            seen.append(given[0].detach())

    net.register_forward_pre_hook(record)
    method.step(batch, clock(), Collected())
    method.after_step(clock())
    return seen, batch


def test_whole_images_move_the_statistics_and_mixed_ones_only_if_asked() -> None:
    seen, batch = seen_by_the_statistics("whole-images", "student")
    assert len(seen) == 1 and torch.equal(seen[0], batch["labeled"].image)
    seen, batch = seen_by_the_statistics("whole-images", "teacher")
    assert torch.equal(torch.cat(seen), batch["unlabeled"].image)
    seen, batch = seen_by_the_statistics("every-pass", "student")
    assert len(seen) == 1 and torch.equal(seen[0][:2], batch["labeled"].image) and len(seen[0]) == 3


def test_ict_med_is_ict_under_another_name() -> None:
    assert ICTMed.terms == ICT.terms and ICTMed.presets == ICT.presets and ICTMed.Options is ICT.Options
    cards = [registry().get("methods", name).card for name in ("ict", "ict-med")]
    assert cards[0].paper != cards[1].paper
