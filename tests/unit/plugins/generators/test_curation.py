"""Which samples are kept: planted copies and noise, filling up, drawing again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.generator_toys import frames
from torch import Tensor

from semibench import Curated, Generator, UsageError
from semibench_plugins.generators.curation import CurationOptions, curate, likeness_vectors, realism_features

torch.set_num_threads(1)


def test_a_copy_is_memorised_and_noise_is_unrealistic() -> None:
    real, fresh = frames(30, seed=0), frames(8, seed=99)
    copy = real[3:4]
    changed = (0.8 * real[4:5].flip(-1) + 0.1).clamp(0, 1)  # mirrored, other brightness and contrast
    noise = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(4))
    samples = torch.cat([copy, fresh, changed, noise, torch.zeros(1, 3, 40, 40)])
    chosen = curate(samples, real, count=6, options=CurationOptions())
    assert chosen.memorised == 2 and chosen.filled == 0
    assert chosen.unrealistic >= 3
    assert set(chosen.kept.tolist()) <= set(range(1, 9)) and len(chosen.kept) == 6
    likeness, realism = torch.tensor(chosen.record["likeness"]), torch.tensor(chosen.record["realism"])
    assert likeness[0] == 0 and likeness[9] <= chosen.record["copy_limit"]
    assert (realism[10:] > chosen.record["realism_limit"]).all()
    assert chosen.kept.tolist() == sorted(chosen.kept.tolist())


def test_the_rest_is_filled_with_the_least_unrealistic_and_never_with_copies() -> None:
    real = frames(20)
    noise = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(4))
    samples = torch.cat([real[:3], noise])
    chosen = curate(samples, real, count=3, options=CurationOptions())
    assert (chosen.memorised, chosen.unrealistic, chosen.filled) == (3, 4, 3)
    realism = torch.tensor(chosen.record["realism"])
    assert set(chosen.kept.tolist()) == set((3 + realism[3:].argsort()[:3]).tolist())
    assert curate(samples[:3], real, count=3, options=CurationOptions()).kept.numel() == 0
    with pytest.raises(UsageError, match="at least three"):
        curate(samples, real[:2], count=1, options=CurationOptions())


def test_distances_are_the_declared_ones_by_hand() -> None:
    real, samples = frames(10), frames(3, seed=5)
    chosen = curate(samples, real, count=3, options=CurationOptions())
    a, b = likeness_vectors(samples), torch.cat([likeness_vectors(real), likeness_vectors(real.flip(-1))])
    by_hand = [min(float((one - other).norm()) for other in b) for one in a]
    assert chosen.record["likeness"] == pytest.approx(by_hand, abs=1e-4)
    correlation = torch.corrcoef(torch.stack([a[0], b[0]]))[0, 1]
    assert float((a[0] - b[0]).square().sum()) == pytest.approx(2 - 2 * float(correlation), abs=1e-9)
    _, features = realism_features(samples, real, 24)
    pairs = torch.stack([(x - y).square().sum() for i, x in enumerate(features) for y in features[:i]])
    assert pairs.mean().item() == pytest.approx(1.0, rel=1e-6), "two training images are at mean square distance 1"


class Plain(Generator):
    """Gives frames, the first `copies` of each call being copies of what it 'learned'; has no rule of its own."""

    def __init__(self, copies: int) -> None:
        super().__init__(None)
        self.copies, self.asked = copies, list[int]()

    def fit(self, images: Any, directory: Path, *, seed: int, device: str, progress: Any = None) -> Any:
        raise AssertionError("not used")

    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        self.asked.append(count)
        made = frames(count, seed=seed % 1000)
        copies = min(self.copies, count)
        return torch.cat([frames(20).repeat(1 + count // 20, 1, 1, 1)[:copies], made[copies:]])


class Scripted(Plain):
    """The same with the rule of latent diffusion."""

    Curation = CurationOptions

    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Any) -> Curated:
        return curate(samples, real, count=count, options=CurationOptions(**options))


def test_synthesise_draws_again_up_to_the_stated_multiple() -> None:
    real, generous = frames(20), {"realism_quantile": 1.0}
    one = Scripted(2)
    images, chosen = one.synthesise(Path(), real, 6, candidates=3.0, options=generous, seed=0, device="cpu")
    assert len(images) == 6 and chosen.filled == 0 and chosen.memorised >= 2
    assert len(one.asked) > 1 and sum(one.asked) <= 18
    hopeless = Scripted(10**6)
    images, chosen = hopeless.synthesise(Path(), real, 6, candidates=2.0, options=generous, seed=0, device="cpu")
    assert len(images) == 0 and sum(hopeless.asked) == 12 and chosen.memorised == 12


def test_a_generator_without_a_rule_keeps_the_first() -> None:
    images, chosen = Plain(0).synthesise(Path(), frames(4), 3, seed=0, device="cpu")
    assert chosen.kept.tolist() == [0, 1, 2] and chosen.record == {"rule": "none"} and len(images) == 3
    with pytest.raises(ValueError, match="surprise"):
        Plain(0).curate(frames(3), frames(3), count=1, options={"surprise": 1})
