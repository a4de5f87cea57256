"""Styles of images: amplitude spectra, mean and deviation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semibench.blocks import adain, mix_amplitude


def naive_mix(content: np.ndarray, style: np.ndarray, share: float, low: float | None) -> np.ndarray:
    """One channel: the whole spectrum with its zero in the centre, the box written out."""
    own, other = (np.fft.fftshift(np.fft.fftn(image)) for image in (content, style))
    amplitude = np.abs(own)
    box = tuple(
        slice(None) if low is None else slice(side // 2 - int(low * side), side // 2 + int(low * side) + 1)
        for side in content.shape
    )
    amplitude[box] = (1 - share) * amplitude[box] + share * np.abs(other)[box]
    return np.real(np.fft.ifftn(np.fft.ifftshift(amplitude * np.exp(1j * np.angle(own)))))


@pytest.mark.parametrize("size", [(12, 16), (9, 11), (6, 8, 10)])
@pytest.mark.parametrize(("share", "low"), [(1.0, 0.2), (0.3, None), (0.5, 0.01)])
def test_amplitudes_against_the_whole_spectrum(size: tuple[int, ...], share: float, low: float | None) -> None:
    torch.manual_seed(0)
    content, style = torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    mixed = mix_amplitude(content, style, share, low=low)
    for one, other, found in zip(content, style, mixed, strict=True):
        expected = naive_mix(one[0].double().numpy(), other[0].double().numpy(), share, low)
        np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)


def test_phase_stays_and_amplitude_with_itself_is_the_image() -> None:
    torch.manual_seed(1)
    content, style = torch.rand(2, 2, 16, 16), torch.rand(2, 2, 16, 16)
    assert (mix_amplitude(content, content, 1.0, low=0.1) - content).abs().max() < 1e-5
    before, after = (torch.fft.fft2(image) for image in (content, mix_amplitude(content, style, 1.0)))
    torch.testing.assert_close(before / before.abs(), after / after.abs(), atol=2e-3, rtol=0)
    torch.testing.assert_close(after.abs(), torch.fft.fft2(style).abs(), atol=1e-3, rtol=1e-4)
    each = mix_amplitude(content, style, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(each[0], content[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(each[1], mix_amplitude(content, style, 1.0)[1])
    assert mix_amplitude(content.half(), style.half(), 0.5).dtype == torch.float16
    with pytest.raises(ValueError, match="one shape"):
        mix_amplitude(content, style[:1], 0.5)


def test_low_frequencies_below_one_pixel_exchange_the_mean_alone() -> None:
    torch.manual_seed(2)
    content, style = torch.rand(1, 1, 32, 32), 1 + torch.rand(1, 1, 32, 32)
    mixed = mix_amplitude(content, style, 1.0, low=0.01)
    torch.testing.assert_close(mixed, content - content.mean() + style.mean(), atol=1e-5, rtol=0)


def test_adain_takes_mean_and_deviation() -> None:
    torch.manual_seed(3)
    content, style = torch.randn(2, 3, 6, 7), 5 + 2 * torch.randn(2, 3, 4, 4)
    changed = adain(content, style)
    torch.testing.assert_close(changed.mean((2, 3)), style.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.std((2, 3), correction=0), style.std((2, 3), correction=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(adain(content, content), content)
    torch.testing.assert_close(adain(content, style, 0.25), 0.75 * content + 0.25 * changed)


def test_adain_counts_valid_positions_alone() -> None:
    content = torch.tensor([[[-1.0, 1.0, 50.0]]])
    style = torch.tensor([[[2.0, 8.0, -9.0]]])
    valid = torch.tensor([[True, True, False]])
    torch.testing.assert_close(
        adain(content, style, valid=valid, style_valid=valid), torch.tensor([[[2.0, 8.0, 50.0]]])
    )
    constant = adain(torch.ones(1, 1, 4), style)
    torch.testing.assert_close(constant, style.mean().expand(1, 1, 4))
