"""CyCADA against worked numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.methods_support import Collected, case_of, clock, quiet, reached
from torch import nn

from semibench import Term
from semibench_plugins.methods.translation.cycada import CyCADA, RecentAccuracy

SMALL = {"filters": 1, "residual_blocks": 1, "pool": 2, "critic_filters": 4}


def started(stage: str, **options: Any) -> tuple[CyCADA, dict[str, Any]]:
    """A method at the start of a stage, and a batch."""
    case = case_of(CyCADA, options={**SMALL, **options})
    method, data = case.build(), case.data()
    for name in ("source", "translate", "adapt"):
        method.begin(name, data.pools)
        if name == stage:
            break
    return method, data.batch(0)


def test_accuracy_is_averaged_over_a_hundred_iterations() -> None:
    accuracy = RecentAccuracy()
    assert accuracy(torch.tensor(0.7)).item() == pytest.approx(0.7)
    for _ in range(100):
        mean = accuracy(torch.tensor(0.5))
    assert mean.item() == pytest.approx(0.5)
    for _ in range(50):
        mean = accuracy(torch.tensor(0.7))
    assert mean.item() == pytest.approx(0.6)


@pytest.mark.parametrize(("before", "opened"), [(0.5, False), (0.7, True)])
def test_the_gate(before: float, opened: bool) -> None:
    method, batch = started("adapt")
    method.accuracy.values.fill_(before)
    method.accuracy.count.fill_(100)
    seen = Collected()
    method.step(batch, clock("adapt"), seen)
    assert (seen.losses["align"].item() > 0) == opened
    assert reached(seen.losses["align"], method.net) == opened
    assert [on for _, on in seen.calls] == [("align",), ("net",)]
    assert not reached(seen.losses["align_critic"], method.net)


@pytest.mark.parametrize(("before", "calls"), [(0.5, [("align",)]), (0.7, [("align",), ("net",)])])
def test_a_closed_gate_may_stop_the_segmenter(before: float, calls: list[tuple[str, ...]]) -> None:
    method, batch = started("adapt", supervised="open-gate")
    method.accuracy.values.fill_(before)
    method.accuracy.count.fill_(100)
    seen = Collected()
    method.step(batch, clock("adapt"), seen)
    assert [on for _, on in seen.calls] == calls


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_separate_passes_keep_the_statistics_of_a_domain(passes: str) -> None:
    seen = []
    for shift in (0.0, 1.0):  # of the source images; the norm of the target's must not know
        method, batch = started("adapt", passes=passes)
        quiet(method)
        method.accuracy.values.fill_(1.0)
        method.accuracy.count.fill_(100)
        image = batch["labeled"].image
        with torch.no_grad():
            seen.append(Collected())
            changed = replace(batch["labeled"], image=image + shift * image.square())
            method.step({**batch, "labeled": changed}, clock("adapt"), seen[-1])
    values = [each.losses["align"].item() for each in seen]
    assert (abs(values[0] - values[1]) < 1e-6) == (passes == "separate")


def test_the_published_preset() -> None:
    preset = CyCADA.presets["code"]
    method, _ = started("adapt", **preset["options"])
    net, align = method.optimisers()["net"], method.optimisers()["align"]
    recipe = preset["recipe"]
    assert recipe["lr"] * net.lr_factor == pytest.approx(1e-5) and align.lr == 1e-5
    assert recipe["momentum"] == align.settings["momentum"] == 0.99
    assert recipe["weight_decay"] == align.settings["weight_decay"] == 5e-4
    assert not any(generator.residual for generator in method.translation.generators)
    method.begin("translate", case_of(CyCADA, options=SMALL).data().pools)
    assert preset["terms"]["semantic"] == 0.0 and preset["terms"]["identity"] == 10.0


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_the_identity_loss_is_learned_where_it_counts(weight: float) -> None:
    method, batch = started("translate")
    method.terms = {**method.terms, "identity": Term(weight)}
    seen = Collected()
    method.step(batch, clock("translate"), seen)
    expected = torch.zeros(())
    if weight:
        pair = method.translation
        for generator, samples, scale in (
            (pair.to_target, batch["unlabeled"], pair.target_range),
            (pair.to_source, batch["labeled"], pair.source_range),
        ):
            image = scale(samples.image)
            expected = expected + (generator(image) - image).abs()[samples.valid.unsqueeze(1)].mean()
    torch.testing.assert_close(seen.losses["identity"], expected)
    assert seen.losses["identity"].requires_grad == (weight > 0)


def test_a_critic_without_opinion_costs_ln_two() -> None:
    method, batch = started("adapt", gate=0.4)
    for parameter in method.critic.parameters():
        nn.init.zeros_(parameter)
    seen = Collected()
    method.step(batch, clock("adapt"), seen)
    assert method.notes["accuracy"].item() == pytest.approx(0.5), "it calls everything target"
    assert seen.losses["align_critic"].item() == pytest.approx(2 * math.log(2))
    assert seen.losses["align"].item() == pytest.approx(math.log(2))


def test_the_semantic_loss_of_identity_generators() -> None:
    method, batch = started("translate")
    method.translation.to_target = method.translation.to_source = nn.Identity()
    seen = Collected()
    method.step(batch, clock("translate"), seen)
    expected = torch.zeros(())
    method.source_net.eval()
    for samples, scale in (
        (batch["labeled"], method.translation.source_range),
        (batch["unlabeled"], method.translation.target_range),
    ):
        confidence = method.source_net(scale(samples.image)).softmax(1).amax(1)
        expected = expected - confidence.log()[samples.valid].mean()
    torch.testing.assert_close(seen.losses["semantic"], expected)


def test_the_labeller_is_fixed_and_starts_the_segmenter() -> None:
    method, batch = started("translate")
    before = {name: value.clone() for name, value in method.source_net.state_dict().items()}
    seen = Collected()
    method.step(batch, clock("translate"), seen)
    assert all(torch.equal(value, before[name]) for name, value in method.source_net.state_dict().items())
    assert reached(seen.losses["semantic"], method.translation.to_target)
    assert method.optimisers().keys() == {"generators", "critics"}
    method.begin("adapt", case_of(CyCADA, options=SMALL).data().pools)
    assert all(torch.equal(value, before[name]) for name, value in method.net.state_dict().items())
    assert method.optimisers().keys() == {"net", "align"}
