"""What a layout finds in a folder: cases with their files, and what was noticed on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from semibench.blocks.datasets.folder_walk import FoundFile, walk_files
from semibench.blocks.datasets.raster_files import EXTENSIONS
from semibench.blocks.groups import TABLE
from semibench.contracts.errors import LayoutError
from semibench.data.declared.declaration import FILE

PICTURE = "semibench_look.png"
"""The contact picture that `bench data new` draws into the folder; never a case."""

VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
ARRAY_ENDINGS = (".h5", ".hdf5", ".npz")
ENDINGS = (*VOLUME_ENDINGS, *ARRAY_ENDINGS, *sorted(EXTENSIONS))
"""The endings of files that can be read; the longest that fits is the ending of a file."""

KINDS = "png, jpg, bmp, tif, nii, nii.gz, mha, mhd, nrrd, h5, npz"


def ending_of(name: str) -> str:
    """Returns the ending of a file that can be read, in lower case; "" for another file."""
    low = name.lower()
    return next((ending for ending in ENDINGS if low.endswith(ending)), "")


def stem_of(relative: str) -> str:
    """Returns a path without the ending of its file."""
    ending = ending_of(relative)
    return relative[: -len(ending)] if ending else relative


@dataclass(frozen=True)
class FoundCase:
    """A case and its files.

    id: unique in the data set. images: one file, or one for each channel. label: None if it has none. relative: the path of the
    (first) image, on which the expressions for groups and domains work. group, domain: as a list states them. role: as a list
    states it: "train", "labeled", "unlabeled", "validation", "test".
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    relative: str
    group: str | None = None
    domain: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class Found:
    """The cases of a folder.

    kind: how the files lie. channels, classes, ignore: as a description in the folder states them. folds: of a cross-validation:
    (training ids, test ids). notes: what was decided. warnings: what is suspicious.
    """

    kind: str
    cases: tuple[FoundCase, ...]
    channels: tuple[str, ...] | None = None
    classes: Mapping[int, str] | None = None
    ignore: tuple[int, ...] = ()
    modality: str = ""
    title: str = ""
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse(folder: Path, expected: str, found: str, advice: str) -> LayoutError:
    """Returns the error for a folder that can't be used, in one line."""
    return LayoutError(f"{folder}: expected {expected}, found {found}; {advice}")


def readable_files(folder: Path) -> list[FoundFile]:
    """Lists the files of a folder and its sub-folders that can be read as images or labels."""
    return [file for file in walk_files(folder) if ending_of(file.relative) and file.path.name != PICTURE]


def contents(folder: Path) -> str:
    """Describes what a folder holds, in a few words, for messages."""
    files = [file for file in walk_files(folder) if file.path.name not in (FILE, TABLE, PICTURE)]
    if not files:
        return "an empty folder"
    tops: dict[str, list[str]] = {}
    for file in files:
        head, _, rest = file.relative.partition("/")
        tops.setdefault(f"{head}/" if rest else "", []).append(file.relative)
    parts = []
    for top, names in sorted(tops.items())[:5]:
        example = PurePosixPath(names[0]).name
        parts.append(f"{top} with {len(names)} files ({example} ...)" if top else f"{len(names)} files ({example} ...)")
    return ", ".join(parts) + (" and more" if len(tops) > 5 else "")


def unique_ids(folder: Path, names: Iterable[tuple[str, str]]) -> None:
    """Checks that no two files are named like the same case.

    Args:
        folder: for the message.
        names: (case, file).

    Raises:
        LayoutError: for the first two that are.
    """
    first: dict[str, str] = {}
    for case, file in names:
        before = first.setdefault(case, file)
        if before != file:
            raise refuse(
                folder,
                "one image for each case",
                f"two for {case!r}: {before} and {file}",
                "remove or rename one, or say which files are images with image_name in semibench.yaml",
            )


def plain_id(stem: str) -> str:
    """Returns the id of a case from the path of its image: folders are joined by underscores."""
    return stem.replace("/", "_")


def with_channels(folder: Path, files: Sequence[FoundFile], marked: re.Pattern[str]) -> dict[str, list[FoundFile]]:
    """Groups the files of cases that have one file for each channel.

    Args:
        folder: for messages.
        files: the image files.
        marked: matches the stem of a file; its groups are the name of the case and the number of the channel.

    Returns:
        Case -> its files, in the order of the channels.

    Raises:
        LayoutError: if a case lacks a channel that others have.
    """
    cases: dict[str, dict[int, FoundFile]] = {}
    for file in files:
        match = marked.fullmatch(stem_of(file.relative))
        if match is None:
            raise refuse(
                folder,
                "names that end in the number of the channel (case_0000.nii.gz)",
                file.relative,
                "rename the file, or move it away",
            )
        cases.setdefault(match[1], {})[int(match[2])] = file
    numbers = sorted({number for channels in cases.values() for number in channels})
    for case, channels in cases.items():
        missing = [number for number in numbers if number not in channels]
        if missing:
            lost = f"{case}_{missing[0]:04d}"
            raise refuse(
                folder,
                f"{len(numbers)} channels for each case ({', '.join(f'_{n:04d}' for n in numbers)})",
                f"no file {lost} beside {next(iter(channels.values())).relative}",
                "add the file, or take the case out",
            )
    return {case: [channels[number] for number in numbers] for case, channels in sorted(cases.items())}
