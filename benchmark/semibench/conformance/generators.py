"""Checks of generators, one fact each, on a dozen small pictures, with the preset `smoke` if the generator has one.

A check raises AssertionError with a message that says what is wrong.
"""

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
from semibench.conformance.subject import reseed
from semibench.conformance.watching import watched
from semibench.contracts.cards import GeneratorCard
from semibench.contracts.generator import Generator

SIDE = 32
IMAGES, SAMPLES = 12, 6


def pictures(count: int = IMAGES, *, dims: int = 2, seed: int = 0) -> Tensor:
    """Returns images (count, 1, *spatial) in [0, 1]: a dark ball on a brightness slope, with noise."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "pictures"))
    axes = torch.meshgrid(*[torch.linspace(0, 1, SIDE)] * dims, indexing="ij")
    images = []
    for _ in range(count):
        draw = torch.rand(dims + 2, generator=generator)
        far = (
            torch.stack([(axis - 0.2 - 0.6 * at).square() for axis, at in zip(axes, draw, strict=False)]).sum(0).sqrt()
        )
        ball = ((far - 0.1 - 0.15 * draw[-1]) * 30).sigmoid()
        slope = 0.4 + 0.4 * draw[-2] * axes[0]
        images.append((slope * (0.3 + 0.7 * ball) + 0.03 * torch.randn(axes[0].shape, generator=generator)).clamp(0, 1))
    return torch.stack(images)[:, None]


@dataclass(frozen=True, eq=False)
class GeneratorSubject:
    """A generator on small images."""

    generator: type[Generator]
    card: GeneratorCard
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        return min(self.card.dims)

    def build(self) -> Generator:
        """Returns the generator with its preset `smoke` and the options of this subject."""
        return self.generator(self.generator.Options(**{**self.generator.presets.get("smoke", {}), **self.options}))

    @cached_property
    def real(self) -> Tensor:
        return pictures(dims=self.dims)

    @contextmanager
    def fitted(self, images: Tensor | None = None, seed: int = 3) -> Iterator[tuple[Generator, Path]]:
        """Yields a generator fitted to the pictures, and the folder of its model."""
        with tempfile.TemporaryDirectory() as folder:
            generator, directory = self.build(), Path(folder) / "model"
            reseed()
            images = self.real if images is None else images
            model = generator.fit(list(images), directory, seed=seed, device="cpu")
            yield generator, model.directory

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Samples of one fit with seed 5, seed 5 by a new object, and seed 6; and of a second, identical fit with seed 5."""
        with self.fitted() as (generator, folder):
            first = generator.sample(folder, SAMPLES, seed=5, device="cpu")
            torch.manual_seed(123)
            again = self.build().sample(folder, SAMPLES, seed=5, device="cpu")
            other = generator.sample(folder, SAMPLES, seed=6, device="cpu")
        with self.fitted() as (generator, folder):
            refitted = generator.sample(folder, SAMPLES, seed=5, device="cpu")
        return first, again, other, refitted


Check = Callable[[GeneratorSubject], None]


def check_samples_are_images(subject: GeneratorSubject) -> None:
    """Samples are float32 with the channels and dims of the training images, finite, in [0, 1] and not constant."""
    first = subject.samples[0]
    assert first.dtype == torch.float32, f"expected float32, found {first.dtype}"
    assert first.shape[:2] == (SAMPLES, subject.real.shape[1]) and first.ndim == subject.real.ndim, (
        f"shape {tuple(first.shape)}"
    )
    assert first.isfinite().all(), "NaN or infinity in the samples"
    assert float(first.min()) >= 0 and float(first.max()) <= 1, (
        f"range {float(first.min()):g} to {float(first.max()):g}"
    )
    assert (first.flatten(1).std(1) > 0).all(), "a sample is constant"


def check_same_seed_same_samples(subject: GeneratorSubject) -> None:
    """A seed determines the samples exactly, whatever the object and the global random state."""
    first, again, _, _ = subject.samples
    assert torch.equal(first, again), "the same seed gave different samples: use a torch.Generator of your own"


def check_other_seed_other_samples(subject: GeneratorSubject) -> None:
    """Different seeds give different samples, and the samples of one call differ from each other."""
    first, _, other, _ = subject.samples
    assert not torch.equal(first, other), "a different seed gave the same samples"
    assert not torch.equal(first[0], first[1]), "samples of one call are equal"


