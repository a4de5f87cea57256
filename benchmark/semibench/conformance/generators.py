"""What every generator must do, one fact for each check, on a dozen small pictures. A check raises AssertionError with what
is wrong. The generator runs with its preset `smoke` where it has one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from semibench.blocks.seeds import derive_seed
from semibench.conformance.case import reseed
from semibench.conformance.watching import watched
from semibench.contracts.cards import GeneratorCard
from semibench.contracts.generator import Generator

SIDE = 32
IMAGES, SAMPLES = 12, 6


def pictures(count: int = IMAGES, *, dims: int = 2, seed: int = 0) -> Tensor:
    """(count, 1, *spatial) in [0, 1]: a dark ball on a slope with noise."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "pictures"))
    axes = torch.meshgrid(*[torch.linspace(0, 1, SIDE)] * dims, indexing="ij")
    made = []
    for _ in range(count):
        draw = torch.rand(dims + 2, generator=generator)
        far = (
            torch.stack([(axis - 0.2 - 0.6 * at).square() for axis, at in zip(axes, draw, strict=False)]).sum(0).sqrt()
        )
        ball = ((far - 0.1 - 0.15 * draw[-1]) * 30).sigmoid()
        slope = 0.4 + 0.4 * draw[-2] * axes[0]
        made.append((slope * (0.3 + 0.7 * ball) + 0.03 * torch.randn(axes[0].shape, generator=generator)).clamp(0, 1))
    return torch.stack(made)[:, None]


@dataclass(frozen=True, eq=False)
class GeneratorCase:
    """A generator in a small setting."""

    generator: type[Generator]
    card: GeneratorCard
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        return min(self.card.dims)

    def build(self) -> Generator:
        """With its preset `smoke` and the case's options."""
        return self.generator(self.generator.Options(**{**self.generator.presets.get("smoke", {}), **self.options}))

    @cached_property
    def real(self) -> Tensor:
        return pictures(dims=self.dims)

    @contextmanager
    def fitted(self, images: Tensor | None = None, seed: int = 3) -> Iterator[tuple[Generator, Path]]:
        """A generator that learned from the pictures, and its folder."""
        with tempfile.TemporaryDirectory() as folder:
            generator, place = self.build(), Path(folder) / "model"
            reseed()
            images = self.real if images is None else images
            found = generator.fit(list(images), place, seed=seed, device="cpu")
            yield generator, found.directory

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Samples of one fit: seed 5, seed 5 again by a new object, seed 6, and seed 5 of another fit with the same seed."""
        with self.fitted() as (generator, folder):
            first = generator.sample(folder, SAMPLES, seed=5, device="cpu")
            torch.manual_seed(123)
            again = self.build().sample(folder, SAMPLES, seed=5, device="cpu")
            other = generator.sample(folder, SAMPLES, seed=6, device="cpu")
        with self.fitted() as (generator, folder):
            refitted = generator.sample(folder, SAMPLES, seed=5, device="cpu")
        return first, again, other, refitted


Check = Callable[[GeneratorCase], None]


def check_samples_are_images(case: GeneratorCase) -> None:
    """float32 (count, C, *spatial) of the training images' channels and grid dims, finite, in [0, 1], not constant."""
    first = case.samples[0]
    assert first.dtype == torch.float32, f"expected float32, found {first.dtype}"
    assert first.shape[:2] == (SAMPLES, case.real.shape[1]) and first.ndim == case.real.ndim, (
        f"shape {tuple(first.shape)}"
    )
    assert first.isfinite().all(), "NaN or infinity in the samples"
    assert float(first.min()) >= 0 and float(first.max()) <= 1, (
        f"range {float(first.min()):g} to {float(first.max()):g}"
    )
    assert (first.flatten(1).std(1) > 0).all(), "a sample is constant"


def check_same_seed_same_samples(case: GeneratorCase) -> None:
    """A seed gives the same digits again, from a new object and whatever the global random state."""
    first, again, _, _ = case.samples
    assert torch.equal(first, again), "the same seed gave other samples: use a torch.Generator of your own"


def check_other_seed_other_samples(case: GeneratorCase) -> None:
    """Another seed gives other samples, and samples of one call differ from each other."""
    first, _, other, _ = case.samples
    assert not torch.equal(first, other), "another seed gave the same samples"
    assert not torch.equal(first[0], first[1]), "samples of one call are equal"


