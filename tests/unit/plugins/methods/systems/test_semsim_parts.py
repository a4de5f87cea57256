"""The parts of SemSim (fusion module, affinity, prototypes): worked numbers of its sheet, naive versions, laws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semibench import IGNORE
from semibench_plugins.methods.systems.semsim.affinity import affinity, refined, spread
from semibench_plugins.methods.systems.semsim.fusion import SpatialAwareFusion, WindowBlock, unwindow, windows
from semibench_plugins.methods.systems.semsim.prototypes import (
    Grid,
    certainty,
    local_prototypes,
    prototype_cosines,
    resized_label,
    voted,
)

torch.set_num_threads(1)
M = torch.tensor([[0.9, 0.1], [0.7, 0.3]])[None, :, :, None]
EVERY = torch.ones(2, 2, 1, dtype=torch.bool)


# The fusion module


@pytest.mark.parametrize(("size", "sides"), [((112, 112), (8, 8)), ((12, 8), (4, 2)), ((8, 4, 6), (4, 2, 2))])
def test_windows_go_back_to_where_they_were(size: tuple[int, ...], sides: tuple[int, ...]) -> None:
    maps = torch.randn(2, *size, 3)
    tokens = windows(maps, sides)
    assert tokens.shape[1:3] == (math.prod(n // s for n, s in zip(size, sides, strict=True)), math.prod(sides))
    assert torch.equal(unwindow(tokens, size, sides), maps)
    corner = maps[:, : sides[0], : sides[1]] if len(size) == 2 else maps[:, : sides[0], : sides[1], : sides[2]]
    assert torch.equal(tokens[:, 0], corner.flatten(1, -2))


def test_images_of_224_have_196_windows_of_84_tokens() -> None:
    fusion = SpatialAwareFusion((4, 4, 4), 2, width=8)
    seen: list[Tensor] = []
    fusion.blocks.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    found = fusion([torch.randn(1, 4, side, side) for side in (112, 56, 28)])
    assert seen[0].shape == (1, 14 * 14, 84, 8) and found.shape == (1, 8, 56, 56)
    volume = SpatialAwareFusion((4, 4, 4), 3, width=8, window=1)
    volume.blocks.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    assert volume([torch.randn(1, 4, *[side] * 3) for side in (8, 4, 2)]).shape == (1, 8, 4, 4, 4)
    assert seen[1].shape == (1, 8, 64 + 8 + 1, 8)


def test_a_window_sees_its_part_of_every_scale_and_no_other() -> None:
    torch.manual_seed(0)
    fusion = SpatialAwareFusion((4, 4, 4), 2, width=8).eval()
    maps = [torch.randn(1, 4, side, side) for side in (16, 8, 4)]
    moved = [one.clone() for one in maps]
    moved[0][0, :, 3, 12] += 1.0
    for before, after, side in zip(fusion.mix(maps), fusion.mix(moved), (8, 4, 2), strict=True):
        changed = (before != after).any(1)[0]
        assert changed[:side, side:].all() and not changed[side:].any() and not changed[:, :side].any()


@pytest.mark.parametrize("scaled", [True, False])
def test_attention_against_a_naive_version(scaled: bool) -> None:
    torch.manual_seed(0)
    block = WindowBlock(16, scaled=scaled).eval()
    tokens = torch.randn(1, 2, 5, 16)
    q, k, v = block.queries_keys_values(block.before_attention(tokens)).chunk(3, -1)
    heads = []
    for h in range(8):
        part = slice(2 * h, 2 * h + 2)
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / (math.sqrt(2) if scaled else 1.0)
        heads.append(scores.softmax(-1) @ v[..., part])
    after = tokens + block.project(torch.cat(heads, -1))
    torch.testing.assert_close(block(tokens), after + block.mlp(block.before_mlp(after)))


# The affinity


def test_affinity_worked_numbers() -> None:
    valid = torch.ones(1, 4, dtype=torch.bool)
    groups = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]])
    rows = affinity(groups, groups, scale=1.0, normalise="summed", valid=valid)
    assert rows[0, :, 0].tolist() == pytest.approx([0.36553, 0.36553, 0.13447, 0.13447], abs=1e-5)
    torch.manual_seed(0)
    z, constant = torch.randn(1, 3, 4), torch.full((1, 2, 4), 0.5**0.5)
    even = affinity(constant, constant, scale=1.0, normalise="summed", valid=valid)
    torch.testing.assert_close(even, torch.full((1, 4, 4), 0.25))
    around = spread(z, constant, constant, scale=1.0, normalise="summed", valid=valid)
    found = refined(z, around, residual=True, probabilities=False)
    torch.testing.assert_close(found, z + z.mean(2, keepdim=True))


@pytest.mark.parametrize("normalise", ["summed", "other"])
def test_spread_is_the_product_with_the_affinity_without_padding(normalise: Any) -> None:
    torch.manual_seed(0)
    values, first, second = torch.randn(2, 3, 6), torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    m = affinity(first, second, scale=0.7, normalise=normalise, valid=valid)
    found = spread(values, first, second, scale=0.7, normalise=normalise, valid=valid)
    torch.testing.assert_close(found, values @ m)
    naive = (
        torch.einsum("dk,dl->kl", first[1, :, :4], second[1, :, :4]).mul(0.7).softmax(0 if normalise == "summed" else 1)
    )
    torch.testing.assert_close(m[1, :4, :4], naive)
    assert not m[1, 4:].any() if normalise == "summed" else not m[1, :, 4:].any()
    nothing = spread(values, first, second, scale=1.0, normalise=normalise, valid=torch.zeros_like(valid))
    assert nothing.isfinite().all()


def test_refined_probabilities_are_a_distribution_that_swamps_small_structures() -> None:
    p = torch.full((1, 2, 20), 1e-6)
    p[:, 0, 1:], p[:, 1, 0] = 1.0, 1.0
    flat = torch.ones(1, 1, 20)
    valid = torch.ones(1, 20, dtype=torch.bool)
    around = spread(p, flat, flat, scale=1.0, normalise="summed", valid=valid)
    found = refined(p.log(), around, residual=True, probabilities=True).softmax(1)
    assert found[0, 1, 0].item() == pytest.approx((1 + 0.05) / 2, abs=1e-4)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 20))


# Prototypes


def test_votes_of_the_sheet() -> None:
    p = voted(M, EVERY).softmax(1)[0, :, 0]
    assert p.tolist() == pytest.approx([0.64566, 0.35434], abs=1e-5)
    assert voted(M, EVERY, votes="max")[0, :, 0].tolist() == pytest.approx([0.9, 0.3])
    sharp = voted(M, EVERY, temperature=0.1).softmax(1)[0, 0, 0].item()
    assert sharp == pytest.approx((math.e**9 + math.e**7) / (math.e**9 + math.e**7 + math.e + math.e**3), abs=1e-6)
    for classes, most in ((2, 0.8808), (3, 0.7869), (4, 0.7112)):
        best = torch.full((1, 3, classes, 1), -1.0)
        best[:, :, 0] = 1.0
        every = torch.ones(3, classes, 1, dtype=torch.bool)
        limit = voted(best, every).softmax(1).max().item()
        assert limit == pytest.approx(math.e / (math.e + (classes - 1) / math.e), abs=1e-6)
        assert limit == pytest.approx(most, abs=1e-4) and limit < 0.95


def test_certainty_of_the_sheet() -> None:
    q = M[0, :, :, 0].softmax(1)
    u = (q * (q / q.mean(0)).log()).sum(1)
    assert u.tolist() == pytest.approx([0.00464, 0.00447], abs=1e-5)
    assert certainty(M, EVERY, 1000.0).item() == pytest.approx(0.01056, abs=1e-4)
    assert certainty(M[:, :1].expand(-1, 2, -1, -1), EVERY, 1000.0).item() == pytest.approx(1.0, abs=1e-4)
    assert not certainty(M.clone().requires_grad_(), EVERY, 1000.0).requires_grad


def test_a_class_an_image_lacks_has_no_vote() -> None:
    counted = torch.tensor([[True, False], [True, True]])[..., None]
    p = voted(M, counted).softmax(1)[0, :, 0]
    expected = math.exp(0.3) / (math.exp(0.9) + math.exp(0.7) + math.exp(0.3))
    assert p[1].item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))
    nobody = voted(M, torch.tensor([[True, False]] * 2)[..., None])
    assert nobody.softmax(1)[0, :, 0].tolist() == [1.0, 0.0]
    m = M.clone().requires_grad_()
    voted(m, counted).softmax(1)[0, 0].sum().backward()
    assert m.grad is not None and m.grad.isfinite().all() and m.grad[0, 0, 1] == 0
    sure = certainty(M, torch.tensor([[True, False], [False, False]])[..., None], 1000.0)
    assert sure.item() == pytest.approx(1.0, abs=1e-6), "one voter agrees with itself"


@pytest.mark.parametrize(("cells", "regions"), [(1, 1), (2, 4), (4, 16), (8, 64), (14, 196)])
def test_regions_of_a_grid(cells: int, regions: int) -> None:
    grid = Grid((56, 56), cells)
    place, inside = grid.regions_of(torch.device("cpu"))
    assert math.prod(grid.sides) == regions and inside.all()
    assert place[:, 0].bincount().tolist() == [56 * 56 // regions] * regions
    assert Grid((56, 56), cells, overlap=True).sides == (2 * cells - 1,) * 2
    assert Grid((2, 3, 4), cells).sides == (min(cells, 2), min(cells, 3), min(cells, 4))


def naive_prototype(features: Tensor, label: Tensor, kind: int, region: tuple[slice, ...]) -> Tensor | None:
    inside = label[region] == kind
    if inside.any():
        return features[(slice(None), *region)][:, inside].mean(1)
    return features[:, label == kind].mean(1) if (label == kind).any() else None


@pytest.mark.parametrize("overlap", [False, True])
def test_prototypes_and_likeness_against_a_naive_version(overlap: bool) -> None:
    torch.manual_seed(0)
    features, unlabeled = torch.randn(2, 5, 8, 8), torch.randn(3, 5, 8, 8)
    label = torch.randint(3, (2, 8, 8))
    label[0, :4, :4], label[1][label[1] == 2] = 1, 0
    label[0, 7] = IGNORE
    grid = Grid((8, 8), 2, overlap)
    found = local_prototypes(features, label, 3, grid)
    m, counted = prototype_cosines(unlabeled, found)
    logits = voted(m, counted, votes="max").unflatten(2, (8, 8))
    starts = (0, 2, 4) if overlap else (0, 4)
    expected = torch.full((3, 3, 8, 8), -2.0)
    for y in starts:
        for x in starts:
            region = (slice(y, y + 4), slice(x, x + 4))
            for j in range(2):
                for kind in range(3):
                    prototype = naive_prototype(features[j], label[j], kind, region)
                    if prototype is not None:
                        near = F.cosine_similarity(unlabeled[..., y : y + 4, x : x + 4], prototype.view(1, 5, 1, 1))
                        part = expected[:, kind, y : y + 4, x : x + 4]
                        part.copy_(torch.maximum(part, near))
    torch.testing.assert_close(logits, expected)
    assert found.seen.tolist() == [[True, True, True], [True, True, False]]


def test_predictions_by_prototypes_sum_to_one_and_dont_know_an_order() -> None:
    torch.manual_seed(0)
    features, unlabeled, label = torch.randn(3, 4, 4, 4, 4), torch.randn(2, 4, 4, 4, 4), torch.randint(2, (3, 4, 4, 4))
    grid = Grid((4, 4, 4), 2)
    p = voted(*prototype_cosines(unlabeled, local_prototypes(features, label, 2, grid))).softmax(1)
    torch.testing.assert_close(p.sum(1), torch.ones(2, 64))
    turned = voted(*prototype_cosines(unlabeled, local_prototypes(features.flip(0), label.flip(0), 2, grid))).softmax(1)
    torch.testing.assert_close(turned, p)


def test_labels_are_resized_by_nearest_or_lose_their_boundaries() -> None:
    label = torch.zeros(1, 16, 16, dtype=torch.int64)
    label[:, 7:], label[:, :, 14:] = 1, IGNORE
    near = resized_label(label, (4, 4))
    assert near[0, :, 0].tolist() == [0, 0, 1, 1] and near[0, :, 3].tolist() == [IGNORE] * 4
    between = resized_label(label[..., :12], (5, 4), linear=True)[0, :, 0].tolist()
    assert between[0] == 0 and between[-1] == 1
    thin = torch.zeros(1, 16, 16, dtype=torch.int64)
    thin[:, 7:9] = 1
    assert not (resized_label(thin, (4, 4), linear=True) == 1).any()
