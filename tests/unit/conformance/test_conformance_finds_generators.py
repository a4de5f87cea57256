"""The battery for generators finds what it is for: a fault for each check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from semibench import Curated, Fitted, Generator, GeneratorCard, GeneratorOptions
from semibench.conformance import GENERATOR_CHECKS, GeneratorSubject

torch.set_num_threads(1)

GENERATOR_CARD = GeneratorCard(name="toy", title="Toy", load="x:Toy")


class Mixing(Generator):
    """Means of two training images, with curation by distance."""

    card = GENERATOR_CARD

    def fit(self, images: Any, directory: Path, *, seed: int, device: str, progress: Any = None) -> Fitted:
        directory.mkdir(parents=True)
        save_file({"real": torch.stack(list(images))}, directory / "model.safetensors")
        return Fitted(directory, {})

    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        real = load_file(directory / "model.safetensors")["real"]
        draw = torch.Generator().manual_seed(seed)
        pairs = torch.stack([torch.randperm(len(real), generator=draw)[:2] for _ in range(count)])
        return real[pairs].mean(1)

    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        near = torch.cdist(samples.flatten(1), real.flatten(1)).amin(1)
        return Curated((near > 0.1).nonzero().flatten()[:count], 0, int((near <= 0.1).sum()), 0, {})


class Keeping(Mixing):
    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        return Curated(torch.arange(count), 0, 0, 0, {})


class Backwards(Mixing):
    def curate(self, samples: Tensor, real: Tensor, *, count: int, options: Mapping[str, Any]) -> Curated:
        return Curated(torch.arange(count).flip(0), 0, 0, 0, {})


class Global(Mixing):
    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        return super().sample(directory, count, seed=int(torch.randint(10**6, ())), device=device)


class OneSample(Mixing):
    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        return super().sample(directory, count, seed=0, device=device)


class Loud(Mixing):
    def sample(self, directory: Path, count: int, *, seed: int, device: str, progress: Any = None) -> Tensor:
        return 2 * super().sample(directory, count, seed=seed, device=device)


class Restless(Mixing):
    fits = 0

    def fit(self, images: Any, directory: Path, **keywords: Any) -> Fitted:
        Restless.fits += 1
        return super().fit([image / Restless.fits for image in images], directory, **keywords)


class Deaf(Mixing):
    def fit(self, images: Any, directory: Path, **keywords: Any) -> Fitted:
        own = torch.rand((12, 1, 32, 32), generator=torch.Generator().manual_seed(0))
        return super().fit(own, directory, **keywords)


class Writing(Mixing):
    def fit(self, images: Any, directory: Path, **keywords: Any) -> Fitted:
        return super().fit([image.mul_(0.5) for image in images], directory, **keywords)


class Pickled(Mixing):
    def fit(self, images: Any, directory: Path, **keywords: Any) -> Fitted:
        found = super().fit(images, directory, **keywords)
        (directory / "more.pt").write_bytes(b"")
        return found


class Scattering(Mixing):
    """Leaves a file beside its directory."""

    place = Path()

    def sample(self, directory: Path, count: int, **keywords: Any) -> Tensor:
        self.place.write_text("beside")
        return super().sample(directory, count, **keywords)


class LaxGeneratorOptions(GeneratorOptions, frozen=True, extra="ignore"):
    pass


class LaxGenerator(Mixing):
    Options = LaxGeneratorOptions


class BadPreset(Mixing):
    presets = {"paper": {"no_such_option": 1}}


class OtherGeneratorCard(Mixing):
    card = GENERATOR_CARD.model_copy(update={"title": "Other"})


GENERATOR_FAULTS: dict[str, type[Generator]] = {
    "samples_are_images": Loud,
    "same_seed_same_samples": Global,
    "other_seed_other_samples": OneSample,
    "fit_follows_its_seed": Restless,
    "model_depends_on_what_it_is_given": Deaf,
    "images_are_left_alone": Writing,
    "nothing_is_pickled": Pickled,
    "curation_keeps_positions": Backwards,
    "planted_copies_are_dropped": Keeping,
    "options_refuse_unknown_keys": LaxGenerator,
    "presets_are_valid": BadPreset,
    "card_agrees": OtherGeneratorCard,
}


def test_every_generator_check_has_a_fault() -> None:
    assert {*GENERATOR_FAULTS, "writes_only_its_directory"} == set(GENERATOR_CHECKS)


@pytest.mark.parametrize("fact", GENERATOR_FAULTS)
def test_generator_checks_find(fact: str) -> None:
    GENERATOR_CHECKS[fact](GeneratorSubject(Mixing, GENERATOR_CARD))
    with pytest.raises(AssertionError):
        GENERATOR_CHECKS[fact](GeneratorSubject(GENERATOR_FAULTS[fact], GENERATOR_CARD))


def test_a_generator_that_writes_elsewhere_is_found(tmp_path: Path) -> None:
    Scattering.place = tmp_path / "note.txt"
    check = GENERATOR_CHECKS["writes_only_its_directory"]
    check(GeneratorSubject(Mixing, GENERATOR_CARD))
    with pytest.raises(AssertionError, match=r"note\.txt"):
        check(GeneratorSubject(Scattering, GENERATOR_CARD))
