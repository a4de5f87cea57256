"""The parts of Diff-CL: the high-frequency module and contrastive label propagation, the sheet's worked numbers and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench_plugins.methods.systems.diff_cl.high_frequency import (
    GatedSpatialConvolution,
    HighFrequencyMamba,
    high_pass,
    kept_fraction,
    radii,
)
from semibench_plugins.methods.systems.diff_cl.propagation import MemoryBank, contrast, extremes, propagation_loss

torch.set_num_threads(1)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- the high-frequency module (eq. 10) ---


@pytest.mark.parametrize(
    ("size", "threshold", "fraction"),
    [((7, 7, 5), 0.5, 0.8082), ((7, 7, 5), 0.6, 0.7020), ((7, 7, 5), 0.7, 0.4082), ((7, 7, 5), 0.8, 0.2449),
     ((6, 6, 6), 0.5, 0.625), ((6, 6, 6), 0.6, 0.444), ((6, 6, 6), 0.7, 0.241), ((6, 6, 6), 0.8, 0.074)],
)  # fmt: skip
def test_kept_fractions(size: tuple[int, ...], threshold: float, fraction: float) -> None:
    assert kept_fraction(size, threshold) == pytest.approx(fraction, abs=6e-4)


@pytest.mark.parametrize("size", [(7, 7, 5), (6, 6, 6), (8, 5), (4, 4), (2, 2, 1)])
def test_high_pass_laws(size: tuple[int, ...]) -> None:
    maps = torch.randn(2, 3, *size)
    torch.testing.assert_close(high_pass(maps, 0.0), maps, rtol=0, atol=1e-5)
    torch.testing.assert_close(high_pass(torch.full_like(maps, 3.0), 0.5), torch.zeros_like(maps), rtol=0, atol=1e-5)
    for threshold in (0.5, 0.7):
        high = high_pass(maps, threshold)
        assert high.dtype == torch.float32
        torch.testing.assert_close(high_pass(high, threshold), high, rtol=0, atol=1e-5, msg="a projection")
        axes = tuple(range(1, len(size) + 1))
        kept = np.fft.ifftshift(radii(size).numpy() >= threshold)
        expected = np.fft.ifftn(np.fft.fftn(maps[0].numpy(), axes=axes) * kept, axes=axes)
        assert np.abs(expected.imag).max() < 1e-6, "the mask is symmetric, the result real"
        np.testing.assert_allclose(high[0].numpy(), expected.real, atol=1e-5)


def test_module_counts_are_the_sheets() -> None:
    with torch.device("meta"):
        module = HighFrequencyMamba(256, 3, 0.7)
    assert count(module.spatial) == 3_671_040 and count(module.mamba) == 526_848 and count(module.mlp) == 262_912
    assert count(module.norm) + count(module.last_norm) == 1_024 and count(module) == 4_461_824


@pytest.mark.parametrize("size", [(4, 3, 2), (5, 4)])
def test_module_keeps_the_shape_and_its_tokens_are_row_major(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = HighFrequencyMamba(8, len(size), 0.5)
    maps = torch.randn(2, 8, *size)
    seen: list[tuple[Tensor, int]] = []
    module.mamba.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((args[0], kwargs["slices"])), with_kwargs=True
    )
    assert module(maps).shape == maps.shape
    tokens, slices = seen[0]
    assert tokens.shape == (2, math.prod(size), 8) and slices == size[0]
    first = module.norm(high_pass(module.spatial(maps), 0.5)[:, :, 0, 1] if len(size) == 2 else
                        high_pass(module.spatial(maps), 0.5)[:, :, 0, 0, 1])  # fmt: skip
    torch.testing.assert_close(tokens[:, 1], first)


def test_gates() -> None:
    torch.manual_seed(0)
    add, mul = GatedSpatialConvolution(4, 2), GatedSpatialConvolution(4, 2, gate="mul")
    mul.load_state_dict(add.state_dict())
    maps = torch.randn(1, 4, 6, 6)
    for gate, joined in ((add, add.wide(maps) + add.point(maps)), (mul, mul.wide(maps) * mul.point(maps))):
        torch.testing.assert_close(gate(maps), maps + gate.out(joined))


# --- contrastive label propagation (section 4.3) ---


def test_worked_contrast() -> None:
    def unit(cosine: float) -> list[float]:
        return [cosine, math.sqrt(1 - cosine**2)]

    anchor = torch.tensor([[1.0, 0.0]])
    for temperature, value in ((0.5, 0.32348), (0.1, 0.000957)):
        found = contrast(anchor, torch.tensor([unit(0.8)]), torch.tensor([unit(0.1), unit(-0.2)]), temperature)
        assert float(found) == pytest.approx(value, rel=1e-3)


def test_worked_selection() -> None:
    anchors = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    scores = (anchors @ features.T).sum(0)
    assert scores.tolist() == pytest.approx([1.8, 0.6, -1.8, 1.56])
    for k, high, low in ((1, {0}, {2}), (2, {0, 3}, {2, 1})):
        found = extremes(scores, k)
        assert (set(found[0].tolist()), set(found[1].tolist())) == (high, low)
    assert set(extremes(scores, 2, torch.tensor([False, True, False, True]))[0].tolist()) == {1, 3}
    loss = propagation_loss([(0, anchors[:1])], features, 1, 0.5)
    assert float(loss) == pytest.approx(math.log1p(math.exp(-4)), rel=1e-4) == pytest.approx(0.01815, abs=1e-5)


def naive_propagation(anchors: list[np.ndarray], features: np.ndarray, k: int, temperature: float) -> list[float]:
    """Eqs. 11 to 14, one number at a time."""
    values = []
    for rows in anchors:
        cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in features] for a in rows]
        score = [sum(line[j] for line in cosine) for j in range(len(features))]
        order = sorted(range(len(features)), key=lambda j: score[j])
        for line in cosine:
            for j in order[-k:]:
                up = math.exp(line[j] / temperature)
                values.append(-math.log(up / (up + sum(math.exp(line[n] / temperature) for n in order[:k]))))
    return values


def test_loss_is_the_sum_over_classes_anchors_and_positives() -> None:
    torch.manual_seed(0)
    features = torch.randn(20, 5, requires_grad=True)
    anchors = [(kind, F.normalize(torch.randn(6, 5), dim=1)) for kind in range(3)]
    expected = naive_propagation([rows.numpy() for _, rows in anchors], features.detach().numpy(), 4, 0.3)
    assert len(expected) == 3 * 6 * 4
    assert float(propagation_loss(anchors, features, 4, 0.3, reduction="sum")) == pytest.approx(sum(expected), rel=1e-5)
    mean = propagation_loss(anchors, features, 4, 0.3)
    assert float(mean) == pytest.approx(np.mean(expected), rel=1e-5)
    mean.backward()
    assert features.grad is not None and features.grad.abs().sum() > 0


def test_agreeing_positives() -> None:
    torch.manual_seed(0)
    features, rows = torch.randn(12, 4), F.normalize(torch.randn(3, 4), dim=1)
    none = propagation_loss([(1, rows)], features, 4, 0.1, labels=torch.zeros(12, dtype=torch.int64))
    assert float(none) == 0
    everyone = propagation_loss([(1, rows)], features, 4, 0.1, labels=torch.ones(12, dtype=torch.int64))
    assert float(everyone) == float(propagation_loss([(1, rows)], features, 4, 0.1))
    assert (
        float(propagation_loss([], features, 4, 0.1)) == 0 == float(propagation_loss([(0, rows)], features[:1], 4, 0.1))
    )


def test_bank_is_a_ring_of_unit_vectors() -> None:
    bank = MemoryBank(2, 4, 2)
    assert bank.sample(0, 1) is None
    angles = torch.arange(6.0)
    rows = 3 * torch.stack([angles.cos(), angles.sin()], 1)
    bank.add(0, rows[:3])
    bank.add(0, rows[3:])
    assert bank.filled.tolist() == [4, 0] and bank.place.tolist() == [2, 0]
    kept = torch.atan2(bank.features[0, :, 1], bank.features[0, :, 0]) % (2 * math.pi)
    assert sorted(kept.tolist()) == pytest.approx([2, 3, 4, 5], abs=1e-5), "the oldest two are gone"
    drawn = bank.sample(0, 4)
    assert drawn is not None and sorted(
        (torch.atan2(drawn[:, 1], drawn[:, 0]) % (2 * math.pi)).tolist()
    ) == pytest.approx([2, 3, 4, 5], abs=1e-5)
    assert bank.sample(0, 5) is None and bank.sample(1, 1) is None
    bank.add(1, torch.cat([rows, rows]))
    assert bank.filled.tolist() == [4, 4]
