"""DiffRect against its published number of parameters, worked numbers, and the laws of its steps."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from support.methods_support import Collected, case_of, clock, reached
from torch import Tensor, nn

from semibench import IGNORE, Term
from semibench.run.settings import term_records
from semibench_plugins.methods.pseudo_labels.diffrect.colours import coloured, label_distance, palette
from semibench_plugins.methods.pseudo_labels.diffrect.method import DiffRect
from semibench_plugins.methods.pseudo_labels.diffrect.rectifier import (
    DENOISER,
    LEVELS,
    CosineDiffusion,
    Denoiser,
    Encoder,
    Rectifier,
    TimeEmbedding,
    Up,
)

torch.set_num_threads(1)


def test_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        parts: list[nn.Module] = [
            Encoder(4, LEVELS, 512),
            Encoder(1, LEVELS, 512),
            Denoiser(DENOISER, 512),
            TimeEmbedding(512),
        ]
        parts += [Up(coarse, fine, 512) for fine, coarse in pairwise(LEVELS)]
        parts.append(nn.Conv2d(16, 4, 3))
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) == 17_468_212
    assert [type(part).__name__ for part in Rectifier(1, 4, 0.125).children()] == [
        "TimeEmbedding", "Encoder", "Encoder", "Denoiser", "ModuleList", "Conv2d", "CosineDiffusion",
    ]  # fmt: skip


def test_colours_can_be_told_apart() -> None:
    assert palette(2).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert palette(4).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for kinds in (2, 4, 8, 16):
        colours = palette(kinds)
        assert len(torch.unique(colours, dim=0)) == kinds
        label = torch.arange(kinds).view(1, 1, kinds)
        found = coloured(label, colours)
        assert (torch.cdist(found[0, :, 0].T, colours).argmin(1) == label.flatten()).all()
    assert coloured(torch.tensor([[[IGNORE, 1]]]), palette(2))[0, :, 0].T.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_distance_of_label_maps() -> None:
    label = torch.tensor([[[1, 1], [0, 0]]])
    assert label_distance(label, label, 2).item() == 0.0
    shifted = torch.tensor([[[1, 0], [0, 0]]])
    assert label_distance(shifted, label, 2).item() == pytest.approx((1 - 4 / 5 + 1 - 2 / 3) / 2, abs=1e-5)
    padded = torch.tensor([[[1, IGNORE], [0, 0]]])
    assert label_distance(shifted, padded, 2).item() == 0.0
    assert label_distance(0 * label, 0 * label + 1, 2).item() == pytest.approx(1.0, abs=1e-4)


def test_cosine_schedule() -> None:
    """kept[t] telescopes to the ratio of cos^2 wherever no variance is clipped."""
    diffusion = CosineDiffusion(10)
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for step in range(9):
        course = math.cos(((step + 1) / 10 + 0.008) / 1.008 * math.pi / 2) ** 2
        assert float(diffusion.kept[step]) == pytest.approx(course / start, rel=1e-5)
    assert float(diffusion.kept[9]) == pytest.approx(float(diffusion.kept[8]) / 1000, rel=1e-4), "a variance of .999"
    clean = torch.randn(4, 2, 3, 3)
    noised = diffusion.noised(clean, torch.zeros(4, dtype=torch.int64))
    assert (noised - clean).square().mean() < 0.1
    found = diffusion.ddim(lambda noisy, step: clean, torch.randn_like(clean), count=2, bounds=None)
    torch.testing.assert_close(found, clean)


def test_a_perfect_guess_has_no_latent_error() -> None:
    rectifier = Rectifier(1, 2, 0.125).eval()
    image, given, goal = torch.randn(2, 1, 32, 32), torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    quality = torch.tensor([300.0, 300.0])
    seen: list[Tensor] = []
    rectifier.joint.register_forward_hook(lambda module, inputs, maps: seen.append(maps[-1]))

    class Knows(torch.nn.Module):
        def forward(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
            assert condition is seen[0] and not seen[1].requires_grad
            return seen[1] + 0.5

    rectifier.denoiser = Knows()  # type: ignore[assignment]
    logits, latent = rectifier(image, given, quality, goal)
    assert latent.item() == pytest.approx(0.25, abs=1e-5) and logits.shape == (2, 2, 32, 32)


def one_step(step: int = 50) -> tuple[DiffRect, Collected]:
    case = case_of(DiffRect, options={"rectifier_width": 0.125})
    method, batch, optimise = case.build().train(), case.data().batch(0), Collected()
    assert isinstance(method, DiffRect)
    method.step(batch, clock(step=step), optimise)
    return method, optimise


def test_steps_in_their_order_and_what_they_train() -> None:
    method, optimise = one_step()
    assert [(sorted(losses), on) for losses, on in optimise.calls] == [
        (["complementary", "pixel", "sup"], ("main",)),
        (["latent", "refine", "refine-strong"], ("rectifier",)),
        (["rectified"], ("main",)),
    ]
    for losses, on in optimise.calls:
        mine, other = (method.net, method.rectifier) if on == ("main",) else (method.rectifier, method.net)
        for name, loss in losses.items():
            assert reached(loss, mine) and not reached(loss, other), name


def test_corrected_labels_come_later() -> None:
    assert len(one_step(step=3)[1].calls) == 2
    records = term_records(DiffRect.terms, DiffRect.presets["acdc"]["terms"])
    own, published = DiffRect.terms["rectified"], Term.restore(records["rectified"])
    assert own.at(999 / 30000) == published.at(999 / 30000) == 0.0 and published.at(1 / 30) == 1.0
    assert own.at(0.5) == pytest.approx(math.exp(-5 / 4)) and own.at(1.0) == 1.0


def test_it_is_for_two_dimensions() -> None:
    case = case_of(DiffRect, 3)
    assert "2D" in (DiffRect.unsupported(case.task, case.parsed_options()) or "")


def test_the_rectifier_is_never_wider_than_the_published_one() -> None:
    with torch.device("meta"):
        wide = case_of(DiffRect, backbone_options={"width": 2.0}).build().rectifier
        published = Rectifier(1, 2, 1.0)
    count = [sum(parameter.numel() for parameter in net.parameters()) for net in (wide, published)]  # type: ignore[union-attr]
    assert count[0] == count[1]


def test_steps_of_the_diffusion_are_options() -> None:
    method = case_of(DiffRect, options={"steps": 20, "sampling_steps": 5}).build()
    assert len(method.rectifier.diffusion.kept) == 20 and method.rectifier.sampling_steps == 5  # type: ignore[arg-type, union-attr]
    with pytest.raises(ValidationError, match="sampling_steps=11 is more than steps=10"):
        DiffRect.Options(sampling_steps=11)
