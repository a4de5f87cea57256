"""Public parts for plugin authors: teacher, masks, components, inner steps, feature perturbations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from semibench import IGNORE
from semibench.blocks import (
    FeatureDropout,
    FeatureNoise,
    RatioLaw,
    Teacher,
    block_mask,
    box_mask,
    cutmix_mask,
    inner_step,
    largest_component,
    paste,
    signed_distance,
)


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))


def test_teacher_warm_up_and_decay() -> None:
    net = small_net()
    teacher = Teacher(net, 0.99)
    before = [p.detach().clone() for p in net.parameters()]
    alphas = []
    for step in range(101):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(1.0)
        alphas.append(teacher.alpha)
        teacher.update(net)
        if step == 0:
            assert all(torch.equal(a, b) for a, b in zip(teacher.net.parameters(), net.parameters(), strict=True))
    assert [alphas[i] for i in (0, 1, 9, 99, 100)] == pytest.approx([0.0, 0.5, 0.9, 0.99, 0.99])
    assert alphas[98] == pytest.approx(0.98990, abs=1e-5)
    expected = 0.0
    for step, alpha in enumerate(alphas):
        expected = alpha * expected + (1 - alpha) * (step + 1)
    torch.testing.assert_close(next(teacher.net.parameters()), before[0] + expected, rtol=1e-4, atol=1e-4)
    assert int(teacher.updates) == 101


def test_a_limited_teacher_averages_fewer_steps_and_never_more() -> None:
    """With a = 1 - 1/20 the average of the steps 1, 2, 3 ... lags behind the last by a / (1 - a) = 19 steps."""
    net = nn.Linear(1, 1, bias=False)
    short, long = Teacher(net, 0.99), Teacher(net, 0.9)
    short.limit(20.0)
    long.limit(20.0)
    for step in range(1, 601):
        with torch.no_grad():
            net.weight.fill_(float(step))
        short.update(net)
        long.update(net)
    assert float(next(short.net.parameters())) == pytest.approx(600 - 19, abs=1e-3)
    assert float(next(long.net.parameters())) == pytest.approx(600 - 9, abs=1e-3)
    short.limit(0.5)
    short.update(net)
    assert float(next(short.net.parameters())) == 600.0


@pytest.mark.parametrize("rule", ["none", "ema", "copy"])
def test_teacher_buffers(rule: str) -> None:
    net = small_net()
    teacher = Teacher(net, 0.5, warm_up=False, buffers=rule)  # type: ignore[arg-type]
    net.train()
    for _ in range(3):
        net(torch.randn(4, 1, 8, 8) + 5)
    old, new = teacher.net[1].running_mean.clone(), net[1].running_mean.clone()
    teacher.update(net)
    expected = {"none": old, "ema": (old + new) / 2, "copy": new}[rule]
    torch.testing.assert_close(teacher.net[1].running_mean, expected)
    counter = teacher.net[1].num_batches_tracked
    assert counter.dtype == torch.int64 and int(counter) == {"none": 0, "ema": 1, "copy": 3}[rule]


def test_teacher_mode_gradient_and_copy() -> None:
    net = small_net()
    noisy, calm = Teacher(net), Teacher(net, mode="eval")
    for teacher, inner in ((noisy, True), (calm, False)):
        assert teacher.train().net.training is inner
        assert teacher.eval().net.training is False
    assert not any(p.requires_grad for p in noisy.parameters())
    images = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert not calm(images).requires_grad
    with torch.no_grad():
        net[0].weight.add_(1.0)
    noisy.update(net)
    noisy.copy(net)
    assert int(noisy.updates) == 0 and noisy.alpha == 0.0
    assert all(
        torch.equal(a, b) for a, b in zip(noisy.net.state_dict().values(), net.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="decay"):
        Teacher(net, 1.5)
    with pytest.raises(ValueError, match="buffers"):
        Teacher(net, buffers="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parameters"):
        noisy.update(net[0])


def test_teacher_round_trip_and_channels_last() -> None:
    net = small_net()
    first, second = Teacher(net), Teacher(small_net())
    for _ in range(5):
        first.update(net)
    second.load_state_dict(first.state_dict())
    assert second.alpha == first.alpha == pytest.approx(1 - 1 / 6)
    net.to(memory_format=torch.channels_last)
    with torch.no_grad():
        net[0].weight.mul_(2.0)
    first.update(net), second.update(net)
    assert torch.equal(first.net[0].weight, second.net[0].weight)


@pytest.mark.parametrize(("size", "box", "greatest"), [((256, 256), (170, 170), 85), ((224, 224), (149, 149), 74)])
def test_box_mask_2d(size: tuple[int, ...], box: tuple[int, ...], greatest: int) -> None:
    offsets = set()
    for _ in range(60):
        mask = box_mask(size, 2 / 3)
        rows, columns = (mask == 0).any(1).nonzero()[:, 0], (mask == 0).any(0).nonzero()[:, 0]
        assert (len(rows), len(columns)) == box and int((mask == 0).sum()) == box[0] * box[1]
        offsets |= {int(rows[0]), int(columns[0])}
    assert min(offsets) >= 0 and max(offsets) <= greatest and len(offsets) > 20


def test_box_mask_3d_and_limits() -> None:
    for _ in range(10):
        mask = box_mask((112, 112, 80), 2 / 3)
        assert int((mask == 0).sum()) == 290_228
        x = torch.randn(112, 112, 80)
        assert torch.equal(mask * x + (1 - mask) * x, x)
    assert box_mask((4, 4), 1.0).sum() == 0 and box_mask((4, 4), 0.0).sum() == 16
    assert box_mask((4, 6), (0.5, 1.0)).sum() == 12
    with pytest.raises(ValueError, match="share"):
        box_mask((4, 4), 1.5)


def test_block_mask() -> None:
    torch.manual_seed(0)
    mask = block_mask((8, 10), 0.5, block=4, batch=50)
    assert mask.shape == (50, 1, 8, 10)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    blocks_of = mask[..., :8].unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (blocks_of.amax(-1) == blocks_of.amin(-1)).all()
    assert mask.mean().item() == pytest.approx(0.5, abs=0.08)
    assert block_mask((4, 4, 6), 0.0, block=(2, 2, 3)).min() == 1 and block_mask((4, 4), 1.0, block=2).max() == 0


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 12)])
def test_cutmix_and_paste(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mask = cutmix_mask(size, batch=80)
    share = mask.flatten(1).float().mean(1)
    assert 0.25 < (share == 0).float().mean() < 0.75 and share.max() <= 0.4
    a, b = torch.zeros(80, 2, *size), torch.ones(80, 2, *size)
    mixed = paste(a, b, mask)
    assert torch.equal(mixed[:, 0].bool(), mask) and torch.equal(mixed[:, 1].bool(), mask)
    assert torch.equal(paste(a[:, 0], b[:, 0], mask).bool(), mask)


@pytest.mark.slow
@pytest.mark.parametrize(("law", "mean", "mean_log"), [("uniform", 1.609, 0.339), ("log-uniform", 1.192, 0.0)])
def test_sides_of_cutmix_boxes_follow_the_published_law(law: RatioLaw, mean: float, mean_log: float) -> None:
    """A box of the share s and the ratio r fits at a uniform corner with probability (1 - sqrt(s r)) (1 - sqrt(s / r)); s is
    uniform whatever fits."""
    shares = torch.linspace(0.02, 0.4, 201, dtype=torch.float64).unsqueeze(1)
    steps = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    ratios = 0.3 + steps * (1 / 0.3 - 0.3) if law == "uniform" else 0.3 * (1 / 0.09) ** steps
    fits = (1 - (shares * ratios).sqrt()).clamp(min=0) * (1 - (shares / ratios).sqrt()).clamp(min=0)
    weights = fits / fits.sum(1, keepdim=True)
    expected, expected_log = ((weights * value).sum(1).mean().item() for value in (ratios, ratios.log()))
    assert (expected, expected_log) == pytest.approx((mean, mean_log), abs=1e-3)
    torch.manual_seed(0)
    boxes = torch.cat([cutmix_mask((256, 256), batch=100, probability=1.0, ratio_law=law) for _ in range(20)])
    high, wide = boxes.any(2).sum(1).double(), boxes.any(1).sum(1).double()
    drawn, share = high / wide, boxes.flatten(1).double().mean(1)
    for values, law_says in ((drawn, expected), (drawn.log(), expected_log), (share, 0.21)):
        assert values.mean().item() == pytest.approx(law_says, abs=4 * values.std().item() / len(values) ** 0.5)


@pytest.mark.parametrize(
    "ranges",
    [{"area": (0.2, 1.5)}, {"area": (0.0, 0.4)}, {"ratio": (-1.0, 2.0)}, {"area": (0.5, 0.6), "ratio": (2.0, 3.0)}],
)
def test_cutmix_boxes_that_never_fit_are_refused(ranges: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"expected ranges|fits into"):
        cutmix_mask((8, 8), batch=1, **ranges)  # type: ignore[arg-type]


def test_largest_component_against_a_flood_fill() -> None:
    torch.manual_seed(4)
    labels = torch.randint(0, 3, (4, 9, 8))
    for connectivity in (1, 2):
        kept = largest_component(labels, connectivity=connectivity)
        for sample, result in zip(labels.tolist(), kept.tolist(), strict=True):
            for kind in (1, 2):
                parts = flood(sample, kind, connectivity)
                mine = {(i, j) for i in range(9) for j in range(8) if result[i][j] == kind}
                assert mine in parts and len(mine) == max(map(len, parts))


def flood(image: list[list[int]], kind: int, connectivity: int) -> list[set[tuple[int, int]]]:
    todo = {(i, j) for i, row in enumerate(image) for j, value in enumerate(row) if value == kind}
    parts = []
    while todo:
        part, edge = set(), [todo.pop()]
        while edge:
            i, j = edge.pop()
            part.add((i, j))
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if abs(di) + abs(dj) <= connectivity and (i + di, j + dj) in todo:
                        todo.remove((i + di, j + dj))
                        edge.append((i + di, j + dj))
        parts.append(part)
    return parts


def test_largest_component_options() -> None:
    label = torch.tensor([[[1, 1, 0, 1, IGNORE, 2, 0, 2, 2]]])
    assert largest_component(label).tolist() == [[[1, 1, 0, 0, IGNORE, 0, 0, 2, 2]]]
    assert largest_component(label, classes=[2]).tolist() == [[[1, 1, 0, 1, IGNORE, 0, 0, 2, 2]]]
    assert largest_component(torch.zeros(2, 4, 4, 4, dtype=torch.int64)).sum() == 0
    cube = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    cube[0, :2, :2, :2] = 1
    cube[0, 3, 3, 3] = 1
    assert int(largest_component(cube).sum()) == 8 and largest_component(cube).dtype == torch.int64


def test_signed_distance_against_brute_force() -> None:
    torch.manual_seed(5)
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 2:7, 3:8] = True
    found = signed_distance(mask, normalise=False, spacing=(2.0, 1.0))[0].numpy()
    inside = mask[0].numpy()
    points = np.stack(np.meshgrid(np.arange(9), np.arange(9), indexing="ij"), -1) * np.array([2.0, 1.0])
    for i in range(9):
        for j in range(9):
            other = points[inside != inside[i, j]]
            distance = np.sqrt(((other - points[i, j]) ** 2).sum(1)).min()
            neighbours = [
                inside[a, b] for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)) if 0 <= a < 9 and 0 <= b < 9
            ]
            edge = inside[i, j] and not all(neighbours)
            assert found[i, j] == pytest.approx(0.0 if edge else -distance if inside[i, j] else distance)
    normal = signed_distance(mask)
    assert normal.min() == -1 and normal.max() == 1
    assert (
        signed_distance(torch.zeros(1, 4, 4)).abs().sum() == 0 and signed_distance(torch.ones(1, 4, 4)).abs().sum() == 0
    )


def test_inner_step_by_hand_and_clipping() -> None:
    net = nn.Linear(3, 1, bias=False)
    x = torch.tensor([[3.0, 4.0, 0.0]])
    loss = 10 * net(x).sum()
    moved = inner_step(net, loss, 0.1)
    torch.testing.assert_close(moved["weight"], net.weight - 0.1 * 10 * x)
    clipped = inner_step(net, loss, 1.0, clip=10.0)
    assert (net.weight - clipped["weight"]).norm().item() == pytest.approx(10.0)
    torch.testing.assert_close(inner_step(net, loss, 1.0, clip=100.0)["weight"], net.weight - 10 * x)
    outside = torch.func.functional_call(net, moved, (x,)).sum()
    (gradient,) = torch.autograd.grad(outside, net.weight)
    torch.testing.assert_close(gradient, x)
    loss.backward()
    assert net.weight.grad is not None


def test_inner_step_of_second_order() -> None:
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(2.0)
    loss = net.weight.pow(2).sum()
    moved = inner_step(net, loss, 0.25, first_order=False)["weight"]
    assert moved.item() == pytest.approx(1.0)
    assert torch.autograd.grad(moved.pow(2).sum(), net.weight)[0].item() == pytest.approx(2 * 1.0 * 0.5)
    constant = inner_step(net, net.weight.pow(2).sum(), 0.25)["weight"]
    assert torch.autograd.grad(constant.pow(2).sum(), net.weight)[0].item() == pytest.approx(2.0)
    unused = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    kept = inner_step(unused, unused["a"](torch.ones(1, 1)).sum(), 0.1)
    assert torch.equal(kept["b.weight"], unused["b"].weight)


def test_feature_noise() -> None:
    features = torch.rand(1, 4, 6, 6).expand(3, -1, -1, -1) + 0.5
    layer = FeatureNoise()
    factor = layer(features) / features
    torch.testing.assert_close(factor[0], factor[1])
    assert 0.7 - 1e-6 <= factor.min() < 0.75 and 1.25 < factor.max() <= 1.3 + 1e-6
    assert layer.eval()(features) is features


@pytest.mark.parametrize("size", [(7, 6), (4, 5, 3)])
def test_feature_dropout(size: tuple[int, ...]) -> None:
    layer = FeatureDropout()
    features = torch.randn(4, 5, *size) + 0.5
    dropped = (layer(features) == 0).all(1)
    activity = features.mean(1).flatten(1)
    for gone, a in zip(dropped.flatten(1), activity, strict=True):
        assert gone.any() and a[gone].min() >= 0.7 * a.max() - 1e-6
        assert a[~gone].max() < 0.9 * a.max() + 1e-6
    assert torch.equal(layer(-features.abs()), -features.abs())
    assert layer(torch.ones(2, 3, *size)).sum() == 0
    assert layer.eval()(features) is features
