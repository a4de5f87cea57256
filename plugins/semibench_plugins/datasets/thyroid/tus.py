"""TUS: a private data set. The layout is our assumption, for those who have the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semibench.blocks import (
    MASK_FOLDERS,
    FilePattern,
    ImageDataset,
    ImageEntry,
    find_data_folder,
    image_and_mask_patterns,
    layout_error,
    pair_image_folders,
    read_table,
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
        base = find_data_folder(self.root, self.card, lambda folder: (folder / TABLE).is_file())
        pairs = pair_image_folders(base, self.card, ("images", "image"), required=False)
        rows = {Path(row["id"]).stem: row for row in read_table(base / TABLE, self.card, ("id", "patient", "machine"))}
        unlisted = sorted(set(pairs) - set(rows))
        if unlisted:
            raise layout_error(
                base, self.card, f"{len(unlisted)} images are not in {TABLE}, e.g. {', '.join(unlisted[:5])}"
            )
        entries = {}
        for name, (image, mask) in pairs.items():
            row = rows[name]
            domain = f"machine-{row['machine'].removeprefix('machine-')}"
            if domain not in self.card.domains:
                raise layout_error(
                    base, self.card, f"{TABLE}: machine {row['machine']!r} of {name}; expected 1, 2 or 3"
                )
            entries[name] = ImageEntry(image, () if mask is None else (mask,), group=row["patient"], domain=domain)
        return entries
