"""NIH Pancreas-CT: MC-Net's processed HDF5 files, or raw DICOM series with NIfTI labels. Axes (x, y, z)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semibench import CaseError, CaseRef, LayoutProblem
from semibench.blocks import (
    Box,
    CaseFiles,
    FilePattern,
    PatternDataset,
    PreparedVolume,
    Volume,
    VolumeEntry,
    VolumeOptions,
    crop_or_pad,
    foreground_box,
    intensity_window,
    read_dicom_series,
    read_nifti,
    z_score,
)
from semibench_plugins.datasets.abdomen import cards, published_splits
from semibench_plugins.datasets.abdomen.phantom import AbdomenPhantom

MARGIN, PATCH = 25.0, 96.0
"""Margin around the label in x and y, and length of the patch, in mm. A label shorter than the patch is first widened to it."""
WINDOWS = {"mcnet": (-125.0, 275.0), "as-printed": (-120.0, 240.0), "label-free": (-125.0, 275.0)}
SOFT_TISSUE = (0.0, 200.0)
"""The range of the mean Hounsfield unit under a pancreas label if label and image agree (usually 60 to 120)."""
TWINS = {"image0025": "image0002", "image0070": "image0047"}
"""Cases that TCIA later withdrew as copies: they share the group of the case they copy."""
FLIPS = {"none": (1, 1), "y": (-1, 1), "z": (1, -1), "yz": (-1, -1)}
Flip = Literal["none", "y", "z", "yz"]
_H5_FOLDER = r"(?:(?:data/)?Pancreas/Pancreas_h5|Pancreas_h5|h5|data)/"
H5 = (FilePattern("volume", rf"(?:{_H5_FOLDER})?(?P<case>image\d{{4}})(?:_norm)?\.h5", "{case}", "h5/{case}_norm.h5"),)
RAW = (
    FilePattern("slice", r"(?P<raw>(?:raw/)?)Pancreas-CT/PANCREAS_(?P<number>\d{4})/.+\.dcm", "{number}",
                "{raw}Pancreas-CT/PANCREAS_{number}/*.dcm", many=True),
    FilePattern("label", r"(?P<raw>(?:raw/)?)TCIA_pancreas_labels[^/]*/label(?P<number>\d{4})\.nii(?:\.gz)?", "{number}",
                "{raw}TCIA_pancreas_labels-02-05-2017/label{number}.nii.gz"),
)  # fmt: skip


def _windowed(edition: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = WINDOWS.get(edition, WINDOWS["mcnet"])
    return z_score(intensity_window(image, low, high))


class PancreasOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "mcnet-h5" reads MC-Net's processed files unchanged. "mcnet" computes them from the raw files (1 mm, window
    -125 to 275 HU, x and y cropped to the label with a margin of 25 mm, z-score). "as-printed" does the same with the
    Diff-CL paper's window of -120 to 240, and "label-free" does it without the crop.

    label_flip: axes along which the stored labels run opposite to the DICOM slices. drop_copies: leave out cases 25 and 70,
    which TCIA withdrew as copies of 2 and 47 (the published splits are then incomplete).
    """

    edition: str = "mcnet-h5"
    label_flip: Flip = "none"
    drop_copies: bool = False


