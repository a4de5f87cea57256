"""UDIAT (Dataset B): original/ and GT/ contain files of the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from semibench.blocks import (
    FilePattern,
    ImageDataset,
    ImageEntry,
    SplitRules,
    find_data_folder,
    image_and_mask_patterns,
    pair_image_folders,
    read_table,
)
from semibench_plugins.datasets.breast import cards, published_splits
from semibench_plugins.datasets.breast.phantom import BreastPhantom
from semibench_plugins.datasets.mgcc_options import MgccOptions

IMAGE_FOLDERS = ("original", "img", "images")
MASK_FOLDERS = ("GT", "gt", "label", "labels", "masks")


class UDIAT(ImageDataset):
    """Case id: the file name without its ending. Group: the image (no patient ids). One domain (a single device)."""

    card = cards.UDIAT
    phantom_class = BreastPhantom
    known = ("*.csv", "*.xlsx")
    Options = MgccOptions

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return image_and_mask_patterns(base, IMAGE_FOLDERS, MASK_FOLDERS, required=True)

    def locate(self) -> Mapping[str, ImageEntry]:
        pairs = pair_image_folders(self._base(), self.card, IMAGE_FOLDERS, MASK_FOLDERS, required=True)
        domain = self.card.domains[0]
        return {
            name: ImageEntry(image, (mask,), group=name, domain=domain)
            for name, (image, mask) in pairs.items()
            if mask is not None
        }

    def split_rules(self) -> SplitRules:
        """Returns csc-pa-fold<k>-<labeled>, stratified by class if DatasetB.csv (columns name, class) is present."""
        table = self._base() / "DatasetB.csv"
        refs = self.index()
        classes = {ref.id: "" for ref in refs}
        if table.is_file():
            rows = read_table(table, self.card, ("name", "class"))
            classes |= {Path(row["name"]).stem: row["class"] for row in rows if Path(row["name"]).stem in classes}
        rules = {
            f"csc-pa-fold{fold + 1}-{labeled}": partial(published_splits.csc_pa, classes, fold, labeled)
            for labeled in published_splits.CSC_PA_LABELED["udiat"]
            for fold in range(published_splits.CSC_PA_FOLDS)
        }
        return rules if len(refs) == self.card.cases else {}

    def _base(self) -> Path:
        return find_data_folder(self.root, self.card, _has_both)


def _has_both(base: Path) -> bool:
    return any((base / name).is_dir() for name in IMAGE_FOLDERS) and any((base / n).is_dir() for n in MASK_FOLDERS)