def check_fit_follows_its_seed(case: GeneratorCase) -> None:
    """The same images and seed fit the same model."""
    first, _, _, refitted = case.samples
    assert torch.equal(first, refitted), "two fits with one seed give different samples"


def check_model_depends_on_what_it_is_given(case: GeneratorCase) -> None:
    """Other training images give other samples: what is learned comes from `images` alone."""
    with case.fitted(1 - case.real) as (generator, folder):
        other = generator.sample(folder, SAMPLES, seed=5, device="cpu")
    assert not torch.equal(case.samples[0], other), "the samples don't depend on the training images"


def check_images_are_left_alone(case: GeneratorCase) -> None:
    """fit changes none of the tensors it is given."""
    images = case.real.clone()
    with case.fitted(images):
        assert torch.equal(images, case.real), "fit wrote into the training images"


def check_nothing_is_pickled(case: GeneratorCase) -> None:
    """The model is written as safetensors, JSON or plain arrays, in the directory it is given."""
    with case.fitted() as (_, folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files, f"fit wrote nothing under {folder.name}"
        bad = sorted(path.name for path in files if path.suffix in (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"))
        assert not bad, f"formats that can run code when they are loaded: {bad}"


def check_writes_only_its_directory(case: GeneratorCase) -> None:
    """fit and sample write nothing outside the directory they are given, and open no connection."""
    assert case.samples  # libraries make their caches when they are first used
    with watched() as seen, case.fitted() as (generator, folder):
        generator.sample(folder, SAMPLES, seed=5, device="cpu")
        around = os.path.realpath(folder.parent)
        strange = [line for line in seen if not os.path.realpath(line.partition(" ")[2]).startswith(around)]
    assert not strange, f"{len(strange)} times: {', '.join(dict.fromkeys(strange[:5]))}"


def check_curation_keeps_positions(case: GeneratorCase) -> None:
    """curate returns at most `count` ascending positions, and the same ones again."""
    generator, samples = case.build(), case.samples[0]
    kept = generator.curate(samples, case.real, count=4, options={}).kept
    assert kept.dtype == torch.int64 and len(kept) <= 4, f"kept {kept.dtype} {len(kept)}, asked for at most 4"
    assert kept.tolist() == sorted(set(kept.tolist())), f"positions must ascend, got {kept.tolist()}"
    assert not len(kept) or (int(kept[0]) >= 0 and int(kept[-1]) < len(samples)), f"positions {kept.tolist()}"
    again = generator.curate(samples, case.real, count=4, options={}).kept
    assert torch.equal(kept, again), "the choice differs from call to call"


def check_planted_copies_are_dropped(case: GeneratorCase) -> None:
    """Copies of training images among the samples are never kept."""
    samples = torch.cat([case.real[:3].to(case.samples[0]), case.samples[0]]) if _fits(case) else None
    if samples is None:
        return
    found = case.build().curate(samples, case.real, count=len(samples), options={})
    kept = sorted(set(found.kept.tolist()) & {0, 1, 2})
    assert not kept, f"{len(kept)} of 3 planted copies of training images were kept: override curate()"
    assert found.memorised >= 3, f"3 copies were planted, `memorised` says {found.memorised}"


def _fits(case: GeneratorCase) -> bool:
    return case.samples[0].shape[1:] == case.real.shape[1:]


def check_options_refuse_unknown_keys(case: GeneratorCase) -> None:
    """A misspelt option of the generator or of its curation is an error."""
    for options in (case.generator.Options, case.generator.Curation):
        try:
            options.model_validate({"no_such_option": 1})
        except ValidationError:
            continue
        raise AssertionError(f'{options.__name__} accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_presets_are_valid(case: GeneratorCase) -> None:
    """Every preset holds known options with valid values."""
    for name, values in case.generator.presets.items():
        try:
            case.generator.Options(**values)
        except ValidationError as error:
            raise AssertionError(f"preset {name!r}: {error}") from error


def check_card_agrees(case: GeneratorCase) -> None:
    """The class has the card that is registered."""
    assert case.generator.card == case.card, f"{case.generator.__name__}.card isn't the registered card"


GENERATOR_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
