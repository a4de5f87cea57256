"""PH-Net: hardness, what is replaced, and the contrast against loops; the laws of its terms."""

from __future__ import annotations

import math

import pytest
import torch
from support.methods_support import case_of, clock, reached
from torch.nn import functional as F

from semibench import IGNORE
from semibench_plugins.methods.contrast_and_prototypes.ph_net import (
    PatchedMaps,
    PHNet,
    easy_patches,
    hard_patch_contrast,
    patch_means,
)
from semibench_plugins.methods.systems.csc_pa.masking import entropy

torch.set_num_threads(1)

CLOCK = clock(step=50)


def ph_net(**options: object) -> PHNet:
    built = case_of(PHNet, options={"width": 4, **options}).build().train()
    assert isinstance(built, PHNet)
    return built


def test_hardness_is_1_for_a_coin_and_0_for_certainty() -> None:
    p = torch.full((1, 2, 9, 9), 0.5)
    p[:, 0, :3, :3], p[:, 1, :3, :3] = 1.0, 0.0
    found = patch_means(entropy(p) / math.log(2), 3)
    assert found.flatten().tolist() == pytest.approx([0.0] + [1.0] * 8)


def test_patch_means_of_sides_that_the_grid_does_not_divide() -> None:
    maps = torch.arange(35.0).view(1, 5, 7)
    index = [[row * 2 // 5 * 2 + column * 2 // 7 for column in range(7)] for row in range(5)]
    places = torch.tensor(index)
    expected = [maps[0][places == number].mean().item() for number in range(4)]
    assert patch_means(maps, 2).flatten().tolist() == pytest.approx(expected)


def test_hard_patches_stay_and_8_to_41_of_81_change() -> None:
    torch.manual_seed(0)
    hardness = torch.rand(200, 81)
    chosen = easy_patches(hardness, 0.3, (0.1, 0.5))
    rank = hardness.argsort(1).argsort(1)
    assert not chosen[rank >= 57].any() and chosen[rank < 57].any()
    number = chosen.sum(1)
    assert int(number.min()) >= 8 and int(number.max()) <= 41 and number.unique().numel() > 10
    clamped = easy_patches(torch.rand(5, 4), 0.6, (1.0, 1.0))
    assert clamped.sum(1).tolist() == [2] * 5, "no more than what isn't protected"


@pytest.mark.parametrize("cut", [(0.5, 0.1), (-0.1, 0.5), (0.1, 1.1), (0.1, math.nan)])
def test_shares_out_of_order_are_refused(cut: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= smallest <= largest <= 1"):
        PHNet.Options(cut=cut)


def test_labels_move_with_pixels_and_sources_are_the_originals() -> None:
    torch.manual_seed(0)
    model = ph_net(grid=3, protect=0.0, cut=(0.3, 0.7))
    label = torch.arange(3).view(3, 1, 1).expand(3, 9, 9).clone()
    image, moved, doubt = model._augmented(label.unsqueeze(1).float(), label, label.float())
    torch.testing.assert_close(image[:, 0], moved.float())
    torch.testing.assert_close(doubt, moved.float())
    for number in range(3):
        assert set(moved[number].unique().tolist()) == {number, (number + 1) % 3}


def maps_of(label: torch.Tensor, doubt: torch.Tensor, seed: int, width: int = 5) -> PatchedMaps:
    features = torch.randn(len(label), width, *label.shape[1:], generator=torch.Generator().manual_seed(seed))
    return PatchedMaps.of(F.normalize(features, dim=1).requires_grad_(), label, doubt, 2)


def naive_contrast(anchors: PatchedMaps, labeled: PatchedMaps, classes: int, temperature: float) -> float:
    features, sources = anchors.features.detach(), labeled.features.detach()

    def mixed(maps: PatchedMaps) -> list[int]:
        kinds = [set(maps.label[maps.patch == j].tolist()) - {IGNORE} for j in range(len(maps.hardness))]
        return [j for j, found in enumerate(kinds) if len(found) > 1]

    terms = []
    for patch in mixed(anchors):
        source = min(mixed(labeled), key=lambda j: abs(float(anchors.hardness[patch] - labeled.hardness[j])))
        inside = labeled.patch == source
        prototypes = {
            kind: sources[inside & (labeled.label == kind)].mean(0)
            for kind in range(classes)
            if bool((inside & (labeled.label == kind)).any())
        }
        for kind in range(classes):
            values = []
            for feature in features[(anchors.patch == patch) & (anchors.label == kind)]:
                if max(prototypes, key=lambda k: float(feature @ prototypes[k])) == kind:
                    z = {k: F.cosine_similarity(feature, v, dim=0) / temperature for k, v in prototypes.items()}
                    values.append(float(torch.stack(list(z.values())).logsumexp(0) - z[kind]))
            if values:
                terms.append(sum(values) / len(values))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("classes", [2, 3])
def test_contrast_against_loops(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    labels = [torch.randint(classes, (2, 6, 6), generator=generator) for _ in range(2)]
    doubts = [torch.rand(2, 6, 6, generator=generator) for _ in range(2)]
    labels[0][0, :3, :3] = 1
    labels[1][1, 3:, 3:], labels[0][1, 0, 0] = 0, IGNORE
    anchors, sources = (maps_of(*both, seed) for seed, both in enumerate(zip(labels, doubts, strict=True)))
    found = hard_patch_contrast(anchors, sources, classes, 0.5)
    assert found.item() == pytest.approx(naive_contrast(anchors, sources, classes, 0.5), rel=1e-5)
    mine, theirs = torch.autograd.grad(found, [anchors.features, sources.features], allow_unused=True)
    assert mine is not None and mine.any() and theirs is None


def test_equal_prototypes_give_ln_2_and_one_class_gives_0() -> None:
    label = torch.tensor([[[0, 1], [0, 1]]]).repeat_interleave(2, 1)
    same = F.normalize(torch.ones(1, 3, 4, 2), dim=1)
    anchors, sources = (PatchedMaps.of(same, label, torch.zeros(1, 4, 2), 1) for _ in range(2))
    assert hard_patch_contrast(anchors, sources, 2, 0.5).item() == pytest.approx(math.log(2))
    empty = PatchedMaps.of(same, torch.zeros_like(label), torch.zeros(1, 4, 2), 1)
    assert hard_patch_contrast(empty, sources, 2, 0.5).item() == 0.0
    every = hard_patch_contrast(empty, sources, 2, 0.5, hard_only=False)
    assert every.item() == pytest.approx(math.log(2)), "a patch with one class, too"
    assert hard_patch_contrast(anchors, empty, 2, 0.5).item() == 0.0


def test_terms() -> None:
    case = case_of(PHNet, options={"width": 4})
    model, batch = case.build().train(), case.data().batch(0)
    losses = model.losses(batch, CLOCK)
    assert all(reached(losses[name], model.student.net) for name in ("sup", "unsup"))  # type: ignore[union-attr, arg-type]
    assert not any(p.requires_grad for p in model.teacher.parameters())  # type: ignore[union-attr]
    early = model.losses(batch, clock())
    assert early["unsup"].item() == 0.0 and model.weight("unsup", clock(step=4)) == 0.0
    assert model.weight("contrast", clock(step=5)) == 1.0


def test_the_filter_counts_all_over_kept_times() -> None:
    model = ph_net(drop=50.0)
    logits, doubt = torch.zeros(1, 2, 1, 4), torch.tensor([[[0.1, 0.2, 0.3, 0.4]]])
    label = torch.zeros(1, 1, 4, dtype=torch.int64)
    found = model._filtered(logits, label, doubt, clock())
    assert found.item() == pytest.approx(2 * math.log(2)), "half of the pixels are below the median of .25"
