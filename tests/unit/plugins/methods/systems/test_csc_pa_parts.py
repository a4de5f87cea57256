"""The parts of CSC-PA: worked numbers, laws and naive versions of attentions, container, affinity and masking."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE
from semibench_plugins.methods.systems.csc_pa import affinity, edges, masking
from semibench_plugins.methods.systems.csc_pa.prototypes import (
    CrossAttention,
    ForegroundAttention,
    attend,
    prototype_affinity,
)

torch.set_num_threads(1)


def square(side: int = 5, low: int = 1, high: int = 4) -> Tensor:
    label = torch.zeros(1, side, side, dtype=torch.int64)
    label[:, low:high, low:high] = 1
    return label


def hot(label: Tensor, classes: int = 2, sure: float = 30.0) -> Tensor:
    """Logits whose softmax is the label, to float32."""
    return sure * F.one_hot(label, classes).movedim(-1, 1).float()


# --- foreground prototype attention ---


def test_a_constant_map_is_its_own_prototype() -> None:
    features = torch.rand(2, 6, 1, 1).expand(2, 6, 4, 5)
    assert torch.allclose(prototype_affinity(features), torch.ones(2, 6, 4, 5), atol=1e-6)
    assert torch.allclose(prototype_affinity(features, "channels"), torch.ones(2, 6, 4, 5), atol=1e-6)


def test_prototypes_are_weighted_means_and_phi_their_cosines() -> None:
    features = torch.randn(1, 3, 2, 4, dtype=torch.float64)
    found = prototype_affinity(features)
    for channel in range(3):
        weights = features[0, channel].flatten().float().exp().double()
        weights = weights / weights.sum()
        prototype = sum(weights[i] * features[0].flatten(1)[:, i] for i in range(8))
        for i, value in enumerate(found[0, channel].flatten()):
            pixel = features[0].flatten(1)[:, i]
            expected = (prototype @ pixel) / (prototype.norm() * pixel.norm())
            assert float(value) == pytest.approx(float(expected), abs=1e-6)
    assert float(found.abs().max()) <= 1 + 1e-9


def test_a_pixel_without_features_gives_no_nan() -> None:
    features = torch.rand(1, 4, 3, 3)
    features[:, :, 1, 1] = 0
    features.requires_grad_()
    found = prototype_affinity(features)
    assert found[0, :, 1, 1].tolist() == [0, 0, 0, 0]
    (gradient,) = torch.autograd.grad(found.sum(), features)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("scale", "factor"), [("sqrt_c", 1 / math.sqrt(6)), ("none", 1.0)])
def test_attention_is_the_explicit_softmax(scale: Any, factor: float) -> None:
    q, k, v = (torch.randn(2, 6, 16, dtype=torch.float64) for _ in range(3))
    weights = (factor * torch.einsum("bci,bcj->bij", q, k)).softmax(2)
    assert torch.allclose(attend(q, k, v, scale), torch.einsum("bij,bcj->bci", weights, v), atol=1e-12)


@pytest.mark.parametrize("form", ["block", "plain"])
def test_cross_attention_takes_values_from_its_own_side(form: Any) -> None:
    torch.manual_seed(0)
    module = CrossAttention(4, form, "sqrt_c").double()
    a, b = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 4, 3, 3, dtype=torch.float64)
    found = module(a, b)
    if form == "block":
        a, b = (F.relu(F.batch_norm(x, None, None, training=True)) for x in (a, b))
    q, k, v = module.theta(a.flatten(2)), module.phi(b.flatten(2)), module.g(a.flatten(2))
    weights = (torch.einsum("bci,bcj->bij", q, k) / math.sqrt(q.shape[1])).softmax(2)
    mixed = torch.einsum("bij,bcj->bci", weights, v)
    expected = a + module.w(mixed).view_as(a) if form == "block" else mixed.view_as(a)
    assert torch.allclose(found, expected, atol=1e-6)
    assert sum(p.numel() for p in CrossAttention(512).parameters()) == 4 * 512 * 256 + 3 * 256 + 512 + 2 * 512


def test_partners_are_paired_by_position() -> None:
    torch.manual_seed(0)
    module = ForegroundAttention(4).eval()
    ours, theirs = torch.randn(3, 4, 4, 4), torch.randn(3, 4, 4, 4)
    first, second = module(ours, theirs)
    turned = torch.tensor([2, 0, 1])
    both = module(ours[turned], theirs[turned])
    assert torch.allclose(both[0], first[turned], atol=1e-5) and torch.allclose(both[1], second[turned], atol=1e-5)
    alone = module(ours[1:2], theirs[1:2])
    assert torch.allclose(alone[0], first[1:2], atol=1e-5)
    few = module(ours, theirs[:2])
    assert torch.allclose(few[0][2], module(ours[2:], theirs[:1])[0][0], atol=1e-5), "the shorter half starts again"


def test_tokens_of_several_pixels() -> None:
    module = ForegroundAttention(4, stride=2).eval()
    first, _ = module(torch.randn(2, 4, 5, 7), torch.randn(2, 4, 5, 7))
    assert tuple(first.shape) == (2, 4, 5, 7)
    torch.manual_seed(0)
    fine = ForegroundAttention(4, stride=1).eval()
    coarse = ForegroundAttention(4, stride=2).eval()
    coarse.load_state_dict(fine.state_dict())
    flat = torch.rand(1, 4, 1, 1).expand(1, 4, 6, 6)
    assert torch.allclose(fine(flat, flat)[0], coarse(flat, flat)[0], atol=1e-6)


# --- edges ---


def test_edge_pixels_of_a_square() -> None:
    found = edges.edge_map(square() == 1)
    assert int(found.sum()) == 24 and not bool(found[0, 2, 2])
    assert not edges.edge_map(torch.zeros(1, 4, 4, dtype=torch.bool)).any()
    full = edges.edge_map(torch.ones(1, 4, 4, dtype=torch.bool))[0]
    assert int(full.sum()) == 12 and not full[1:3, 1:3].any(), "beyond the image is background"
    three = square(7, 2, 5)
    three[:, 3, 3] = 2
    both = edges.class_edges(three, 3)
    assert torch.equal(both, edges.edge_map(three == 1) | edges.edge_map(three == 2))
    assert torch.equal(edges.class_edges(square(), 2), found)


def test_container_averages_old_and_new() -> None:
    box = edges.EdgeContainer(4, 3, start="mean")
    box.fill(torch.full((4, 3), 2.0))
    used = box.update(torch.full((4, 3), 6.0))
    assert torch.allclose(used, torch.full((4, 3), 4.0)) and torch.allclose(box.held(), used)
    used.sum().backward()
    assert box.mix.weight.grad is not None and float(box.mix.weight.grad.abs().max()) > 0
    assert not box.held().requires_grad


def test_container_rows_are_one_map_for_all_channels() -> None:
    torch.manual_seed(0)
    box = edges.EdgeContainer(3, 2, start="random")
    old, new = torch.randn(3, 2), torch.randn(3, 2)
    box.fill(old)
    used = box.update(new)
    both = torch.cat([new, old])
    for channel in range(2):
        expected = box.mix.weight @ both[:, channel] + box.mix.bias
        assert torch.allclose(used[:, channel], expected, atol=1e-6)


def test_container_that_is_not_full() -> None:
    box = edges.EdgeContainer(3, 2)
    assert len(box.held()) == 0 and len(box.update(torch.ones(2, 2))) == 0, "too few edges leave it as it is"
    box.fill(torch.ones(1, 2))
    assert len(box.held()) == 1
    box.fill(torch.empty(0, 2))
    assert len(box.held()) == 1
    assert torch.equal(box.update(torch.full((3, 2), 5.0)), torch.full((3, 2), 5.0)), "a full E_h takes its place"
    assert len(box.held()) == 3
    assert torch.equal(box.update(torch.zeros(2, 2)), torch.full((3, 2), 5.0))
    box.postpone(torch.ones(2, 2))
    assert torch.equal(box.postponed(), torch.ones(2, 2)) and tuple(box.pending.shape) == (3, 2)
    assert not any(p.requires_grad for p in edges.EdgeContainer(3, 2, learns=False).parameters())


def test_picks_are_random_edge_pixels() -> None:
    features = torch.arange(32.0).view(1, 2, 4, 4)
    chosen = torch.zeros(1, 4, 4, dtype=torch.bool)
    chosen[0, 1] = True
    rows = edges.pick(features, chosen, 3)
    assert rows.shape == (3, 2) and set(rows[:, 0].tolist()) < {4.0, 5.0, 6.0, 7.0}
    assert torch.equal(rows[:, 1], rows[:, 0] + 16)
    assert len(edges.pick(features, chosen, 9)) == 4 and len(edges.pick(features, chosen & False, 3)) == 0
    one = torch.zeros_like(chosen)
    one[0, 0, 0] = True
    assert edges.pick(features, one, 3).shape == (1, 2), "a single pixel keeps its row"


def test_edge_attention_is_small_over_all_positions_and_larger_over_rows() -> None:
    torch.manual_seed(0)
    features, slots = torch.randn(2, 3, 6, 4), torch.randn(5, 3)
    hw, row = (edges.edge_attention(features, slots, softmax=kind) for kind in ("hw", "row"))
    prototype = slots.mean(0)
    cosine = F.cosine_similarity(features, prototype[None, :, None, None], dim=1)
    weights = cosine.flatten(1).softmax(1).view(2, 6, 4)
    assert torch.allclose(hw, weights.unsqueeze(1) * prototype[:, None, None], atol=1e-6)
    assert torch.allclose(row, cosine.softmax(1).unsqueeze(1) * prototype[:, None, None], atol=1e-6)
    assert torch.allclose(hw.sum((2, 3)), prototype.expand(2, 3), atol=1e-5)
    assert torch.allclose(edges.edge_attention(features, slots, gain=3.0), 3 * hw, atol=1e-6)
    sharp = edges.edge_attention(features, slots, temperature=0.01).abs().sum(1).flatten(1)
    assert torch.equal(sharp.argmax(1), cosine.flatten(1).argmax(1))
    assert not edges.edge_attention(features, slots[:0]).any()
    assert math.exp(2) / 129**2 == pytest.approx(4.4e-4, rel=0.02)


# --- pixel affinity ---


def test_worked_affinity() -> None:
    """5 foreground neighbours of cosine 1 and 3 background ones of .2: .786; with equal weights .25."""
    signs = torch.tensor([1.0] * 5 + [-1.0] * 3).view(1, 8, 1, 1)
    cosines = torch.tensor([1.0] * 5 + [0.2] * 3).view(1, 8, 1, 1)
    counted = torch.ones(1, 8, 1, 1, dtype=torch.bool)
    assert float(affinity.affinity_map(signs, counted, cosines)) == pytest.approx(4.4 / 5.6)
    assert float(affinity.affinity_map(signs, counted, cosines)) == pytest.approx(0.786, abs=5e-4)
    assert float(affinity.affinity_map(signs, counted)) == pytest.approx(0.25)
    negative = cosines * torch.tensor([1.0] * 7 + [-1.0]).view(1, 8, 1, 1)
    assert float(affinity.affinity_map(signs, counted, negative)) == pytest.approx((5 - 0.2) / 5.6)
    assert float(affinity.affinity_map(signs, counted, negative, signed=True)) == pytest.approx((5 - 0.2) / 5.2)
    assert float(affinity.affinity_map(signs, counted & False, cosines)) == 0.0


def test_neighbours_are_those_of_a_loop() -> None:
    maps, features = torch.randn(1, 3, 4), torch.randn(1, 5, 3, 4)
    found, cosines = affinity.neighbours(maps, beyond=-7.0), affinity.neighbour_cosines(features)
    for place, (dy, dx) in enumerate(affinity.OFFSETS):
        for y in range(3):
            for x in range(4):
                inside = 0 <= y + dy < 3 and 0 <= x + dx < 4
                assert float(found[0, place, y, x]) == (float(maps[0, y + dy, x + dx]) if inside else -7.0)
                if inside:
                    pair = F.cosine_similarity(features[0, :, y, x], features[0, :, y + dy, x + dx], dim=0)
                    assert float(cosines[0, place, y, x]) == pytest.approx(float(pair), abs=1e-5)
                else:
                    assert float(cosines[0, place, y, x]) == 0.0


@pytest.mark.parametrize("distribution", ["hw", "row", "bernoulli"])
@pytest.mark.parametrize("mode", ["soft", "literal"])
@pytest.mark.parametrize("classes", [2, 3])
def test_uniform_features_and_a_right_prediction_cost_nothing(mode: Any, distribution: Any, classes: int) -> None:
    label = square(8, 2, 6)
    label[:, 4:6, 4:6] = classes - 1
    label[:, 0] = IGNORE
    logits = hot(label.masked_fill(label == IGNORE, 0), classes)
    found = affinity.pixel_affinity(torch.ones(1, 4, 8, 8), logits, label, mode=mode, distribution=distribution)
    assert abs(float(found)) < 1e-5


def test_soft_affinity_teaches_the_prediction_and_not_the_features() -> None:
    torch.manual_seed(0)
    label = square(8, 2, 6)
    features, logits = torch.randn(1, 4, 8, 8, requires_grad=True), torch.randn(1, 2, 8, 8, requires_grad=True)
    loss = affinity.pixel_affinity(features, logits, label, mode="soft")
    to_features, to_logits = torch.autograd.grad(loss, (features, logits), allow_unused=True)
    assert to_features is None and float(to_logits.abs().max()) > 0
    assert float(loss.detach()) > 0
    logits = logits.detach().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimiser.zero_grad()
        last = affinity.pixel_affinity(torch.ones(1, 4, 8, 8), logits, label, mode="soft", distribution="bernoulli")
        last.backward()
        optimiser.step()
    assert float((logits.argmax(1) == label).float().mean()) > 0.95


def test_literal_affinity_blurs_edges_and_code_affinity_teaches_nothing() -> None:
    """With hard signs the least loss is at equal cosines: gradient descent pulls features together across the edge."""
    torch.manual_seed(0)
    label = square(12, 3, 9)
    start = F.one_hot(label, 2).movedim(-1, 1).float() + 0.1 * torch.rand(1, 2, 12, 12)
    features = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([features], lr=0.05)

    def across(maps: Tensor) -> float:
        cosines = affinity.neighbour_cosines(maps)
        other = affinity.neighbours(label.float(), beyond=-1.0) == 1 - label.unsqueeze(1)
        return float(cosines[other].mean())

    before = across(start)
    for _ in range(100):
        optimiser.zero_grad()
        affinity.pixel_affinity(features, hot(label), label, mode="literal", distribution="bernoulli").backward()
        optimiser.step()
    assert before < 0.4 and across(features.detach()) > before + 0.3
    logits = hot(label).requires_grad_()
    value = affinity.pixel_affinity(features, logits, label, mode="code")
    assert not value.requires_grad and float(value) >= 0


def test_divergence_is_the_definition() -> None:
    torch.manual_seed(0)
    predicted, target = (2 * torch.rand(2, 5, 4, dtype=torch.float64) - 1 for _ in range(2))
    everywhere = torch.ones(2, 5, 4, dtype=torch.bool)
    p, t = (predicted + 1) / 2, (target + 1) / 2
    for kind, over in (("hw", (1, 2)), ("row", (1,))):
        q, r = (x.exp() / x.exp().sum(over, keepdim=True) for x in (p, t))
        expected = float((r * (r.log() - q.log())).sum() / 2)
        assert float(affinity.divergence(predicted, target, everywhere, kind)) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]
    each = t * (t / p).log() + (1 - t) * ((1 - t) / (1 - p)).log()
    assert float(affinity.divergence(predicted, target, everywhere, "bernoulli")) == pytest.approx(float(each.mean()))
    half = everywhere.clone()
    half[:, 3:] = False
    cut = affinity.divergence(predicted[:, :3], target[:, :3], half[:, :3])
    assert float(affinity.divergence(predicted, target, half)) == pytest.approx(float(cut), rel=1e-6)
    nothing = affinity.divergence(predicted, target, half & False)
    assert float(nothing) == 0.0
    extreme = torch.tensor([[[-1.0, 1.0]]])
    assert affinity.divergence(extreme, -extreme, torch.ones(1, 1, 2, dtype=torch.bool), "bernoulli").isfinite()


def test_unsure_neighbours_and_the_border_are_left_out() -> None:
    label = square(8, 2, 6)
    sure = torch.ones(1, 8, 8, dtype=torch.bool)
    sure[:, :, 5:] = False
    torch.manual_seed(0)
    features, logits = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 8, 8)
    other = logits.clone()
    other[..., 6:] = 100 * torch.randn(1, 2, 8, 2)
    values = [
        float(affinity.pixel_affinity(features, x, label, mode="soft", reference=features, confident=sure))
        for x in (logits, other)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5), "what is unsure is not looked at"
    assert float(affinity.pixel_affinity(features, logits, label, confident=sure & False)) == 0.0


def naive_map(signs: Tensor, features: Tensor | None) -> Tensor:
    """The code's G (H, W) by loops: mean of the neighbours' signs, or their sum weighted with cos / sum cos."""
    height, width = signs.shape
    found = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            total = norm = 0.0
            for dy, dx in affinity.OFFSETS:
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    weight = 1.0
                    if features is not None:
                        weight = float(F.cosine_similarity(features[:, y, x], features[:, y + dy, x + dx], dim=0))
                    total, norm = total + weight * float(signs[y + dy, x + dx]), norm + weight
            found[y, x] = total / norm
    return found


def test_code_mode_weighs_the_prediction_and_pseudo_labels_by_features_but_not_true_labels() -> None:
    """The target of a label is the plain mean of the signs; beyond the image nothing counts (the code: background)."""
    torch.manual_seed(0)
    label, logits = square(6, 2, 5), torch.randn(1, 2, 6, 6)
    features, other = torch.rand(1, 4, 6, 6), torch.rand(1, 4, 6, 6)
    everywhere = torch.ones(1, 6, 6, dtype=torch.bool)
    predicted = naive_map(2.0 * logits.argmax(1)[0] - 1, features[0])[None]
    for reference in (None, other):
        target = naive_map(2.0 * label[0] - 1, None if reference is None else reference[0])[None]
        expected = affinity.divergence(predicted, target, everywhere, "row")
        found = affinity.pixel_affinity(features, logits, label, mode="code", reference=reference)
        assert float(found) == pytest.approx(float(expected), rel=1e-5), reference is None
    assert not found.requires_grad


def test_signs_with_several_classes_compare_with_the_pixel() -> None:
    label = torch.tensor([[[0, 1, 2]]])
    signs = affinity.hard_signs(label, 3)
    left, right = affinity.OFFSETS.index((0, -1)), affinity.OFFSETS.index((0, 1))
    assert signs[0, right, 0].tolist()[:2] == [-1.0, -1.0] and signs[0, left, 0].tolist()[1:] == [-1.0, -1.0]
    two = affinity.hard_signs(torch.tensor([[[0, 1, 1]]]), 2)
    assert two[0, right, 0].tolist()[:2] == [1.0, 1.0] and two[0, left, 0].tolist()[1:] == [-1.0, 1.0]
    soft = affinity.soft_signs(hot(label, 3).softmax(1), label)
    inside = affinity.neighbours(torch.ones(1, 1, 3)) > 0
    assert torch.allclose(soft[inside], signs[inside], atol=1e-6)


# --- masking ---


def test_schedules_are_the_sheets() -> None:
    for epoch, keep, percent in ((10, 0.665, 81.0), (100, 0.35, 90.0), (199, 0.0035, 99.9)):
        progress = epoch / 200
        assert 0.7 * (1 - progress) == pytest.approx(keep) and masking.percentile(progress) == pytest.approx(percent)


def test_patches_of_513_are_57() -> None:
    index = masking.patch_of_pixels((513, 513), 9, torch.device("cpu"))
    assert index.flatten().bincount().tolist() == [57 * 57] * 81
    assert int(index[56, 56]) == 0 and int(index[57, 0]) == 9 and int(index[0, 57]) == 1
    assert masking.patch_of_pixels((32, 20), 9, torch.device("cpu")).unique().numel() == 81


@pytest.mark.parametrize(("scored", "keep"), [(0, 0.7), (10, 0.665), (10, 0.7), (81, 0.35), (7, 0.0035), (81, 0.0)])
def test_how_many_patches_are_hidden(scored: int, keep: float) -> None:
    scores = torch.zeros(2, 81)
    scores[:, torch.randperm(81)[:scored]] = torch.rand(2, scored) + 0.1
    hidden = masking.masked_patches(scores, keep, 0.7)
    kept = math.ceil(scored * keep - 1e-9)
    assert hidden.sum(1).tolist() == [math.ceil(0.7 * (81 - kept) - 1e-9)] * 2
    for row, values in zip(hidden, scores, strict=True):
        best = values.topk(kept).indices
        assert not row[best].any(), "the most doubtful patches stay"


def test_patch_scores_are_means_over_predicted_foreground() -> None:
    p = torch.zeros(1, 2, 4, 4)
    p[:, 1] = torch.tensor([[0.9, 0.2, 0.1, 0.1], [0.6, 0.3, 0.1, 0.1], [0.1] * 4, [0.1] * 4])
    p[:, 0] = 1 - p[:, 1]
    scores = masking.patch_scores(p, grid=2)
    expected = -(0.9 * math.log(0.9) + 0.6 * math.log(0.6)) / 2 + 1e-10
    assert scores[0].tolist() == pytest.approx([expected, 0.0, 0.0, 0.0])
    image = torch.ones(1, 3, 4, 4)
    shown = masking.mask_images(image, p, keep=1.0, mask=1.0, grid=2)
    assert torch.equal(shown[0, 0], F.pad(torch.ones(2, 2), (0, 2, 0, 2)))
    assert torch.equal(masking.mask_images(image, p, keep=0.0, mask=0.0, grid=2), image)


def test_below_percentile_is_numpys() -> None:
    import numpy as np

    values = torch.rand(3, 40)
    for percent in (0.0, 33.3, 81.0, 99.9, 100.0):
        threshold = np.percentile(values.numpy().astype(np.float64), percent)
        assert int(masking.below_percentile(values, percent).sum()) == int((values.double() < threshold).sum())
    assert not masking.below_percentile(values, 50.0, values > 2).any()
