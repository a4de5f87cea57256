"""Encoders of anatomy and modality, modulated decoders, ranges of images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from semibench.blocks import (
    AnatomyEncoder,
    Code,
    ModalityEncoder,
    ModulatedDecoder,
    code_kl,
    content_rank,
    exchange_batch_norm,
    hsic,
    image_range,
    norm_of,
    round_straight_through,
)


class Softened(nn.Module):
    """A backbone whose logits are given."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_anatomy_sums_to_one_before_rounding_and_is_binary_after_it() -> None:
    torch.manual_seed(0)
    net = Softened(3.0 * torch.randn(2, 8, 4, 4))
    soft = AnatomyEncoder(net, rounded=False)(torch.zeros(2, 1, 4, 4))  # type: ignore[arg-type]
    binary = AnatomyEncoder(net)(torch.zeros(2, 1, 4, 4))  # type: ignore[arg-type]
    torch.testing.assert_close(soft.sum(1), torch.ones(2, 4, 4))
    assert set(binary.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(binary.bool(), soft > 0.5)
    weights = torch.randn(2, 8, 4, 4)
    gradients = [
        torch.autograd.grad((weights * maps).sum(), net.logits, retain_graph=True)[0] for maps in (soft, binary)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_rounding_keeps_values_exact() -> None:
    values = torch.tensor([0.49, 0.51, 1.49, -0.7])
    assert round_straight_through(values).tolist() == [0.0, 1.0, 1.0, -1.0]


@pytest.mark.parametrize("dims", [2, 3])
def test_modality_encoders_of_both_papers(dims: int) -> None:
    patch = (32, 32, 16)[:dims]
    pooled = ModalityEncoder(dims, 1, patch, code=8, filters=(64, 128, 256))
    kernel = 7**dims * 64 + 64, 4**dims * 64 * 128 + 128, 4**dims * 128 * 256 + 256
    assert sum(p.numel() for p in pooled.parameters()) == sum(kernel) + 2 * (256 * 8 + 8)
    if dims == 2:
        assert pooled(torch.zeros(2, 1, 48, 40)).mean.shape == (2, 8), "an average takes any size"
    flat = ModalityEncoder(
        dims, 1, patch, code=16, filters=(2, 4, 4, 4, 4, 4), hidden=(6,), pooled=False, activation="none"
    )
    assert flat.linear[0].in_features == 4, "32 halves to 1 in five steps, 16 in four, and 1 stays"
    code = flat(torch.rand(3, 1, *patch))
    assert code.mean.shape == code.log_variance.shape == (3, 16)


def test_the_encoder_of_dgnet_flattens_256_x_9_x_9_at_288() -> None:
    with torch.device("meta"):
        encoder = ModalityEncoder(
            2, 1, (288, 288), code=16, filters=(8, 16, 32, 64, 128, 256), hidden=(324, 32), pooled=False, activation="none"
        )  # fmt: skip
    assert [layer.in_features for layer in encoder.linear if isinstance(layer, nn.Linear)] == [256 * 9 * 9, 324]
    assert not any(isinstance(layer, nn.ReLU) for layer in encoder.convolutions)


def test_codes_are_drawn_with_their_mean_and_deviation() -> None:
    torch.manual_seed(0)
    code = Code(torch.full((20000, 1), 3.0), torch.full((20000, 1), math.log(4.0)))
    drawn = code.sample()
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.05) and drawn.std().item() == pytest.approx(2.0, abs=0.05)


def test_kl_of_codes_is_that_of_normal_distributions() -> None:
    mean, log_variance = torch.randn(5, 4), torch.randn(5, 4)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(code_kl(Code(mean, log_variance)), expected)


def test_hsic_is_the_trace_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    first, second, m, sigma = 3 * rng.normal(size=(6, 4)), 3 * rng.normal(size=(6, 3)), 6, 2.0

    def kernel(x: np.ndarray) -> np.ndarray:
        return np.exp([[-((a - b) ** 2).sum() / (2 * sigma**2) for b in x] for a in x])

    centring = np.eye(m) - 1 / m
    expected = np.trace(kernel(first) @ centring @ kernel(second) @ centring) / (m - 1) ** 2
    found = hsic(torch.from_numpy(first), torch.from_numpy(second), sigma=sigma)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert hsic(torch.randn(4, 8), torch.ones(4, 8)).item() == pytest.approx(0.0, abs=1e-7)
    assert hsic(torch.randn(1, 8), torch.randn(1, 8)).item() == 0.0, "one sample says nothing"


def test_content_rank_is_the_next_singular_value() -> None:
    torch.manual_seed(0)
    low = torch.einsum("br...,rd->bd...", torch.randn(2, 4, 16, 16), torch.randn(4, 8))
    assert content_rank(low, 4).item() < 1e-3 < content_rank(low, 3).item()
    full = torch.randn(1, 6, 4, 5)
    expected = np.linalg.svd(full[0].flatten(1).numpy().T, compute_uv=False)[2]
    assert content_rank(full, 2).item() == pytest.approx(expected, rel=1e-5), "fewer than 2000 positions: all of them"
    with pytest.raises(ValueError, match="more channels"):
        content_rank(full, 6)


def test_range_of_an_image_leaves_padding_out() -> None:
    image = torch.tensor([[[[2.0, 4.0, 100.0]], [[-1.0, 1.0, -50.0]]], [[[0.0, 0.0, 0.0]], [[5.0, 5.0, 5.0]]]])
    valid = torch.tensor([[[True, True, False]], [[False, False, False]]])
    span = image_range(image, valid)
    assert span.low.flatten().tolist() == [2.0, -1.0, 0.0, 0.0] and span.high.flatten().tolist() == [4.0, 1.0, 0.0, 0.0]
    scaled = span.scaled(image)
    assert scaled[0].flatten().tolist() == [-1.0, 1.0, 1.0, -1.0, 1.0, -1.0]
    torch.testing.assert_close(span.restored(scaled)[0, :, :, :2], image[0, :, :, :2])


def test_film_scales_and_shifts_and_adain_normalises_before() -> None:
    torch.manual_seed(0)
    maps, code = torch.randn(2, 4, 5, 6), torch.randn(2, 3)
    film = ModulatedDecoder(2, contents=4, code=3, outputs=1, kind="film", layers=2, hidden=8)
    numbers = film.scales_and_shifts(code).view(2, 2, 2, 4)
    adain = ModulatedDecoder(2, contents=4, code=3, outputs=1, kind="adain", layers=2, hidden=8)
    adain.load_state_dict(film.state_dict())
    for decoder in (film, adain):
        features = maps
        for number, layer in enumerate(decoder.modulated):
            features = layer(features)
            if decoder is adain:
                mean, deviation = (
                    features.mean((2, 3), keepdim=True),
                    features.var((2, 3), unbiased=False, keepdim=True),
                )
                features = (features - mean) / (deviation + 1e-5).sqrt()
            scale, shift = numbers[:, number, 0, :, None, None], numbers[:, number, 1, :, None, None]
            features = scale * features + shift
            features = torch.where(features > 0, features, 0.01 * features)
        torch.testing.assert_close(decoder(maps, code), decoder.last(features).tanh())


def test_the_decoder_of_dgnet_has_32_numbers_of_a_code_of_16() -> None:
    decoder = ModulatedDecoder(3, contents=8, code=16, outputs=1, positive=True)
    sizes = [
        (layer.in_features, layer.out_features) for layer in decoder.scales_and_shifts if isinstance(layer, nn.Linear)
    ]
    assert sizes == [(16, 256), (256, 256), (256, 32)]
    assert decoder(torch.zeros(1, 8, 4, 4, 4), torch.zeros(1, 16)).shape == (1, 1, 4, 4, 4)
    torch.nn.init.constant_(decoder.scales_and_shifts[-1].weight, -1.0)
    torch.nn.init.zeros_(decoder.scales_and_shifts[-1].bias)
    drawn = decoder(torch.randn(1, 8, 4, 4, 4), torch.randn(1, 16))
    torch.testing.assert_close(drawn, decoder.last(torch.zeros(1, 8, 4, 4, 4)).tanh())  # negative numbers become 0


def test_parts_beside_a_network_get_its_normalisation() -> None:
    def net() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))

    for kind in ("batch", "instance", "group"):
        assert norm_of(exchange_batch_norm(net(), kind)) == kind  # type: ignore[arg-type]
    assert norm_of(nn.Conv2d(1, 1, 1)) == "batch"


