"""ACDC: cardiac short-axis MR. 2D networks train on slices; scores are computed on volumes. Axes (z, y, x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.blocks import (
    CaseFiles,
    FilePattern,
    PatternDataset,
    PreparedVolume,
    VolumeEntry,
    VolumeOptions,
    layout_error,
    scale_to_unit,
)
from semibench_plugins.datasets.heart import cards, published_splits
from semibench_plugins.datasets.heart.phantom import HeartPhantom

FRAMES = 2
"""Number of annotated frames of a patient: end diastole and end systole."""
_CASE = "{patient}_frame{frame}"
_STEM = r"training/(?P<patient>patient\d{3})/(?P=patient)_frame(?P<frame>\d{2})"
OFFICIAL = (
    FilePattern("image", _STEM + r"\.nii(?:\.gz)?", _CASE, f"training/{{patient}}/{_CASE}.nii.gz"),
    FilePattern("mask", _STEM + r"_gt\.nii(?:\.gz)?", _CASE, f"training/{{patient}}/{_CASE}_gt.nii.gz"),
)
SSL4MIS = (
    FilePattern("volume", r"data/(?P<patient>patient\d{3})_frame(?P<frame>\d{2})\.h5", _CASE, f"data/{_CASE}.h5"),
)
"""SSL4MIS numbers the two frames of a patient 01 and 02, or as in the cine."""


class ACDCOptions(VolumeOptions, frozen=True, extra="forbid"):
    """edition: "official" reads the NIfTI files, "ssl4mis" the processed HDF5 volumes. Both keep the native grid and scale
    the volume's minimum and maximum to 0 and 1, as SSL4MIS does."""

    edition: str = "official"


class ACDC(PatternDataset):
    """Case id: "patient001_frame01" and "patient001_frame02" for the first and second annotated frame (ED, ES), whatever their
    numbers in the cine. Group: the patient. One domain. The spacing comes from the NIfTI header; the HDF5 files store none."""

    card = cards.ACDC
    phantom_class = HeartPhantom
    Options = ACDCOptions
    known = ("*/info.cfg", "*_4d.nii.gz", "testing/*", "data/slices/*", "*.list")
    scalings = {"official": scale_to_unit, "ssl4mis": scale_to_unit}
    listed_splits = {f"acdc-{n}": partial(published_splits.acdc, n) for n in published_splits.ACDC_LABELED}
    """SSL4MIS's 70/10/20 patients, of which the first 7, 3, 1, 14 ... are labeled."""

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return OFFICIAL if self.options.edition == "official" else SSL4MIS

    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        patients: dict[str, list[CaseFiles]] = {}
        for files_of in cases.values():
            patients.setdefault(files_of.groups["patient"], []).append(files_of)
        entries = {}
        for patient, frames in patients.items():
            numbers = [int(files_of.groups["frame"]) for files_of in frames]
            if self.options.edition == "ssl4mis" and set(numbers) <= {1, FRAMES}:
                pass  # already ED and ES; one of them may be left out
            elif len(frames) == FRAMES:
                numbers = [1, FRAMES]
            else:
                folder = frames[0].every()[0].parent
                found = ", ".join(files_of.groups["frame"] for files_of in frames)
                raise layout_error(
                    self.root, self.card, f"{folder}: expected 2 annotated frames of {patient}, found {len(frames)} ({found}); "
                    "unzip the archive again, or take the patient out"
                )  # fmt: skip
            for number, files_of in zip(numbers, frames, strict=True):
                image, label = self.image_and_label(files_of)
                entries[f"{patient}_frame{number:02d}"] = VolumeEntry(image, label, patient, self.card.domains[0])
        return entries

    def prepare(self, entry: VolumeEntry, image: NDArray[Any], label: NDArray[np.uint8] | None) -> PreparedVolume:
        box = tuple((0, n) for n in image.shape)
        values = np.asarray(image, dtype=np.float32)
        return PreparedVolume(
            box, scale_to_unit(values) if self.options.edition == "official" else values, self.size_of(box)
        )