def check_fit_follows_its_seed(subject: GeneratorSubject) -> None:
    """Fitting twice with the same images and seed gives the same model."""
    first, _, _, refitted = subject.samples
    assert torch.equal(first, refitted), "two fits with one seed give different samples"


def check_model_depends_on_what_it_is_given(subject: GeneratorSubject) -> None:
    """Samples depend on the training images."""
    with subject.fitted(1 - subject.real) as (generator, folder):
        other = generator.sample(folder, SAMPLES, seed=5, device="cpu")
    assert not torch.equal(subject.samples[0], other), "the samples don't depend on the training images"


def check_images_are_left_alone(subject: GeneratorSubject) -> None:
    """`fit` doesn't modify the images that it is given."""
    images = subject.real.clone()
    with subject.fitted(images):
        assert torch.equal(images, subject.real), "fit modified the training images"


def check_nothing_is_pickled(subject: GeneratorSubject) -> None:
    """`fit` writes the model into the given directory, in formats that can't run code, such as safetensors or JSON."""
    with subject.fitted() as (_, folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files, f"fit wrote nothing under {folder.name}"
        bad = sorted(path.name for path in files if path.suffix in (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"))
        assert not bad, f"these formats can run code on loading: {bad}"


def check_writes_only_its_directory(subject: GeneratorSubject) -> None:
    """`fit` and `sample` write only into the given directory, open no connections and start no processes."""
    assert subject.samples  # libraries create their caches on first use
    with watched() as events, subject.fitted() as (generator, folder):
        generator.sample(folder, SAMPLES, seed=5, device="cpu")
        around = os.path.realpath(folder.parent)
        outside = [line for line in events if not os.path.realpath(line.partition(" ")[2]).startswith(around)]
    assert not outside, f"{len(outside)} times: {', '.join(dict.fromkeys(outside[:5]))}"


def check_curation_keeps_positions(subject: GeneratorSubject) -> None:
    """`curate` returns at most `count` positions in ascending order, and the same ones on each call."""
    generator, samples = subject.build(), subject.samples[0]
    kept = generator.curate(samples, subject.real, count=4, options={}).kept
    assert kept.dtype == torch.int64 and len(kept) <= 4, f"kept {kept.dtype} {len(kept)}, asked for at most 4"
    assert kept.tolist() == sorted(set(kept.tolist())), f"positions must ascend, got {kept.tolist()}"
    assert not len(kept) or (int(kept[0]) >= 0 and int(kept[-1]) < len(samples)), f"positions {kept.tolist()}"
    again = generator.curate(samples, subject.real, count=4, options={}).kept
    assert torch.equal(kept, again), "curate() returns different positions on each call"


def check_planted_copies_are_dropped(subject: GeneratorSubject) -> None:
    """`curate` rejects copies of training images."""
    samples = torch.cat([subject.real[:3].to(subject.samples[0]), subject.samples[0]]) if _fits(subject) else None
    if samples is None:
        return
    curated = subject.build().curate(samples, subject.real, count=len(samples), options={})
    kept = sorted(set(curated.kept.tolist()) & {0, 1, 2})
    assert not kept, f"{len(kept)} of 3 planted copies of training images were kept: override curate()"
    assert curated.memorised >= 3, f"3 copies were planted, but `memorised` is {curated.memorised}"


def _fits(subject: GeneratorSubject) -> bool:
    return subject.samples[0].shape[1:] == subject.real.shape[1:]


def check_options_refuse_unknown_keys(subject: GeneratorSubject) -> None:
    """A misspelt option of the generator or of its curation raises an error."""
    for options in (subject.generator.Options, subject.generator.Curation):
        try:
            options.model_validate({"no_such_option": 1})
        except ValidationError:
            continue
        raise AssertionError(f'{options.__name__} accepts unknown keys: declare it with frozen=True, extra="forbid"')


def check_presets_are_valid(subject: GeneratorSubject) -> None:
    """Every preset holds existing options with valid values."""
    for name, values in subject.generator.presets.items():
        try:
            subject.generator.Options(**values)
        except ValidationError as error:
            raise AssertionError(f"preset {name!r}: {error}") from error


def check_card_agrees(subject: GeneratorSubject) -> None:
    """The class has the registered card."""
    assert subject.generator.card == subject.card, f"{subject.generator.__name__}.card isn't the registered card"


GENERATOR_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of generators, by name."""
