"""DSFN: its fusion and its losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Collected, Constant, case_of, clock, reached
from torch import nn

from semibench.blocks import supervised_loss
from semibench_plugins.methods.translation.dsfn import DSFN

SMALL = {"filters": 1, "residual_blocks": 1, "pool": 2}


def started(**options: Any) -> tuple[DSFN, dict[str, Any]]:
    case = case_of(DSFN, options={**SMALL, **options})
    method, data = case.build(), case.data()
    for generator in method.translation.generators:
        nn.init.normal_(generator.end.weight, 0.0, 0.02)  # a new one is the identity
    method.begin("train", data.pools)
    return method, data.batch(0)


def test_an_identity_makes_the_fusion_a_single_prediction() -> None:
    method, batch = started()
    method.eval().translation.to_source = nn.Identity()
    images = batch["unlabeled"].image
    torch.testing.assert_close(method(images), method.plain(images).log_softmax(1))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_fusion_is_a_mean_of_probabilities(share: float) -> None:
    method, batch = started(direct=share)
    method.eval()
    fused, plain, translated = (
        predict(batch["unlabeled"].image).softmax(1) for predict in method.predictors().values()
    )
    torch.testing.assert_close(fused, share * plain + (1 - share) * translated)


def test_discriminators_that_say_one_half() -> None:
    method, batch = started()
    half = [Constant(torch.tensor([0.5])) for _ in range(4)]
    method.in_target, method.in_source, method.translation.target_critic, method.translation.source_critic = half
    seen = Collected()
    method.step(batch, clock(), seen)
    for name in ("adversarial", "output", "critic", "output_critic"):
        assert seen.losses[name].item() == pytest.approx(0.5), f"{name}: .25 for each domain"
    assert [on for _, on in seen.calls] == [("generators",), ("net",), ("critics",)]


def test_the_segmenter_learns_plain_and_translated_images_with_fixed_generators() -> None:
    method, batch = started()
    _, images = method.translation.generated(batch["labeled"], batch["unlabeled"])
    losses, maps = method.segmented(batch["labeled"], batch["unlabeled"], images)
    assert not reached(losses["sup"], method.translation.to_target)
    target = batch["labeled"].target
    expected = supervised_loss(maps[0].log(), target) + supervised_loss(maps[1].log(), target)
    torch.testing.assert_close(losses["sup"], expected, rtol=1e-4, atol=1e-5)
    valid = batch["unlabeled"].valid.unsqueeze(1).expand_as(maps[2])
    torch.testing.assert_close(losses["consistency"], (maps[2] - maps[3]).square()[valid].mean())
