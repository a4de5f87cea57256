"""The base class for volume data sets that are described by file patterns, which find the cases and inspect the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semibench.blocks.datasets.file_patterns import CaseFiles
from semibench.blocks.datasets.volume_dataset import VolumeDataset, VolumeEntry


class PatternDataset(VolumeDataset):
    """Base class for 3D data sets that find their files by pattern.

    A subclass implements `patterns` instead of `locate`, and also `entries_of` if a case is more than an image and its label.

    Examples:
        >>> class Scans(PatternDataset):
        ...     card = card
        ...     def patterns(self, base):
        ...         return [FilePattern("image", r"(?P<case>[^/]+)\\.nii\\.gz", "{case}", "{case}.nii.gz")]
        ...     def prepare(self, entry, image, label):
        ...         box = tuple((0, length) for length in image.shape)
        ...         return PreparedVolume(box, z_score(image.astype(np.float32)), self.size_of(box))
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 2), np.int16), np.eye(4)), folder / "a.nii.gz")
        >>> [ref.id for ref in Scans(folder, DatasetOptions()).index()]
        ['a']
    """

    def domain_of(self, case: str) -> str:
        """Returns the domain of a case; by default, the card's first one."""
        return self.card.domains[0]

    def entries_of(self, cases: Mapping[str, CaseFiles]) -> Mapping[str, VolumeEntry]:
        """Creates the entries. By default each case is a group of its own.

        The first required pattern matches the image and the second one the label; if there is only one, its file holds both.

        Args:
            cases: case name -> its files; each has an image.

        Returns:
            Case id -> entry.
        """
        entries = {}
        for case, files in cases.items():
            image, label = self.image_and_label(files)
            entries[case] = VolumeEntry(image, label, case, self.domain_of(case))
        return entries

    def image_and_label(self, files: CaseFiles) -> tuple[Path, Path | None]:
        """Returns the files of the first two required roles; the first one must exist."""
        assert self.case_files is not None
        roles = [pattern.role for pattern in self.patterns(self.case_files[0]) if pattern.required]
        image = files.files[roles[0]][0]
        return image, files.one(roles[1]) if len(roles) > 1 else image

    def locate(self) -> Mapping[str, VolumeEntry]:
        return self.entries_of(self.found_cases()[1])
