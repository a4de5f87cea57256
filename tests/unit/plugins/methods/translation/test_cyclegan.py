"""CycleGAN and the translation that it shares with CyCADA and DSFN, against worked numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.methods_support import Collected, Constant, case_of, clock, quiet, reached
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semibench.blocks import supervised_loss
from semibench.run.reconstructions import Illustrated
from semibench_plugins.methods.translation.cyclegan import CycleGAN
from semibench_plugins.methods.translation.two_way import TranslationOptions

SMALL = {"filters": 1, "residual_blocks": 1, "pool": 2}


def started(stage: str, **options: Any) -> tuple[CycleGAN, dict[str, Any]]:
    """A method at the start of a stage, and a batch."""
    case = case_of(CycleGAN, options={**SMALL, **options})
    method, data = case.build(), case.data()
    for generator in method.translation.generators:
        nn.init.normal_(generator.end.weight, 0.0, 0.02)  # a new one is the identity
    method.begin("translate", data.pools)
    if stage != "translate":
        method.begin(stage, data.pools)
    return method, data.batch(0)


def test_identity_generators_have_no_cycle_or_identity_loss() -> None:
    method, batch = started("translate")
    method.translation.to_target = method.translation.to_source = nn.Identity()
    losses, images = method.translation.generated(batch["labeled"], batch["unlabeled"])
    assert losses["cycle"].item() == losses["identity"].item() == 0.0
    assert torch.equal(images.fake_target, images.source) and images.source.abs().max() <= 1.0


def test_pictures_of_identity_generators_show_the_image() -> None:
    method, batch = started("translate")
    images = batch["unlabeled"].image
    method.translation.to_target = method.translation.to_source = nn.Identity()
    assert isinstance(method, Illustrated)
    pictures = method.pictures(images)
    assert list(pictures) == ["in the style of the source", "and back"]
    assert all(torch.equal(picture, method.translation.target_range(images)) for picture in pictures.values())


def test_discriminators_that_say_one_half() -> None:
    method, batch = started("translate")
    method.translation.target_critic, method.translation.source_critic = (
        Constant(torch.tensor([0.5])) for _ in range(2)
    )
    seen = Collected()
    method.step(batch, clock("translate"), seen)
    assert seen.losses["adversarial"].item() == pytest.approx(0.5), ".25 for each generator"
    assert seen.losses["critic"].item() == pytest.approx(0.5), ".25 for each discriminator"
    assert [on for _, on in seen.calls] == [("generators",), ("critics",)]


def test_losses_against_single_passes() -> None:
    method, batch = started("translate")
    pair, source, target = method.translation, batch["labeled"], batch["unlabeled"]
    losses, images = pair.generated(source, target)
    x_s, x_t = pair.source_range(source.image), pair.target_range(target.image)

    def distance(one: torch.Tensor, other: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return (one - other).abs()[valid.unsqueeze(1).expand_as(one)].mean()

    fake_t, fake_s = pair.to_target(x_s), pair.to_source(x_t)
    torch.testing.assert_close(images.fake_target, fake_t)
    cycle = distance(pair.to_source(fake_t), x_s, source.valid) + distance(pair.to_target(fake_s), x_t, target.valid)
    identity = distance(pair.to_target(x_t), x_t, target.valid) + distance(pair.to_source(x_s), x_s, source.valid)
    adversarial = (pair.target_critic(fake_t) - 1).square().mean() + (pair.source_critic(fake_s) - 1).square().mean()
    for name, value in (("cycle", cycle), ("identity", identity), ("adversarial", adversarial)):
        torch.testing.assert_close(losses[name], value, msg=name)
    without, _ = pair.generated(source, target, identity=False)
    assert without.keys() == {"adversarial", "cycle"}
    assert not reached(pair.critic_loss(images), pair.to_target), "the pools cut the gradient"


def test_the_second_stage_learns_translated_images_with_fixed_generators() -> None:
    method, batch = started("segment")
    quiet(method)
    assert method.optimisers().keys() == {"net"}
    assert not any(p.requires_grad for p in method.translation.parameters())
    seen = Collected()
    method.step(batch, clock("segment"), seen)
    labeled = batch["labeled"]
    logits = method.net(method.translation.to_target(method.translation.source_range(labeled.image)))
    torch.testing.assert_close(seen.losses["sup"], supervised_loss(logits, labeled.target))
    method.begin("translate", case_of(CycleGAN, options=SMALL).data().pools)
    assert method.optimisers().keys() == {"generators", "critics"}


@pytest.mark.parametrize("statistics", ["target", "translated"])
def test_which_images_move_the_running_statistics(statistics: str) -> None:
    method, batch = started("segment", statistics=statistics)
    pair = method.translation
    shown = (
        pair.target_range(batch["unlabeled"].image)
        if statistics == "target"
        else pair.as_target(batch["labeled"].image)
    )
    first = next(part for part in method.net.modules() if isinstance(part, _BatchNorm))
    entered: list[torch.Tensor] = []
    hook = first.register_forward_hook(lambda part, inputs, output: entered.append(inputs[0].mean((0, 2, 3))))
    method.net(shown)
    hook.remove()
    method, batch = started("segment", statistics=statistics)
    method.step(batch, clock("segment"), Collected())
    first = next(part for part in method.net.modules() if isinstance(part, _BatchNorm))
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, 0.1 * entered[0])


def test_widths_follow_the_segmenter() -> None:
    options = TranslationOptions()
    assert [options.filters_for(2, width) for width in (16, 4, 256)] == [64, 16, 64]
    assert [options.filters_for(3, width) for width in (16, 4)] == [32, 8]
    assert TranslationOptions(filters=7).filters_for(2, 16) == 7
