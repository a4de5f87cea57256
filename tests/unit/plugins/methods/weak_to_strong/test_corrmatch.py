"""CorrMatch: its correlation map, the spreading of labels against a naive version, its threshold and its terms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import case_of, clock, quiet, reached
from torch import Tensor

from semibench.blocks import cross_entropy, kl_divergence
from semibench_plugins.methods.weak_to_strong.correlation import Correlation, propagated, regions, spread
from semibench_plugins.methods.weak_to_strong.corrmatch import CorrMatch


def method(**options: Any) -> tuple[CorrMatch, Any]:
    case = case_of(CorrMatch, options={"loss": "cross_entropy", **options})
    built = quiet(case.build().train())
    assert isinstance(built, CorrMatch)
    return built, case.data().batch(0)


def test_rows_of_the_map_sum_to_one() -> None:
    torch.manual_seed(0)
    layer = Correlation(16, 3).eval()
    features = torch.randn(2, 16, 3, 4)
    found = layer(features).detach()
    assert found.shape == (2, 12, 12)
    torch.testing.assert_close(found.sum(2), torch.ones(2, 12))
    projected = layer.project(features).detach()
    first, second = (one(projected)[1].detach().flatten(1) for one in (layer.first, layer.second))
    scores = torch.tensor([(first[:, 5] @ second[:, j]).item() / 3**0.5 for j in range(12)])
    torch.testing.assert_close(found[1, 5], scores.softmax(0))


def test_an_even_map_passes_on_the_mean_and_no_gradient_to_the_logits() -> None:
    logits = torch.randn(2, 3, 3, 4, requires_grad=True)
    correlation = torch.full((2, 12, 12), 1 / 12, requires_grad=True)
    found = propagated(logits, correlation, (3, 4))
    torch.testing.assert_close(found, logits.mean((2, 3), keepdim=True).expand_as(logits))
    found.square().sum().backward()
    assert logits.grad is None and correlation.grad is not None
    one_way = torch.zeros(1, 4, 4)
    one_way[0, 1, 2] = 1.0
    passed = propagated(torch.arange(8.0).view(1, 2, 2, 2), one_way, (2, 2)).flatten(2)
    assert passed.tolist() == [[[0, 0, 1, 0], [0, 0, 5, 0]]], "position 2 gets the logits of position 1"


def test_regions_are_where_a_row_exceeds_half_its_range() -> None:
    rows = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.7, 0.1, 0.1, 0.1], [0.0, 0.5, 0.5, 0.0]]).unsqueeze(0)
    found = sorted(regions(rows, 9, (2, 2), (2, 2)).flatten(2)[0].int().tolist())
    assert found == sorted([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]])
    assert regions(rows, 2, (2, 2), (5, 5)).shape == (1, 2, 5, 5)


def test_a_region_of_nine_confident_pixels_in_ten_is_filled_and_one_of_eight_is_not() -> None:
    area = torch.zeros(1, 1, 1, 12, dtype=torch.bool)
    area[..., :10] = True
    label = torch.zeros(1, 1, 12, dtype=torch.int64)
    label[..., :10], label[..., 9] = 1, 0
    for number, filled in ((9, True), (8, False)):
        confident = torch.zeros(1, 1, 12, dtype=torch.bool)
        confident[..., :number] = True
        found, sure = spread(label, confident, area, 0.85, 2)
        assert bool((found[area[:, 0]] == 1).all()) is filled
        assert torch.equal(sure, area[:, 0] if filled else confident)
    mixed = label.clone()
    mixed[..., :2] = 0
    found, _ = spread(mixed, area[:, 0], area, 0.85, 2)
    assert torch.equal(found, mixed), "only seven of ten confident pixels agree"


def naive(label: Tensor, confident: Tensor, areas: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    found, sure = label.clone(), confident.clone()
    for b in range(len(label)):
        for area in areas[b]:
            inside = area & confident[b]
            if not inside.any() or inside.sum() / area.sum() < threshold:
                continue
            kinds, number = label[b][inside].unique(return_counts=True)
            if number.max() / number.sum() > threshold:
                found[b][area] = kinds[number.argmax()]
                sure[b] |= area
    return found, sure


def test_spreading_against_a_naive_version() -> None:
    torch.manual_seed(0)
    label, confident = torch.randint(3, (2, 6, 6)), torch.rand(2, 6, 6) > 0.3
    areas = torch.rand(2, 40, 6, 6) > 0.9
    areas[:, 0] = False
    found, expected = spread(label, confident, areas, 0.55, 3), naive(label, confident, areas, 0.55)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert not torch.equal(found[0], label)


def test_threshold_follows_the_confidence_of_the_predicted_classes() -> None:
    model, _ = method(threshold=0.85)
    label, valid = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[True, True, True, False]])
    confidence = torch.tensor([[0.6, 0.97, 0.93, 1.0]])
    expected = [0.8501, 0.8501999, 0.8502997]
    for value in expected:
        model._follow(confidence, label, valid)
        assert model.theta.item() == pytest.approx(value, abs=2e-6)
    model._follow(confidence, label, torch.zeros_like(valid))
    assert model.theta.item() == pytest.approx(expected[-1], abs=2e-6)


def test_terms_of_a_weak_view_against_itself() -> None:
    model, batch = method(cutmix=0.0, threshold=0.5, momentum=1.0, regions=0, statistics="every-pass")
    batch["unlabeled"].strong = (batch["unlabeled"].image,)
    model.eval()
    found = model.losses(batch, clock())
    torch.testing.assert_close(found["strong"], found["feature"])
    assert found["divergence"].item() == pytest.approx(0.0, abs=1e-6)
    assert found["sup"].item() == pytest.approx(
        cross_entropy(model(batch["labeled"].image), batch["labeled"].target).item(), rel=1e-5
    )
    target = torch.randn(2, 2, 4, 4)
    logits = torch.randn_like(target)
    torch.testing.assert_close(model._divergence(logits, target.softmax(1)).mean(), kl_divergence(logits, target))


def test_the_code_decodes_clean_and_perturbed_features_in_one_batch() -> None:
    sizes: dict[str, list[int]] = {}
    for statistics in ("whole", "every-pass"):
        model, batch = method(cutmix=0.0, statistics=statistics)
        model.drop.p = 0.5
        seen: list[Tensor] = []
        decode = model.net.decode

        def spy(features: list[Tensor], size: Any, seen: list[Tensor] = seen, decode: Any = decode) -> Tensor:
            seen.append(features[-1])
            found: Tensor = decode(features, size)
            return found

        model.net.decode = spy  # type: ignore[method-assign]
        model.losses(batch, clock())
        sizes[statistics] = [len(maps) for maps in seen]
        if statistics == "every-pass":
            clean, perturbed = seen[0].chunk(2)
            kept = (perturbed != 0).flatten(2).any(2, keepdim=True).unsqueeze(3).to(clean)
            torch.testing.assert_close(perturbed, 2.0 * clean * kept)
            assert 0.2 < kept.mean().item() < 0.8
    labeled, unlabeled = len(batch["labeled"].image), len(batch["unlabeled"].image)
    assert sizes["whole"] == [labeled + unlabeled, unlabeled, unlabeled]
    assert sizes["every-pass"] == [2 * (labeled + unlabeled), unlabeled]


def test_what_the_terms_train() -> None:
    model, batch = method(threshold=0.5, momentum=1.0)
    found = model.losses(batch, clock())
    assert reached(found["sup_correlation"], model.positions) and not reached(found["sup"], model.positions)
    assert not reached(found["sup_correlation"], model.net.decoder) and reached(found["strong"], model.net.decoder)
    assert not model.theta.requires_grad and "theta" in model.state_dict()


def test_above_one_only_labels_count() -> None:
    model, batch = method(threshold=1.0, momentum=1.0)
    found = {name: value.item() for name, value in model.losses(batch, clock()).items()}
    assert all((value > 0) is name.startswith("sup") for name, value in found.items()), found