class Pancreas(PatternDataset):
    """Case id: e.g. "image0001". Group: the case id, or for a copy that of the original. One domain. The HDF5 files have a
    spacing of 1 mm."""

    card = cards.PANCREAS
    phantom_class = AbdomenPhantom
    Options = PancreasOptions
    options: PancreasOptions
    known = ("*.list", "*.csv", "*.tcia", "*/license*")
    h5_spacing = (1.0, 1.0, 1.0)
    scalings = {edition: partial(_windowed, edition) for edition in cards.PANCREAS.editions}
    listed_splits = {f"pancreas-{n}": partial(published_splits.pancreas, n) for n in published_splits.PANCREAS_LABELED}
    """MC-Net's 62/20 lists, of which the first 12 or 6 lines are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return H5 if self.options.edition == "mcnet-h5" else RAW

    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        entries = {}
        for case, files in cases.items():
            name = case if case.startswith("image") else f"image{case}"
            image, label = self.image_and_label(files)
            self._slices[image] = tuple(files.files.get("slice", ()))
            if not (self.options.drop_copies and name in TWINS):
                entries[name] = VolumeEntry(image, label, TWINS.get(name, name), self.domain_of(case))
        return entries

    @cached_property
    def _slices(self) -> dict[Path, tuple[Path, ...]]:
        """First DICOM file of a patient -> all of them."""
        return {}

    def inspect_files(self) -> list[LayoutProblem]:
        problems = super().inspect_files()
        for case, files in self.case_files[1].items() if self.case_files is not None else ():
            words = _several_series(files.files.get("slice", ()))
            if words:
                problems.append(LayoutProblem(f"PANCREAS_{case}: {words}", files.every()))
        return problems

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        entry = self._entry(ref)
        return (
            tuple(filter(None, (*self._slices[entry.image], entry.label)))
            if _is_raw(entry.image)
            else super().files(ref)
        )

    def load(self, entry: VolumeEntry, path: Path, key: Literal["image", "label"]) -> Volume:
        if not _is_raw(path):
            return super().load(entry, path, key)
        if key == "label":
            return read_nifti(path)
        slices = self._slices[entry.image]
        words = _several_series(slices)
        if words:
            raise CaseError(f"{entry.group}: {words}")
        return read_dicom_series(slices)

    def load_label(self, entry: VolumeEntry, path: Path) -> Volume:
        volume = super().load_label(entry, path)
        if not _is_raw(path):
            return volume
        y, z = FLIPS[self.options.label_flip]
        return Volume(np.ascontiguousarray(volume.array[:, ::y, ::z]), volume.spacing)

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        whole: Box = tuple((0, n) for n in image.shape)
        if self.options.edition == "mcnet-h5":
            return PreparedVolume(whole, np.asarray(image, dtype=np.float32), self.size_of(whole))
        spacing = self._spacing(entry)
        if label is not None and label.any():
            _check_alignment(image, label, entry)
        box = whole
        if self.options.edition != "label-free":
            if label is None or not label.any():
                raise CaseError(
                    f"{entry.label or entry.image}: the edition {self.options.edition} crops to the label, and there is none; "
                    "restore the label, or set dataset.edition=label-free"
                )
            box = crop_box(label, spacing)
        size = [max(int((stop - start) * mm), 1) for (start, stop), mm in zip(box, spacing, strict=True)]
        values = np.asarray(crop_or_pad(image, box), dtype=np.float32)
        return PreparedVolume(box, values, self.size_of(box, size), finish=partial(_windowed, self.options.edition))

    def _spacing(self, entry: VolumeEntry) -> tuple[float, ...]:
        """Returns the spacing of the label file, as MC-Net's processing does, or that of the DICOM files if there is none."""
        volume = self.load_image(entry) if entry.label is None else read_nifti(entry.label)
        assert volume.spacing is not None
        return volume.spacing


def crop_box(label: NDArray[np.uint8], spacing: Sequence[float]) -> Box:
    """Returns the box to crop to. In x and y it is the label's box, extended on each side by 25 mm plus half of what the box
    lacks of 96 mm; z isn't cropped."""
    tight = foreground_box(label) or ()
    margins = [
        round((MARGIN + max(PATCH - (stop - start) * mm, 0) / 2) / mm)
        for (start, stop), mm in zip(tight[:2], spacing[:2], strict=True)
    ]
    return (*(foreground_box(label, (*margins, 0)) or ())[:2], (0, label.shape[2]))


def _check_alignment(image: NDArray[Any], label: NDArray[np.uint8], entry: VolumeEntry) -> None:
    """Raises CaseError if the mean under the label isn't that of soft tissue: label and slices then run in opposite directions."""
    low, high = SOFT_TISSUE
    mean = float(image[label > 0].mean())
    if low <= mean <= high:
        return
    means = {name: float(image[label[:, ::y, ::z] > 0].mean()) for name, (y, z) in FLIPS.items()}
    better = [name for name, value in means.items() if low <= value <= high]
    hint = f"with {better[0]} flipped it is {means[better[0]]:.0f}: set dataset.label_flip={better[0]}" if better else (
        "flipping y or z doesn't help: check that label and series belong to the same case")  # fmt: skip
    raise CaseError(
        f"{entry.label}: expected a mean of {low:.0f} to {high:.0f} HU under the label, found {mean:.0f}; {hint}"
    )


def _is_raw(path: Path) -> bool:
    """Returns whether a file is of the archive, and not one of MC-Net's."""
    return path.suffix.lower() != ".h5"


def _several_series(slices: Sequence[Path]) -> str:
    """Returns what is wrong if the slices of a patient lie in several folders, one for each series; else ""."""
    folders: dict[Path, int] = {}
    for path in slices:
        folders[path.parent] = folders.get(path.parent, 0) + 1
    if len(folders) < 2:
        return ""
    shown = " and ".join(f"{folder} ({count} files)" for folder, count in folders.items())
    return f"expected the slices of one series in one folder, found {len(folders)}: {shown}; move all but the CT out"
