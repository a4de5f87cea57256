"""TUS: a private data set. The layout is our assumption, for those who have the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from semibench import LayoutProblem
from semibench.blocks import (
    MASK_FOLDERS,
    FilePattern,
    ImageDataset,
    ImageEntry,
    image_and_mask_patterns,
    layout_error,
    read_table,
    unused_rows,
    without_image_ending,
)
from semibench_plugins.datasets.mgcc_options import MgccOptions
from semibench_plugins.datasets.thyroid import cards
from semibench_plugins.datasets.thyroid.phantom import ThyroidPhantom

TABLE = "tus.csv"


class TUS(ImageDataset):
    """Case id: column id of tus.csv. Group: the patient. Domain: the machine, machine-1 to machine-3.

    The papers split by image, so that images of one patient end up on both sides; the harness splits by patient.
    """

    card = cards.TUS
    phantom_class = ThyroidPhantom
    known = ("*.csv",)
    Options = MgccOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, ("images", "image"), MASK_FOLDERS, required=True)

    def locate(self) -> Mapping[str, ImageEntry]:
        base, _ = self.found_cases()
        rows = self._rows(base)
        entries = {}
        for name, entry in self.image_entries().items():
            if name not in rows:
                raise layout_error(base, self.card, f"the image {name} is not in {TABLE}; add its patient and machine")
            domain = f"machine-{rows[name]['machine'].removeprefix('machine-')}"
            if domain not in self.card.domains:
                raise layout_error(
                    base, self.card, f"{TABLE}: machine {rows[name]['machine']!r} of {name}; expected 1, 2 or 3"
                )
            entries[name] = replace(entry, group=rows[name]["patient"], domain=domain)
        return entries

    def inspect_files(self) -> list[LayoutProblem]:
        problems = super().inspect_files()
        if self.case_files is None or not (self.case_files[0] / TABLE).is_file():
            return problems
        base, cases = self.case_files
        return problems + unused_rows(base / TABLE, self._rows(base), cases)

    def _rows(self, base: Path) -> dict[str, dict[str, str]]:
        columns = ("id", "patient", "machine")
        rows = read_table(base / TABLE, self.card, columns, key="id", filled=columns)
        return {without_image_ending(row["id"]): row for row in rows}
