"""Volume data sets whose layout is a list of file patterns: finding and inspecting come from that list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from semibench_plugins.datasets.file_patterns import Found
from semibench_plugins.datasets.official_layout import layout_error
from semibench_plugins.datasets.volume_dataset import VolumeDataset, VolumeEntry


class PatternDataset(VolumeDataset):
    """Base of data sets that are found by `patterns`."""

    @abstractmethod
    def entries_of(self, found: Mapping[str, Found]) -> Mapping[str, VolumeEntry]:
        """Case id -> entry, from the files by case. Only cases with an image."""

    def locate(self) -> Mapping[str, VolumeEntry]:
        if self.place is not None:
            role = self.patterns(self.place[0])[0].role
            entries = self.entries_of({case: files for case, files in self.place[1].items() if files.one(role)})
            if entries:
                return entries
        others = [edition for edition in self.card.editions if edition != self.options.edition]
        raise layout_error(
            self.root if self.place is None else self.place[0],
            self.card,
            f"found no files of the edition {self.options.edition!r}; other editions: {', '.join(others)} "
            f"(--set dataset.edition={others[0]}).",
        )
