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
    image_and_mask_patterns,
    read_table,
    without_image_ending,
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
        return self.image_entries(complete=True)

    def split_rules(self) -> SplitRules:
        """Returns csc-pa-fold<k>-<labeled>, stratified by class if DatasetB.csv (columns name, class) is present."""
        table = self.found_cases()[0] / "DatasetB.csv"
        refs = self.index()
        classes = {ref.id: "" for ref in refs}
        if table.is_file():
            named = {without_image_ending(row["name"]): row["class"] for row in self._class_rows(table)}
            classes |= {name: kind for name, kind in named.items() if name in classes}
        rules = {
            f"csc-pa-fold{fold + 1}-{labeled}": partial(published_splits.csc_pa, classes, fold, labeled)
            for labeled in published_splits.CSC_PA_LABELED["udiat"]
            for fold in range(published_splits.CSC_PA_FOLDS)
        }
        return rules if len(refs) == self.card.cases else {}

    def _class_rows(self, table: Path) -> list[dict[str, str]]:
        return read_table(table, self.card, ("name", "class"), key="name", filled=("name", "class"))
