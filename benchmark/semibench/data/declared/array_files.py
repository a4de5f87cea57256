"""Finds the cases of a folder of h5 or npz files, each of which holds an image and, under another key, its label."""

from __future__ import annotations

from pathlib import Path

from semibench.blocks.datasets.official_layout import first_folder
from semibench.data.declared.arrays import array_keys
from semibench.data.declared.declaration import Declaration
from semibench.data.declared.found import (
    ARRAY_ENDINGS,
    Found,
    FoundCase,
    contents,
    ending_of,
    plain_id,
    readable_files,
    refuse,
    stem_of,
    unique_ids,
)


def holds_arrays(folder: Path) -> bool:
    """Returns whether the files of a folder that can be read are h5 or npz files alone."""
    files = readable_files(folder)
    return bool(files) and all(ending_of(file.relative) in ARRAY_ENDINGS for file in files)


def find_arrays(folder: Path, declaration: Declaration) -> Found:
    """Finds the files; a file without the key of the label is a case without label.

    Raises:
        LayoutError: if there are none, or a file lacks the key of the image.
    """
    base = folder if declaration.images is None else first_folder(folder, (declaration.images,))
    files = [] if base is None else [f for f in readable_files(base) if ending_of(f.relative) in ARRAY_ENDINGS]
    if not files:
        raise refuse(base or folder, "h5 or npz files", contents(folder), "put them there, or correct `images`")
    unique_ids(folder, ((stem_of(file.relative), file.relative) for file in files))
    cases = []
    for file in files:
        keys = array_keys(file.path)
        if declaration.image_key not in keys:
            raise refuse(
                file.path, f"the key {declaration.image_key!r}", ", ".join(keys) or "no key",
                "say which one holds the image: image_key in semibench.yaml",
            )  # fmt: skip
        label = file.path if declaration.label_key in keys else None
        cases.append(FoundCase(plain_id(stem_of(file.relative)), (file.path,), label, file.relative))
    note = f"h5 or npz files with the keys {declaration.image_key} and {declaration.label_key}"
    return Found("arrays", tuple(sorted(cases, key=lambda case: case.id)), notes=(note,))
