"""Which values the label files of a folder hold, and how often: read once, then remembered beside the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semibench.blocks.datasets.raster_files import LOSSY, read_grey
from semibench.contracts.errors import CaseError
from semibench.contracts.identity import SHORT, sha256
from semibench.data.declared.arrays import is_picture, read_label
from semibench.data.declared.found import FoundCase
from semibench.data.roots import cache_dir
from semibench.files import read_cached_json, write_cached_json
from semibench.reporting import Reporter

MOST_VALUES = 64
"""A label with more values is an image."""


@dataclass(frozen=True)
class LabelValues:
    """The values of one label file: value -> number of pixels."""

    case: str
    file: Path
    counts: Mapping[int, int]


def label_values(
    folder: Path, cases: tuple[FoundCase, ...], key: str, dims: int, reporter: Reporter | None = None
) -> list[LabelValues]:
    """Counts the values of every label.

    Args:
        folder: the folder of the data set, which names the memory.
        cases: its cases.
        key: the name of the label in h5 and npz files.
        dims: axes of a case.
        reporter: receives progress.

    Returns:
        One record for each case with a label.

    Raises:
        CaseError: for a label that can't be read, holds fractions, or as many values as an image.
    """
    reporter = reporter or Reporter()
    memory = cache_dir() / "declared" / f"{sha256(str(folder.resolve()))[:SHORT]}.json"
    known = read_cached_json(memory)
    labeled = [case for case in cases if case.label is not None]
    found: dict[str, Any] = {}
    new = [case for case in labeled if _stamp(case, key, dims) not in known]
    if new:
        reporter.phase("look at labels", len(new))
    done = 0
    for case in labeled:
        stamp = _stamp(case, key, dims)
        if stamp not in known:
            known[stamp] = {str(value): count for value, count in _counted(case, key, dims)}
            done += 1
            reporter.advance(done)
        found[stamp] = known[stamp]
    if new:
        reporter.end()
        write_cached_json(memory, found)
    return [
        LabelValues(case.id, case.label, {int(v): int(n) for v, n in found[_stamp(case, key, dims)].items()})
        for case in labeled
        if case.label is not None
    ]


def _stamp(case: FoundCase, key: str, dims: int) -> str:
    assert case.label is not None
    try:
        facts = case.label.stat()
    except OSError as error:
        raise CaseError(
            f"{case.label}: can't be read ({error.strerror or error}); make it readable, or take it out"
        ) from error
    return f"{case.label.resolve()} {facts.st_size} {facts.st_mtime_ns} {key} {dims}"


def _counted(case: FoundCase, key: str, dims: int) -> Iterator[tuple[int, int]]:
    assert case.label is not None
    lossy = is_picture(case.label) and case.label.suffix.lower() in LOSSY
    shape = read_grey(case.images[0]).shape if lossy else ()
    array = read_label(case.label, key, dims, shape, binary=lossy).array
    values, counts = np.unique(array, return_counts=True)
    if len(values) > MOST_VALUES:
        raise CaseError(
            f"{case.label}: expected a label with a few values, found {len(values)}, as many as an image has; check that images "
            "and labels aren't exchanged, and save the label with one value for each class"
        )
    if not np.array_equal(values, np.round(values)):
        shown = next(value for value in values.tolist() if value != round(value))
        raise CaseError(
            f"{case.label}: expected whole numbers in a label, found {shown}; save it with one value for each class"
        )
    return zip((int(value) for value in values), (int(count) for count in counts), strict=True)