def test_content_rank_of_random_positions() -> None:
    """Against the eigenvalues of the Gram matrix of the same positions, and what is left after a projection."""
    torch.manual_seed(0)
    content = torch.einsum("rd,rhw->dhw", torch.randn(2, 8), torch.randn(2, 20, 20))[None]
    noisy = content + 0.3 * torch.randn_like(content)
    torch.manual_seed(1)
    found = content_rank(noisy, 2, positions=300)
    torch.manual_seed(1)
    rows = noisy[0].flatten(1)[:, torch.randint(400, (300,))].T
    singular = torch.linalg.eigvalsh(rows.T.double() @ rows.double()).flip(0).sqrt()
    assert found.item() == pytest.approx(singular[2].item(), rel=1e-4), "the third one"
    _, _, directions = torch.linalg.svd(noisy[0].flatten(1).T, full_matrices=False)
    projected = (directions[:2].T @ directions[:2] @ noisy[0].flatten(1)).view_as(content)
    assert content_rank(projected, 2, positions=300).item() < 1e-3 < found.item()


def test_padding_adds_nothing_to_the_rank() -> None:
    content = torch.zeros(1, 4, 8, 8)
    content[:, :, :4] = torch.randn(4, 4, 8)
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    valid[:, 4:] = True
    assert content_rank(content, 1).item() > 1.0
    assert content_rank(content, 1, valid=valid).item() == 0.0
    assert content_rank(content, 1, valid=torch.zeros_like(valid)).item() == 0.0, "nothing is valid"


def test_padding_is_not_drawn() -> None:
    """A quarter of the positions is valid: the value is that of as many draws from this quarter."""
    torch.manual_seed(0)
    content = torch.randn(1, 4, 40, 40)
    valid = torch.zeros(1, 40, 40, dtype=torch.bool)
    valid[:, :20, :20] = True
    inside = content[:, :, :20, :20]
    torch.manual_seed(1)
    found = content_rank(content, 2, positions=300, valid=valid)
    torch.manual_seed(1)
    torch.testing.assert_close(found, content_rank(inside, 2, positions=300))
    assert found.item() == pytest.approx(300**0.5, rel=0.1), "300 rows of independent numbers of variance 1"


def test_gradient_of_the_rank_pulls_the_excess_direction() -> None:
    content = torch.diag(torch.tensor([5.0, 3.0, 1.0])).T.reshape(1, 3, 1, 3).repeat(1, 1, 40, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(content_rank(content, 2, positions=100), content)
    assert gradient[:, 2].abs().max() > 1e-3 and gradient[:, :2].abs().max() < 1e-6
