"""Volume data sets whose layout is a list of file patterns: cases are found and files inspected by that list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semibench.blocks.datasets.file_patterns import CaseFiles
from semibench.blocks.datasets.official_layout import layout_error
from semibench.blocks.datasets.volume_dataset import VolumeDataset, VolumeEntry


class PatternDataset(VolumeDataset):
    """Base of 3D data sets that are found by `patterns`. A subclass writes these in place of `locate`, and
    `entries_of` where a case is more than an image and its label."""

    def domain_of(self, case: str) -> str:
        """Return the domain of a case; by default the first one of the card."""
        return self.card.domains[0]

    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        """Make the entries. By default each case is a group of its own.

        The first required pattern is that of the image and the second one that of the label; where there is only one, its
        file holds both.

        Args:
            cases: case -> its files; only cases with an image.

        Returns:
            Case id -> entry.
        """
        entries = {}
        for case, files in cases.items():
            image, label = self.image_and_label(files)
            entries[case] = VolumeEntry(image, label, case, self.domain_of(case))
        return entries

    def image_and_label(self, files: CaseFiles) -> tuple[Path, Path | None]:
        """Return the files of the first two required roles, of which the first one must be there."""
        assert self.case_files is not None
        roles = [pattern.role for pattern in self.patterns(self.case_files[0]) if pattern.required]
        image = files.files[roles[0]][0]
        return image, files.one(roles[1]) if len(roles) > 1 else image

    def locate(self) -> Mapping[str, VolumeEntry]:
        if self.case_files is not None:
            base, cases = self.case_files
            role = self.patterns(base)[0].role
            entries = self.entries_of({case: files for case, files in cases.items() if files.one(role)})
            if entries:
                return entries
        others = [edition for edition in self.card.editions if edition != self.options.edition]
        hint = f"; other editions: {', '.join(others)} (--set dataset.edition={others[0]})" if others else ""
        raise layout_error(
            self.root if self.case_files is None else self.case_files[0],
            self.card,
            f"found no files of the edition {self.options.edition!r}{hint}.",
        )
