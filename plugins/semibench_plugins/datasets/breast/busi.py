"""BUSI: three class folders, one or more masks per image, and file names with spaces and parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import model_validator

from semibench import LayoutError
from semibench.blocks import (
    RASTER_ENDINGS,
    FilePattern,
    IdSplit,
    ImageDataset,
    ImageEntry,
    SplitRules,
    find_data_folder,
    image_files,
    layout_error,
)
from semibench_plugins.datasets.breast import cards, published_splits
from semibench_plugins.datasets.breast.phantom import BreastPhantom
from semibench_plugins.datasets.mgcc_options import MgccOptions

KINDS = tuple(published_splits.BUSI_COUNTS)
MASK = re.compile(r"^(?P<image>.+)_mask(?:_(?P<number>\d+))?$")

_KIND = r"(?P<kind>benign|malignant|normal)/"
PATTERNS = (
    FilePattern("image", _KIND + rf"(?P<case>(?:(?!_mask)[^/])+){RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}.png"),
    FilePattern("mask", _KIND + rf"(?P<case>[^/]+)_mask{RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}_mask.png"),
    FilePattern("further mask", _KIND + rf"(?P<case>[^/]+)_mask_\d+{RASTER_ENDINGS}", "{kind}/{case}", "{kind}/{case}_mask_1.png",
                required=False, many=True),
)  # fmt: skip


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
        return PATTERNS

    def locate(self) -> Mapping[str, ImageEntry]:
        base = find_data_folder(self.root, self.card, _has_class_folders)
        entries: dict[str, ImageEntry] = {}
        for kind in self.options.include:
            folder = base / kind
            if not folder.is_dir():
                raise layout_error(self.root, self.card, f"the folder {folder} is missing (option include={kind})")
            entries.update(self._folder(folder))
        return entries

    def _folder(self, folder: Path) -> dict[str, ImageEntry]:
        images: dict[str, Path] = {}
        masks: dict[str, dict[int, Path]] = {}
        for path in image_files(folder):
            match = MASK.match(path.stem)
            if match:
                masks.setdefault(match["image"], {})[int(match["number"] or 0)] = path
            else:
                images[path.stem] = path
        orphans = sorted(set(masks) - set(images))
        bare = sorted(set(images) - set(masks))
        if orphans or bare:
            raise self._unpaired(folder, orphans, bare)
        entries = {}
        for name, image in images.items():
            ordered = tuple(masks[name][number] for number in sorted(masks[name]))
            used = ordered[:1] if self.options.first_mask_only else ordered
            entries[name] = ImageEntry(image, used, group=name, domain=self.card.domains[0])
        return entries

    def _unpaired(self, folder: Path, orphans: list[str], bare: list[str]) -> LayoutError:
        parts = []
        if bare:
            parts.append(f"{len(bare)} images have no mask file ({', '.join(bare[:5])})")
        if orphans:
            parts.append(f"{len(orphans)} masks have no image ({', '.join(orphans[:5])})")
        return layout_error(self.root, self.card, f"in {folder} {' and '.join(parts)}; unzip the archive again")

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


def _has_class_folders(base: Path) -> bool:
    return any((base / kind).is_dir() for kind in KINDS)
