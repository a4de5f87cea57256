"""Parts of methods that translate images: generator, discriminator, their losses, the pool and the intensity range."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semibench.blocks import (
    ImagePool,
    IntensityRange,
    PatchDiscriminator,
    TranslationGenerator,
    absolute_error,
    add_change,
    discriminator_loss,
    least_squares,
    residual_blocks,
)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_networks_have_the_published_size() -> None:
    generator, discriminator = TranslationGenerator(2, 3), PatchDiscriminator(2, 3, (256, 256))
    assert parameters(generator) == 11_378_179 and parameters(discriminator) == 2_764_737
    assert (residual_blocks((128, 128)), residual_blocks((64, 256))) == (6, 9)


@pytest.mark.parametrize("size", [(16, 12), (9, 7), (4, 5), (8, 4, 6)])
def test_a_generator_keeps_the_size(size: tuple[int, ...]) -> None:
    generator = TranslationGenerator(len(size), 2, filters=1, blocks=1)
    translated = generator(torch.rand(1, 2, *size))
    assert translated.shape == (1, 2, *size) and translated.abs().max() <= 1.0


def test_a_new_residual_generator_is_the_identity() -> None:
    generator = TranslationGenerator(2, 1, filters=1, blocks=1, residual=True)
    images = torch.rand(2, 1, 8, 8) * 1.8 - 0.9
    torch.testing.assert_close(generator(images), images)
    assert add_change(torch.ones(1), torch.full((1,), -9.0)) < -0.99, "an image at the limit can change, too"


def test_a_plain_sum_narrows_the_image_and_moves_its_extremes() -> None:
    images = torch.tensor([-1.0, 0.0, 1.0])
    unchanged = add_change(images, torch.zeros(3), plain=True)
    torch.testing.assert_close(unchanged, torch.tensor([-0.761594, 0.0, 0.761594]))
    torch.testing.assert_close(add_change(images, torch.tensor([1.0, 0.5, -1.0]), plain=True)[::2], torch.zeros(2))
    assert (add_change(images, torch.tensor([1.0, 0.5, -1.0]))[::2].abs() > 0.99).all()
    generator = TranslationGenerator(2, 1, filters=1, blocks=1, residual=True, plain=True)
    assert generator.end.weight.abs().sum() > 0, "it starts like the other layers"
    nn.init.zeros_(generator.end.weight)
    shown = torch.rand(2, 1, 8, 8) * 2.0 - 1.0
    torch.testing.assert_close(generator(shown), shown.tanh())


@pytest.mark.parametrize(
    ("patch", "scores"),
    [((256, 256), (30, 30)), ((32, 32), (2, 2)), ((32, 32, 16), (2, 2, 2)), ((8, 2), (2, 2)), ((16, 160, 160), (2, 18, 18))],
)  # fmt: skip
def test_scores_of_a_discriminator(patch: tuple[int, ...], scores: tuple[int, ...]) -> None:
    critic = PatchDiscriminator(len(patch), 1, patch, filters=1, outputs=2)
    assert critic(torch.rand(1, 1, *patch)).shape == (1, 2, *scores)


def test_a_score_sees_seventy_pixels() -> None:
    critic = PatchDiscriminator(2, 1, (256, 256), filters=1)
    convolutions = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    seen = 1
    for layer in reversed(convolutions):
        seen = (seen - 1) * layer.stride[0] + layer.kernel_size[0]
    assert seen == 70


def test_losses_against_plain_loops() -> None:
    half = torch.full((2, 1, 3, 3), 0.5)
    assert least_squares(half, 1.0) == least_squares(half, 0.0) == discriminator_loss(half, half) == 0.25
    real, fake = torch.randn(2, 1, 2, 2), torch.randn(2, 1, 2, 2)
    plain = sum((r - 1) ** 2 for r in real.flatten().tolist()) / 8 + sum(f**2 for f in fake.flatten().tolist()) / 8
    assert discriminator_loss(real, fake).item() == pytest.approx(plain / 2, rel=1e-5)
    first, second = torch.rand(1, 2, 2), torch.rand(1, 2, 2)
    valid = torch.tensor([[True, False]])
    expected = sum(abs(float(first[0, c, 0]) - float(second[0, c, 0])) for c in range(2)) / 2
    assert absolute_error(first, second, valid).item() == pytest.approx(expected, rel=1e-5)
    assert absolute_error(first, first, valid) == 0.0


def test_a_pool_returns_new_images_until_it_is_full() -> None:
    pool = ImagePool(50, 1, (1,))
    for step in range(25):
        images = torch.tensor([[[2.0 * step]], [[2.0 * step + 1]]])
        assert torch.equal(pool(images), images)
    assert pool.held == 50 and torch.equal(pool.images.flatten(), torch.arange(50.0))


def test_a_full_pool_exchanges_half_of_the_images() -> None:
    torch.manual_seed(0)
    pool = ImagePool(4, 1, (1,))
    pool(torch.arange(4.0).view(4, 1, 1))
    inside, fresh = {0.0, 1.0, 2.0, 3.0}, 0
    for number in range(4, 404):
        returned = float(pool(torch.full((1, 1, 1), float(number))))
        fresh += returned == number
        if returned != number:
            assert returned in inside, "an old image, which leaves the pool"
            inside = (inside - {returned}) | {float(number)}
        assert set(pool.images.flatten().tolist()) == inside
    assert 150 < fresh < 250, "half of 400"


def test_a_pool_keeps_no_graph_and_may_be_empty() -> None:
    images = torch.rand(2, 1, 4, requires_grad=True)
    for pool in (ImagePool(0, 1, (4,)), ImagePool(3, 1, (4,))):
        returned = pool(images)
        assert torch.equal(returned, images) and not returned.requires_grad


def test_the_range_of_intensities() -> None:
    values = torch.arange(1001.0).view(1, 1, 1001)
    domain = IntensityRange(1)
    domain.fit([values, values - 100.0])
    assert domain.low.item() == pytest.approx(-95.0) and domain.high.item() == pytest.approx(995.0)
    scaled = domain(torch.tensor([[[-95.0, 450.0, 995.0, 5000.0]]]))
    torch.testing.assert_close(scaled, torch.tensor([[[-1.0, 0.0, 1.0, 1.0]]]))
    with pytest.raises(ValueError, match="found none"):
        domain.fit([])


def test_a_range_of_equal_values_stays_finite() -> None:
    domain = IntensityRange(2)
    domain.fit([torch.zeros(1, 2, 4)])
    assert domain(torch.ones(1, 2, 4)).isfinite().all()
