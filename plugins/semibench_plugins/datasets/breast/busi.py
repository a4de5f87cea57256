"""BUSI: three class folders, one or more masks per image, and file names with spaces and parentheses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import model_validator

from semibench.blocks import (
    RASTER_ENDINGS,
    CaseFiles,
    FilePattern,
    IdSplit,
    ImageDataset,
    ImageEntry,
    SplitRules,
    layout_error,
)
from semibench_plugins.datasets.breast import cards, published_splits
from semibench_plugins.datasets.breast.phantom import BreastPhantom
from semibench_plugins.datasets.mgcc_options import MgccOptions

KINDS = tuple(published_splits.BUSI_COUNTS)


class BUSIOptions(MgccOptions, frozen=True, extra="forbid"):
    """include: the class folders to use. lesions_only: leave out "normal"; it is always true if include lacks "normal".

    first_mask_only: ignore any further masks of an image, as CSC-PA's loader does.
    """

    include: tuple[str, ...] = KINDS
    lesions_only: bool = False
    first_mask_only: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, values: Any) -> Any:
        """Brings equivalent options to the same form, so that they give the same run key."""
        if not isinstance(values, dict):
            return values
        include = cls._include(values.get("include", KINDS))
        if values.get("lesions_only"):
            include = tuple(kind for kind in include if kind in published_splits.LESIONS)
        return {**values, "include": include, "lesions_only": "normal" not in include}

    @classmethod
    def _include(cls, value: Any) -> tuple[str, ...]:
        names = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)
        unknown = sorted(set(names) - set(KINDS))
        if unknown or not names:
            raise ValueError(f"include takes some of {', '.join(KINDS)}; got {', '.join(map(str, names)) or 'nothing'}")
        return tuple(kind for kind in KINDS if kind in names)


class BUSI(ImageDataset):
    """All masks of an image are merged. Every image must have a mask file; that of a normal image is empty.

    Case id: the file name without its ending, e.g. "benign (4)". Group: the image itself, as there are no patient ids,
    unless an audit wrote a group table. One domain.
    """

    card = cards.BUSI
    phantom_class = BreastPhantom
    Options = BUSIOptions
    options: BUSIOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return _patterns(self.options.include)

    def locate(self) -> Mapping[str, ImageEntry]:
        base, cases = self.found_cases(complete=True)
        entries: dict[str, ImageEntry] = {}
        for files in cases.values():
            name, image = files.groups["case"], files.files["image"][0]
            if name in entries:
                raise layout_error(
                    base,
                    self.card,
                    f"two images are called {name}: {entries[name].image} and {image}; rename one of them",
                )
            masks = files.files["mask"] if self.options.first_mask_only else files.files["mask"] + _further(files)
            entries[name] = ImageEntry(image, tuple(masks), group=name, domain=self.card.domains[0])
        present = {files.groups["kind"].lower() for files in cases.values()}
        for kind in self.options.include:
            if kind not in present:
                raise layout_error(self.root, self.card, f"no images in {base / kind} (option include={kind})")
        return entries

    def split_rules(self) -> SplitRules:
        """Returns mgcc-<seed> (526/254) and mgcc-code-<seed> (546/234) for all images, and benchmark647-<n> and
        csc-pa-fold<k>-<n> for lesions only."""
        rules: dict[str, Callable[[], IdSplit]] = {}
        if self.options.include == KINDS:
            ids = published_splits.busi_ids(KINDS)
            rules |= {f"mgcc-{seed}": partial(published_splits.mgcc, ids, seed) for seed in published_splits.MGCC_SEEDS}
            rules |= {
                f"mgcc-code-{seed}": partial(published_splits.mgcc_code, ids, seed)
                for seed in published_splits.MGCC_SEEDS
            }
        elif self.options.include == published_splits.LESIONS:
            classes = {name: name.split(" ")[0] for name in published_splits.busi_ids(published_splits.LESIONS)}
            rules |= {f"benchmark647-{n}": partial(published_splits.benchmark_647, n) for n in (1, 2, 3)}
            rules |= {
                f"csc-pa-fold{fold + 1}-{labeled}": partial(published_splits.csc_pa, classes, fold, labeled)
                for labeled in published_splits.CSC_PA_LABELED["busi"]
                for fold in range(published_splits.CSC_PA_FOLDS)
            }
        return rules


def _patterns(include: Sequence[str]) -> tuple[FilePattern, ...]:
    """Returns the patterns of some class folders. Some copies have the masks in a folder of their own: benign/images and
    benign/mask."""
    kind = rf"(?P<kind>{'|'.join(include)})/"
    images, masks = r"(?:images?/)?", r"(?:images?/)?(?P<case>[^/]+)_mask"
    apart = r"(?:masks?|labels?|gt)/(?P<case>(?:(?!_mask)[^/])+)(?:_mask)?"
    number = r"_(?P<number>\d+)"
    further = rf"(?:images?/|masks?/|labels?/|gt/)?(?P<case>[^/]+)_mask{number}"
    return (
        FilePattern("image", rf"{kind}{images}(?P<case>(?:(?!_mask)[^/])+){RASTER_ENDINGS}", "{kind}/{case}",
                    "{kind}/{case}.png"),
        FilePattern("mask", rf"{kind}{masks}{RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}_mask.png"),
        FilePattern("mask", rf"{kind}{apart}{RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}_mask.png"),
        FilePattern("further mask", rf"{kind}{further}{RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}_mask_1.png",
                    required=False, many=True),
    )  # fmt: skip


def _further(files: CaseFiles) -> list[Path]:
    """Returns the further masks of an image, in the order of their numbers."""
    return sorted(files.files.get("further mask", ()), key=lambda path: int(path.stem.rpartition("_")[2]))
