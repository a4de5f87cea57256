"""The battery for data sets finds what it is for: a fault for each check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from semibench import Case, CaseRef, Dataset, DatasetCard, DatasetOptions, Frame, PhantomOptions, Truth
from semibench.conformance import DATASET_CHECKS, DatasetSubject

torch.set_num_threads(1)

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


class Decoding(Toy):
    """Opens a picture on the way to its list."""

    picture = Path()

    def index(self) -> list[CaseRef]:
        with Image.open(self.picture) as image:
            assert image.getpixel((0, 0)) is not None
        return super().index()


class ReadingHeaders(Decoding):
    def index(self) -> list[CaseRef]:
        with Image.open(self.picture) as image:
            assert image.size == (4, 4)
        return Toy.index(self)


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
    with_files = {
        "missing_files_are_said",
        "every_case_is_read",
        "two_steps_are_trained",
    }  # tests/whole/test_scaffold.py
    assert {*DATASET_FAULTS, *with_files} == set(DATASET_CHECKS)


@pytest.mark.parametrize("fact", DATASET_FAULTS)
def test_dataset_checks_find(fact: str) -> None:
    DATASET_CHECKS[fact](DatasetSubject(Toy, CARD))
    with pytest.raises(AssertionError):
        DATASET_CHECKS[fact](DatasetSubject(DATASET_FAULTS[fact], CARD))


def test_dataset_checks_find_repeated_ids_and_silence_about_missing_files() -> None:
    with pytest.raises(AssertionError, match="unique"):
        DATASET_CHECKS["index_keeps_the_contract"](DatasetSubject(Twice, CARD))
    with pytest.raises(AssertionError, match="expected LayoutError"):
        DATASET_CHECKS["missing_files_are_said"](DatasetSubject(FilesToy, CARD))


def test_a_decoder_within_index_is_found(tmp_path: Path) -> None:
    Decoding.picture = tmp_path / "x.png"
    Image.new("L", (4, 4)).save(Decoding.picture)
    check = DATASET_CHECKS["index_decodes_no_pixels"]
    check(DatasetSubject(ReadingHeaders, CARD))
    with pytest.raises(AssertionError, match="PIL"):
        check(DatasetSubject(Decoding, CARD))
