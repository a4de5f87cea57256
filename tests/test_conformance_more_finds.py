"""The batteries for data sets, protocols and generators find what they are for: a fault for each check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from semibench import (
    Case,
    CaseRef,
    Curated,
    Dataset,
    DatasetCard,
    DatasetOptions,
    Fitted,
    Frame,
    Generator,
    GeneratorCard,
    GeneratorOptions,
    PhantomOptions,
    Split,
    Truth,
)
from semibench.conformance import (
    DATASET_CHECKS,
    GENERATOR_CHECKS,
    PROTOCOL_CHECKS,
    DatasetCase,
    GeneratorCase,
    ProtocolCase,
)
from semibench.protocols.single import SelfDomain, SingleOptions

torch.set_num_threads(1)

# Each check finds what it is for

CARD = DatasetCard(name="toy", title="Toy", load="x:Toy", dims=2, modality="none", classes=("background", "one"))


class Toy(Dataset):
    """Squares, one group a case."""

    card = CARD

    def __init__(self, options: DatasetOptions, phantom: PhantomOptions) -> None:
        super().__init__(None, options)
        self.count, self.seed, self.fingerprint = phantom.cases or 8, phantom.seed, f"toy {phantom.seed}"

    def index(self) -> list[CaseRef]:
        return [CaseRef("toy", f"{i:02d}", f"g{i}", "default", True) for i in range(self.count)]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def label(self, ref: CaseRef) -> Tensor:
        label = torch.zeros((32, 24), dtype=torch.uint8)
        label[int(ref.id) :][:12, 6 : 12 + self.seed] = 1
        return label

    def read(self, ref: CaseRef) -> Case:
        label = self.label(ref)
        return Case(ref, label[None].float(), label, None, Frame((32, 24)))

    def truth(self, ref: CaseRef) -> Truth | None:
        return Truth(self.label(ref), None)

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        return cls(options, phantom)


class OneGroupless(Toy):
    def index(self) -> list[CaseRef]:
        return [replace(ref, group="") for ref in super().index()]


class Twice(Toy):
    def index(self) -> list[CaseRef]:
        return [replace(ref, id="00") for ref in super().index()]


class Reading(Toy):
    def index(self) -> list[CaseRef]:
        refs = super().index()
        self.read(refs[0])
        return refs


class Counting(Toy):
    calls = 0

    def index(self) -> list[CaseRef]:
        Counting.calls += 1
        return super().index()[: 6 + Counting.calls % 2]


def reads(change: Callable[[Case], Case]) -> type[Toy]:
    class Changed(Toy):
        def read(self, ref: CaseRef) -> Case:
            return change(super().read(ref))

    return Changed


class Flipped(Toy):
    def truth(self, ref: CaseRef) -> Truth | None:
        return Truth(self.label(ref).flip(1), None)


class SmallTruth(Toy):
    def truth(self, ref: CaseRef) -> Truth | None:
        return Truth(self.label(ref)[:16], None)


class Seedless(Toy):
    def __init__(self, options: DatasetOptions, phantom: PhantomOptions) -> None:
        super().__init__(options, PhantomOptions(cases=phantom.cases))


class LaxOptions(DatasetOptions, frozen=True, extra="ignore"):
    pass


class Lax(Toy):
    Options = LaxOptions


class OtherCard(Toy):
    card = CARD.model_copy(update={"title": "Other"})


class Nameless(Toy):
    def __init__(self, options: DatasetOptions, phantom: PhantomOptions) -> None:
        super().__init__(options, phantom)
        self.fingerprint = None


def noisy(case: Case) -> Case:
    return replace(case, image=case.image + torch.rand(()))


DATASET_FAULTS: dict[str, type[Dataset]] = {
    "index_keeps_the_contract": OneGroupless,
    "index_is_the_same_again": Counting,
    "index_decodes_no_pixels": Reading,
    "images_are_float_and_finite": reads(lambda case: replace(case, image=case.image.double())),
    "images_have_contrast_and_a_sane_range": reads(lambda case: replace(case, image=case.image * 255)),
    "labels_are_classes": reads(lambda case: replace(case, label=case.label * 7 if case.label is not None else None)),
    "some_label_has_foreground": reads(lambda case: replace(case, label=torch.zeros_like(case.image[0]).byte())),
    "read_is_the_same_again": reads(noisy),
    "truth_is_on_the_native_grid": SmallTruth,
    "frame_leads_back_to_the_truth": Flipped,
    "options_refuse_unknown_keys": Lax,
    "card_agrees": OtherCard,
    "phantom_stands_in": Nameless,
    "phantom_follows_its_seed": Seedless,
}


class FilesToy(Toy):
    """Constructed as a set of files: accepts an empty folder."""

    def __init__(self, root: Any, options: Any) -> None:
        super().__init__(DatasetOptions(), PhantomOptions())


def test_every_dataset_check_has_a_fault() -> None:
    assert {*DATASET_FAULTS, "missing_files_are_said"} == set(DATASET_CHECKS)


@pytest.mark.parametrize("fact", DATASET_FAULTS)
def test_dataset_checks_find(fact: str) -> None:
    DATASET_CHECKS[fact](DatasetCase(Toy, CARD))
    with pytest.raises(AssertionError):
        DATASET_CHECKS[fact](DatasetCase(DATASET_FAULTS[fact], CARD))


def test_dataset_checks_find_repeated_ids_and_silence_about_missing_files() -> None:
    with pytest.raises(AssertionError, match="unique"):
        DATASET_CHECKS["index_keeps_the_contract"](DatasetCase(Twice, CARD))
    with pytest.raises(AssertionError, match="expected LayoutError"):
        DATASET_CHECKS["missing_files_are_said"](DatasetCase(FilesToy, CARD))


class Drawn(SelfDomain):
    """Changes the split that `self` draws."""

    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return split

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return self.change(super().draw(catalog, options, draw, fold), catalog, draw)


class Empty(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, test=())


class ByCase(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        twins = [ref for ref in split.test if ref.id.endswith("-1")]
        rest = tuple(ref for ref in split.test if ref not in twins)
        return replace(split, test=rest, unlabeled=(*split.unlabeled, *twins))


class Invented(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, unlabeled=(*split.unlabeled, CaseRef("toy", "zzz", "zzz", "a", False)))


class Foreign(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, test=(*split.test, *[ref for ref in catalog.cases("toy-b") if ref.has_label][:2]))


class InOrder(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        refs = [ref for ref in catalog.cases() if ref.has_label]
        chosen = refs[0].group
        split = super().draw(catalog, options, draw, fold)
        pool = [ref for role in split.roles().values() for ref in role]
        mine = tuple(ref for ref in pool if ref.group == chosen)
        labeled, unlabeled, validation = (
            tuple(ref for ref in refs if ref.group != chosen)
            for refs in (split.labeled, split.unlabeled, split.validation)
        )
        test = (*[ref for ref in split.test if ref.group != chosen], *mine)
        return replace(split, labeled=labeled, unlabeled=unlabeled, validation=validation, test=test)


class Unseeded(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        import random

        return super().draw(catalog, options, random.randrange(10**6), fold)


class Fixed(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 0, fold)


class NotNested(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 100 * (draw or 0) + int(10 * options.labeled), fold)


class Counted(Drawn):
    """The draw depends on the number of cases."""

    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options, 1000 * (draw or 0) + len(catalog.cases()), fold)


class Undeclared(Drawn):
    def change(self, split: Split, catalog: Any, draw: int | None) -> Split:
        return replace(split, validation_from="none")


class Capped(Drawn):
    def draw(self, catalog: Any, options: Any, draw: int | None, fold: int | None) -> Split:
        return super().draw(catalog, options.model_copy(update={"labeled": min(options.labeled, 10)}), draw, fold)


class LaxProtocolOptions(SingleOptions, frozen=True, extra="ignore"):
    pass


class LaxProtocol(SelfDomain):
    Options = LaxProtocolOptions


class Silent(SelfDomain):
    def unsupported(self, card: DatasetCard, options: Any) -> str | None:
        return ""


PROTOCOL_FAULTS: dict[str, type[SelfDomain]] = {
    "split_is_usable": Empty,
    "groups_stay_together": ByCase,
    "cases_are_the_catalogues": Invented,
    "test_is_of_the_main_data_set": Foreign,
    "order_of_cases_is_nothing": InOrder,
    "same_draw_same_split": Unseeded,
    "draws_differ": Fixed,
    "more_labels_only_add": NotNested,
    "more_cases_move_no_group": Counted,
    "validation_is_declared": Undeclared,
    "impossible_amounts_are_refused": Capped,
    "options_refuse_unknown_keys": LaxProtocol,
    "unsupported_gives_reasons": Silent,
}


def test_every_protocol_check_has_a_fault() -> None:
    assert set(PROTOCOL_FAULTS) == set(PROTOCOL_CHECKS)


@pytest.mark.parametrize("fact", PROTOCOL_FAULTS)
def test_protocol_checks_find(fact: str) -> None:
    PROTOCOL_CHECKS[fact](ProtocolCase(SelfDomain))
    with pytest.raises(AssertionError):
        PROTOCOL_CHECKS[fact](ProtocolCase(PROTOCOL_FAULTS[fact]))


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
    assert set(GENERATOR_FAULTS) == set(GENERATOR_CHECKS)


@pytest.mark.parametrize("fact", GENERATOR_FAULTS)
def test_generator_checks_find(fact: str) -> None:
    GENERATOR_CHECKS[fact](GeneratorCase(Mixing, GENERATOR_CARD))
    with pytest.raises(AssertionError):
        GENERATOR_CHECKS[fact](GeneratorCase(GENERATOR_FAULTS[fact], GENERATOR_CARD))
