"""Volume data sets whose layout is a list of file patterns: cases are found and files inspected by that list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from semibench.blocks.datasets.file_patterns import CaseFiles
from semibench.blocks.datasets.official_layout import layout_error
from semibench.blocks.datasets.volume_dataset import VolumeDataset, VolumeEntry


class PatternDataset(VolumeDataset):
    """Base of 3D data sets that are found by `patterns`. A subclass writes these and `entries_of` in place of `locate`."""

    @abstractmethod
    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        """Make the entries.

        Args:
            cases: case -> its files; only cases with an image.

        Returns:
            Case id -> entry.
        """

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
