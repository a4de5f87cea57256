"""A data set by declaration, as the harness uses any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import create_model

from semibench.blocks.datasets.file_dataset import FileDataset
from semibench.blocks.datasets.intensity import intensity_window, scale_percentiles, z_score
from semibench.blocks.datasets.nifti_files import nifti_grid
from semibench.blocks.datasets.published_lists import SplitRules
from semibench.blocks.datasets.volume_files import Volume, map_labels, z_first
from semibench.blocks.datasets.volume_grid import Grid as Place
from semibench.blocks.datasets.volume_grid import on_grid_of_image
from semibench.blocks.datasets.working_grid import case_on_grid
from semibench.contracts.cases import Case, CaseRef, Dataset, DatasetOptions, PhantomOptions, Remark, Truth
from semibench.contracts.errors import CaseError, UsageError
from semibench.contracts.identity import Grid, canonical, sha256
from semibench.contracts.method import IGNORE
from semibench.data.declared.arrays import companions, read_channels, read_label
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.found import Found, FoundCase, ending_of
from semibench.data.declared.layouts import DEFAULT_DOMAIN
from semibench.data.declared.published import default_source, rules_of

SAME_PLACE = 0.5
"""Voxels by which the channels of a case may lie apart."""


class DeclaredOptions(DatasetOptions, frozen=True, extra="forbid"):
    """Options of a data set by declaration.

    declared: what semibench.yaml says, with all defaults. It stands in the key of a run; to change it, change the file. cases:
    digest of the ids, groups, domains and roles of all cases, filled in by the data set.
    """

    declared: dict[str, Any] = {}
    cases: str = ""


class DeclaredDataset(FileDataset):
    """Cases that a folder holds, as its declaration describes them.

    Attributes:
        declaration: with nothing left open.
        found: the cases.
    """

    Options: ClassVar[type[DatasetOptions]] = DeclaredOptions
    adds_bare_cases: ClassVar[bool] = True
    declaration: ClassVar[Declaration]
    found: ClassVar[Found]

    def __init__(self, root: Path | None, options: DatasetOptions) -> None:
        super().__init__(root, options)
        assert isinstance(self.options, DeclaredOptions)
        self._same(self.options)
        dims = self.card.dims
        if options.size is not None and len(options.size) != dims:
            raise UsageError(f"data set {self.card.name!r}: size: expected {dims} numbers, found {list(options.size)}")

    def _same(self, options: DeclaredOptions) -> None:
        """Refuses options of a run whose declaration or cases were other ones."""
        now = type(self).declaration.record()
        changed = [key for key in options.declared if options.declared[key] != now.get(key)]
        if changed:
            key = changed[0]
            raise UsageError(
                f"data set {self.card.name!r}: expected the declaration of the run, {key}={options.declared.get(key)!r}, found "
                f"{key}={now.get(key)!r} in {self.root}; restore its semibench.yaml, or change that file instead of the option"
            )
        if options.cases and options.cases != cases_digest(self.found):
            raise UsageError(
                f"data set {self.card.name!r}: expected the cases of the run, found others, or other groups, domains or roles, in "
                f"{self.root}; restore the files and lists of that run"
            )

    def settings(self) -> dict[str, Any]:
        declared = type(self).declaration.record()
        return super().settings() | {"declared": declared, "cases": cases_digest(self.found)}

    @cached_property
    def _by_id(self) -> Mapping[str, FoundCase]:
        return {case.id: case for case in self.found.cases}

    def index(self) -> list[CaseRef]:
        name, table = self.card.name, self.group_table
        return self.grouped(
            [
                CaseRef(
                    name, case.id, table.get(case.id, case.group or case.id), case.domain or DEFAULT_DOMAIN,
                    case.label is not None,
                )
                for case in sorted(self.found.cases, key=lambda case: case.id)
            ]
        )  # fmt: skip

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        case = self._case(ref)
        paths = [*case.images, *([] if case.label is None else [case.label])]
        return tuple(dict.fromkeys(file for path in paths for file in companions(path)))

    def read(self, ref: CaseRef) -> Case:
        case = self._case(ref)
        channels = self._channels(case)
        first = channels[0]
        self._seen[ref.id] = Place(first.array.shape, first.affine, first.spacing)
        self._remarks[ref.id] = [Remark(words) for channel in channels for words in channel.remarks]
        self._check_channels(case, channels)
        label = None if case.label is None else self._label(ref, case).array
        spacing = self.declaration.spacing or first.spacing
        scaled = np.stack([self._scaled(channel.array) for channel in channels])
        return case_on_grid(ref, scaled, label, size=self.options.size, spacing=spacing)

    def truth(self, ref: CaseRef) -> Truth | None:
        case = self._case(ref)
        if case.label is None:
            return None
        label = self._label(ref, case)
        spacing = self.declaration.spacing or label.spacing
        return Truth(torch.from_numpy(np.ascontiguousarray(label.array)), spacing)

    def remarks(self, ref: CaseRef) -> list[Remark]:
        if ref.id not in self._remarks:
            self.read(ref)
        return list(dict.fromkeys(self._remarks[ref.id]))

    def split_rules(self) -> SplitRules:
        return rules_of(self.found)

    def protocol_defaults(self, protocol: str, options: Collection[str]) -> Mapping[str, Any]:
        """Returns the splits of the folder as the source of `ssmis`, and that all training labels are used where there are cases
        without label: the folder itself says then who is unlabeled."""
        if not {"source", "labeled"} <= set(options):
            return {}
        source = default_source(self.found) if protocol == "ssmis" else None
        bare = any(case.label is None for case in self.found.cases)
        return ({} if source is None else {"source": source}) | ({"labeled": 1.0} if bare else {})

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        raise UsageError(
            f"data set {cls.card.name!r} is declared by its folder and has no phantom; leave out --phantom"
        )

    # ---- reading -------------------------------------------------------------------------------------------------------

    @cached_property
    def _seen(self) -> dict[str, Place]:
        """Case id -> the grid of its image."""
        return {}

    @cached_property
    def _remarks(self) -> dict[str, list[Remark]]:
        """Case id -> what is doubtful about its files."""
        return {}

    def _case(self, ref: CaseRef) -> FoundCase:
        if ref.id not in self._by_id:
            raise CaseError(f"{ref.key}: no such case in {self.root}")
        return self._by_id[ref.id]

    def _channels(self, case: FoundCase) -> list[Volume]:
        declaration = self.declaration
        channels = read_channels(case.images, declaration.image_key, self.card.dims, self.card.channels)
        for number, channel in enumerate(channels):
            file = case.images[min(number, len(case.images) - 1)]
            if channel.array.ndim != self.card.dims:
                raise CaseError(
                    f"{file}: expected {self.card.dims} axes, found the shape {channel.array.shape}; correct dims in semibench.yaml"
                )
            if channel.array.dtype.kind == "f" and not np.isfinite(channel.array).all():
                bad = int((~np.isfinite(channel.array)).sum())
                raise CaseError(
                    f"{file}: expected finite values, found {bad} NaN or infinite ones; restore the original file"
                )
        return channels

    def _check_channels(self, case: FoundCase, channels: Sequence[Volume]) -> None:
        """Refuses channels of other sizes, and remarks on those that lie elsewhere."""
        first = channels[0]
        for file, channel in zip(case.images[1:], channels[1:], strict=False):
            if channel.array.shape != first.array.shape:
                raise CaseError(
                    f"{file}: expected the shape of {case.images[0].name}, {first.array.shape}, found {channel.array.shape}; "
                    "resample the channels to one grid"
                )
            if channel.affine is not None and first.affine is not None:
                between = np.linalg.inv(first.affine) @ channel.affine
                corner = np.array([*(side - 1 for side in first.array.shape), 1.0])
                away = max(np.abs((between @ corner - corner)[:3]).max(), np.abs(between[:3, 3]).max())
                if away > SAME_PLACE:
                    words = f"{file}: expected a channel where {case.images[0].name} lies, found it up to {away:.1f} voxels away"
                    self._remarks[case.id].append(
                        Remark(f"{words}; read voxel by voxel: resample the channels to one grid", "error")
                    )

    def _label(self, ref: CaseRef, case: FoundCase) -> Volume:
        """Reads the label as classes, with IGNORE where it holds a value to ignore, along the axes of its image."""
        assert case.label is not None
        if ref.id not in self._seen:
            self._seen[ref.id] = self._grid(case)
        grid = self._seen[ref.id]
        binary = len(self.card.classes) == 2
        stored = read_label(case.label, self.declaration.label_key, self.card.dims, grid.shape, binary=binary)
        turned, remarks = on_grid_of_image(stored, grid, case.label, case.images[0])
        kept = self._remarks.setdefault(ref.id, [])
        kept += [*(Remark(words) for words in stored.remarks), *remarks]
        if turned.array.shape != grid.shape:
            raise CaseError(
                f"{case.label}: expected the size of its image {case.images[0].name}, {_sides(grid.shape)}, found "
                f"{_sides(turned.array.shape)}; restore the original file, or take the case out"
            )
        return Volume(self._classes(turned.array, case.label), turned.spacing, turned.affine)

    def _classes(self, stored: NDArray[Any], file: Path) -> NDArray[np.uint8]:
        known = {**self.declaration.class_of(), **dict.fromkeys(self.declaration.ignore, IGNORE)}
        present = np.unique(stored).tolist()
        unknown = [value for value in present if value not in known]
        if unknown:
            raise CaseError(
                f"{file}: expected the label values {_listed(sorted(known))}, found {_listed(unknown[:8])}; "
                "list them under classes or ignore in semibench.yaml, or correct the label"
            )
        return map_labels(stored, known, file)

    def _grid(self, case: FoundCase) -> Place:
        """Reads where the image of a case lies: from its header alone, if it is one NIfTI file of three axes."""
        path = case.images[0]
        alone = len(case.images) == self.card.channels and self.card.dims == 3
        if alone and ending_of(path.name).startswith(".nii"):
            image = z_first(nifti_grid(path))
        else:
            image = self._channels(case)[0]
        return Place(image.array.shape, image.affine, image.spacing)

    def _scaled(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        values = np.asarray(stored, dtype=np.float32)
        scale = self.declaration.scale
        if scale == "window":
            assert self.declaration.window is not None
            return intensity_window(values, *self.declaration.window)
        if scale == "divide by 255":
            return values / np.float32(255)
        by_name: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
            "z-score": z_score,
            "percentiles": scale_percentiles,
        }
        return by_name[scale](values) if scale in by_name else values


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def cases_digest(found: Found) -> str:
    """Returns a digest of who the cases are: ids, groups, domains, labels, roles and folds. Paths don't count."""
    rows = [[case.id, case.group, case.domain, case.label is not None, case.role] for case in found.cases]
    return sha256(canonical({"cases": sorted(rows, key=str), "folds": found.folds}))


def declared_class(name: str, declaration: Declaration, found: Found) -> type[DeclaredDataset]:
    """Returns the class of a data set, once its declaration leaves nothing open.

    Args:
        name: the name of the data set.
        declaration: with nothing left open.
        found: its cases.
    """
    domains = tuple(sorted({case.domain or DEFAULT_DOMAIN for case in found.cases}))
    labeled = any(case.label is not None for case in found.cases)
    options: dict[str, Any] = {
        "declared": (dict[str, Any], declaration.record()),
        "cases": (str, cases_digest(found)),
    }
    if declaration.size is not None:
        options["size"] = (Grid | None, declaration.size)
    title = re.sub(r"\W", "", name.title()) or "Own"
    parts = {
        "card": declaration.card(name, domains, labeled),
        "declaration": declaration,
        "found": found,
        "Options": create_model("DeclaredOptions", __base__=DeclaredOptions, **options),
        "__module__": __name__,
        "__doc__": DeclaredDataset.__doc__,
    }
    return type(f"Declared{title}", (DeclaredDataset,), parts)
