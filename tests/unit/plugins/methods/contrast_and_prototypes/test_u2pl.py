"""U2PL: its schedule, weights and ranks in numbers, its memory, and the contrastive loss against a naive version."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch import Tensor

from semibench import IGNORE
from semibench_plugins.methods.contrast_and_prototypes.reliable_pixels import reweighted
from semibench_plugins.methods.contrast_and_prototypes.represented import Represented
from semibench_plugins.methods.contrast_and_prototypes.u2pl.contrast import Contrast, Memory, Pixels, negatives
from semibench_plugins.methods.contrast_and_prototypes.u2pl.method import U2PL, half_boxes


def method(**options: Any) -> tuple[U2PL, Any]:
    case = case_of(U2PL, options={"bank": 40, "anchors": 8, "samples": 4, **options})
    built = quiet(case.build().train())
    assert isinstance(built, U2PL)
    return built, case.data().batch(0)


def pixels(label: list[int], probabilities: Tensor, labeled: list[bool], high: list[bool] | None = None) -> Pixels:
    every = torch.ones(len(label), dtype=torch.bool)
    uncertain = every if high is None else torch.tensor(high)
    return Pixels(torch.tensor(label), probabilities, torch.tensor(labeled), every, uncertain)


def test_two_of_four_pixels_with_losses_one_and_three_weigh_four() -> None:
    p = torch.tensor([math.exp(-1.0), math.exp(-3.0), 0.5, 0.5])
    logits, label = torch.stack([p, 1 - p])[None].log(), torch.zeros(1, 4, dtype=torch.int64)
    reliable = torch.tensor([[True, True, False, False]])
    assert reweighted(logits, label, reliable).item() == pytest.approx(4.0, rel=1e-5)
    assert reweighted(logits, label, ~reliable & reliable).item() == 0.0
    padded = label.clone()
    padded[0, 3] = IGNORE
    assert reweighted(logits, padded, reliable).item() == pytest.approx(3.0, rel=1e-5)


def test_binary_ranks_pick_the_class_that_is_not_predicted() -> None:
    model, _ = method()
    assert model.contrast.ranks == (1, 2)
    p = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])
    found = negatives(pixels([0, 1, 0, 1], p, [False, False, True, True]), (1, 2))
    assert found.tolist() == [[False, True], [True, False], [False, True], [False, False]]
    low = negatives(pixels([0, 1], p[:2], [False, False], [False, True]), (1, 2))
    assert low.tolist() == [[False, False], [True, False]]
    assert not negatives(pixels([0, IGNORE], p[:2], [True, False]), (1, 2))[1].any()


def test_negatives_of_many_classes_and_of_the_code() -> None:
    p = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05]]).expand(2, 5)
    found = negatives(pixels([0, 2], p, [False, True]), (3, 5))
    assert found.tolist() == [[False, False, False, True, True], [True, True, False, False, False]]
    assert negatives(pixels([3, 2], p, [False, True]), (3, 5), "code").tolist() == [
        [False] * 3 + [True, False],
        [False] * 5,
    ]


def test_memory_keeps_the_newest() -> None:
    memory = Memory((5, 3), 1)
    for start in range(0, 8, 2):
        memory.add(1, torch.tensor([[float(start)], [float(start + 1)]]))
    assert sorted(memory.rows(1).flatten().tolist()) == [5.0, 6.0, 7.0] and not len(memory.rows(0))
    memory.add(0, torch.arange(9.0).unsqueeze(1))
    assert sorted(memory.rows(0).flatten().tolist()) == [4.0, 5.0, 6.0, 7.0, 8.0]
    assert [tuple(one.shape) for one in memory.buffers()] == [(5, 1), (3, 1), (2,), (2,)]


def test_contrast_against_a_naive_version() -> None:
    """One candidate, one held negative for each class, so that the draws have no choice."""
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 6), torch.randn(3, 6)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]])
    given = pixels([0, 1, 1], p, [True, True, True])
    memory = Memory((4, 4), 6)
    found = Contrast(2, 3, 0.5, 0.3, (1, 2), "paper")(student, teacher, given, memory)
    assert torch.equal(memory.rows(0), teacher[2:]), "labeled 1, taken for 0"
    cosine = torch.nn.functional.cosine_similarity
    assert not len(memory.rows(1)), "no loss for class 1, whose memory is empty"
    positive, negative = teacher[:1], teacher[2:]
    ahead = cosine(student[:1], positive).item() / 0.5
    against = cosine(student[:1], negative).item() / 0.5
    expected = -math.log(math.exp(ahead) / (math.exp(ahead) + 3 * math.exp(against)))
    assert found.item() == pytest.approx(expected / 2, rel=1e-5)
    alone = pixels([1, 1, IGNORE], p, [True, True, True])
    student.requires_grad_()
    nothing = Contrast(2, 3, 0.5, 0.3, (1, 2), "paper")(student, teacher, alone, memory)
    assert nothing.item() == 0.0 and nothing.requires_grad


def test_share_of_labels_and_of_extremes_follows_the_progress() -> None:
    model, batch = method(supervised=0.0)
    torch.manual_seed(3)
    label = torch.cat([batch["labeled"].target, torch.ones_like(batch["labeled"].target)])
    logits = torch.randn(4, 2, 32, 32)
    entropy = torch.rand(4, 32, 32)
    for step, share in ((0, 0.2), (50, 0.1)):
        found = model._pixels(label, logits, entropy, 2, clock(step=step), torch.empty(4, 1, 32, 32))
        unlabeled = ~found.labeled
        for mask in (found.low, found.high):
            assert mask[unlabeled].float().mean().item() == pytest.approx(share, abs=1e-3)
            assert mask[found.labeled & (found.label != IGNORE)].all()
        assert entropy.flatten()[found.low & unlabeled].max() < entropy.flatten()[found.high & unlabeled].min()
    for step, share in ((0, 0.8), (50, 0.9), (99, 0.998)):
        model.losses(batch, clock(step=step))
        assert model.notes["kept"].item() == pytest.approx(share, abs=0.02)


def test_boxes_have_half_of_the_area() -> None:
    torch.manual_seed(0)
    masks = half_boxes(50, torch.Size((32, 40)))
    assert (masks.flatten(1).float().mean(1) - 0.5).abs().max() < 0.02
    wide = masks.any(1).sum(1)
    assert int(wide.min()) > 20 and int(wide.max()) < 40 and len(wide.unique()) > 5


def test_representation_has_the_published_size_on_the_published_decoder() -> None:
    net = torch.nn.Module()
    net.decoder = torch.nn.Module()
    cast(Any, net.decoder).channels = (512,)
    found = Represented(cast(Any, net)).represent
    assert sum(one.numel() for one in found.parameters()) == 1_836_800


@pytest.mark.parametrize("ranks", [(5, 2), (2, 2), (0, 2), (-1, 1)])
def test_ranks_out_of_order_are_refused(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 1 <= r_l < r_h"):
        U2PL.Options(ranks=ranks)


def test_the_code_copies_for_one_epoch_more_and_counts_from_its_start() -> None:
    """Steps 0 and 1 are supervised, 2 to 4 copies; then a = 1 - 1 / (t + 1) with t = 3, 4, ..., counted from step 2."""
    model, _ = method(supervised=0.02, copied=0.03)
    mine, its = next(model.student.parameters()), next(iter(model.teacher.parameters()))
    gap = 0.0
    for step in range(8):
        with torch.no_grad():
            mine.add_(1.0)
        model.after_step(clock(step=step))
        gap = 0.0 if step < 5 else (1 - 1 / (step - 2 + 1)) * (gap + 1.0)
        torch.testing.assert_close(mine - its, torch.full_like(mine, gap))
    assert U2PL.presets["code"]["options"]["copied"] == 1 / 80 == U2PL.Options().supervised


def test_supervised_part_copies_and_nothing_reaches_the_teacher() -> None:
    model, batch = method(supervised=0.5)
    first = model.losses(batch, clock())
    assert first["pseudo"].item() == first["contrast"].item() == 0.0
    with torch.no_grad():
        next(model.student.parameters()).add_(1.0)
    model.after_step(clock())
    pairs = list(zip(model.student.parameters(), model.teacher.parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    before = {name: value.clone() for name, value in model.teacher.named_buffers()}
    later = model.losses(batch, clock(step=50))
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.named_buffers())
    assert later["contrast"].item() > 0.0 and reached(later["contrast"], model.student.represent)
    assert not reached(later["pseudo"], model.student.represent) and not any(p.requires_grad for _, p in pairs)
    assert not any(part.training for part in model.teacher.net.modules())
