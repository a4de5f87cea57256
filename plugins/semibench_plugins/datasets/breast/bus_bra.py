"""BUS-BRA: images, masks, a table of patients and devices, and published folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from semibench.blocks import (
    FilePattern,
    IdSplit,
    ImageDataset,
    ImageEntry,
    SplitRules,
    half_of_groups,
    layout_error,
    read_table,
)
from semibench_plugins.datasets.breast import cards
from semibench_plugins.datasets.breast.phantom import BreastPhantom

TABLE = "bus_data.csv"
DEVICES = {
    "GE Logiq 7": "ge-logiq-7",
    "GE Logiq 5": "ge-logiq-5",
    "Toshiba Aplio 300": "toshiba-aplio-300",
    "U-Systems": "u-systems",
}

PATTERNS = (
    FilePattern("image", r"Images/bus_(?P<case>[^/]+)\.png", "{case}", "Images/bus_{case}.png"),
    FilePattern("mask", r"Masks/mask_(?P<case>[^/]+)\.png", "{case}", "Masks/mask_{case}.png"),
)


class BUSBRA(ImageDataset):
    """Case id: e.g. "bus_0001-l". Group: the patient (column Case), so that left and right breast stay together. Domain: the
    device."""

    card = cards.BUS_BRA
    phantom_class = BreastPhantom

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        return PATTERNS

    @cached_property
    def _base(self) -> Path:
        return self.found_cases(complete=True)[0]

    def locate(self) -> Mapping[str, ImageEntry]:
        base, cases = self.found_cases(complete=True)
        columns = ("ID", "Case", "Device")
        rows = {row["ID"]: row for row in read_table(base / TABLE, self.card, columns, key="ID", filled=columns)}
        images = {f"bus_{case}": files for case, files in cases.items()}
        missing = [name for name in rows if name not in images]
        if missing:
            names = ", ".join(f"{name}.png" for name in missing[:5])
            raise layout_error(base, self.card, f"{len(missing)} files that {TABLE} names are missing, e.g. {names}")
        unlisted = [name for name in images if name not in rows]
        if unlisted:
            names = ", ".join(unlisted[:5])
            raise layout_error(base, self.card, f"{len(unlisted)} images are not in {TABLE}, e.g. {names}")
        return {
            name: ImageEntry(
                images[name].files["image"][0],
                (images[name].files["mask"][0],),
                group=row["Case"],
                domain=self._domain(row),
            )
            for name, row in rows.items()
        }

    def _domain(self, row: Mapping[str, str]) -> str:
        for prefix, name in DEVICES.items():
            if row["Device"].startswith(prefix):
                return name
        raise layout_error(
            self._base, self.card, f"{TABLE}: device {row['Device']!r} of {row['ID']}; expected {', '.join(DEVICES)}"
        )

    def split_rules(self) -> SplitRules:
        """Returns fold5-<k> and fold10-<k>: the published test and validation cases of fold k. The folds were made for
        supervised training; here half of the remaining patients, in the harness's order, are labeled."""
        rules: dict[str, Any] = {}
        groups = {ref.id: ref.group for ref in self.index()}
        for folds in (5, 10):
            table = self._base / f"{folds}-fold-cv.csv"
            if table.is_file():
                rules |= {f"fold{folds}-{k}": partial(self._fold, table, k, groups) for k in range(1, folds + 1)}
        return rules

    def _fold(self, table: Path, fold: int, groups: Mapping[str, str]) -> IdSplit:
        column = f"valid_{fold}"
        roles: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        meaning = {"1": "train", "0": "validation", "nan": "test", "": "test"}
        for row in read_table(table, self.card, ("ID", column), key="ID", filled=("ID",)):
            if row[column].lower() not in meaning:
                raise layout_error(
                    table.parent, self.card, f"{table.name}: expected 0, 1 or nan in {column}, found {row[column]!r}"
                )
            roles[meaning[row[column].lower()]].append(row["ID"])
        labeled_groups = half_of_groups((groups.get(name, name) for name in roles["train"]), salt=str(fold))
        labeled = [name for name in roles["train"] if groups.get(name, name) in labeled_groups]
        unlabeled = [name for name in roles["train"] if groups.get(name, name) not in labeled_groups]
        return IdSplit(labeled, unlabeled, roles["test"], roles["validation"], "official")
