"""The base class for data sets stored in files: checked options, group table, file patterns and phantom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from semibench.blocks.datasets.file_patterns import CaseFiles, FilePattern, find_case_files, layout_problems
from semibench.blocks.datasets.official_layout import candidate_folders
from semibench.blocks.datasets.phantom_dataset import PhantomDataset
from semibench.blocks.datasets.published_lists import PublishedLists, SplitRules
from semibench.blocks.groups import read_group_table
from semibench.contracts.cases import Dataset, DatasetOptions, LayoutProblem, PhantomOptions, Split
from semibench.contracts.errors import UsageError


class FileDataset(Dataset):
    """Base class for data sets stored in files.

    It rejects editions that the card doesn't list, reads the group table that `bench data audit` writes, finds and
    inspects files by pattern, and builds the phantom.

    Attributes:
        known: globs (relative paths) of official files that the reader ignores, so that `inspect` doesn't report them.
        listed_splits: published splits that are defined by lists of ids alone.
        phantom_class: the phantom of this data set; None if it has none.

    Examples:
        >>> class Clinic(FileDataset):
        ...     card = card
        ...     known = ("notes/*.txt",)
        ...     listed_splits = {"paper": lambda: IdSplit(labeled=["a"], unlabeled=["b"], test=["c"])}
        ...     def patterns(self, base):
        ...         return image_and_mask_patterns(base, ["images"], ["masks"], required=True)
        >>> list(Clinic.listed_splits)
        ['paper']
    """

    known: ClassVar[tuple[str, ...]] = ()
    listed_splits: ClassVar[SplitRules] = {}
    phantom_class: ClassVar[type[PhantomDataset] | None] = None

    def __init__(self, root: Path | None, options: DatasetOptions) -> None:
        super().__init__(root, self._checked(options))

    @classmethod
    def _checked(cls, options: DatasetOptions) -> DatasetOptions:
        if not isinstance(options, cls.Options):
            options = cls.Options.model_validate(options.model_dump(exclude_unset=True))
        if options.edition not in cls.card.editions:
            raise UsageError(
                f"data set {cls.card.name!r} has no edition {options.edition!r}; it has: {', '.join(cls.card.editions)}"
            )
        return options

    @cached_property
    def group_table(self) -> Mapping[str, str]:
        """Case id -> group, as written by `bench data audit` (duplicates and near-duplicates); empty without a table."""
        return read_group_table(self.root, self.card.name)

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        """Returns patterns for the files that the edition reads in a folder; the first one matches the image.

        Args:
            base: a folder that may hold the data set.

        Returns:
            The patterns. An empty sequence means that this data set doesn't find its files by pattern.
        """
        return ()

    @cached_property
    def case_files(self) -> tuple[Path, Mapping[str, CaseFiles]] | None:
        """The first folder in which a pattern matches, and the files of its cases; None if there is no such folder."""
        for base in candidate_folders(self.root, self.card) if self.root is not None else ():
            cases = find_case_files(base, self.patterns(base))
            if cases:
                return base, cases
        return None

    def inspect(self) -> list[LayoutProblem]:
        if self.case_files is None:
            return []
        base, cases = self.case_files
        return layout_problems(base, cases, self.patterns(base), self.known, self.card.title)

    def split_rules(self) -> SplitRules:
        """Returns the published splits that the options allow; `listed_splits` by default."""
        return self.listed_splits

    def splits(self) -> Mapping[str, Split]:
        rules = self.split_rules()
        return PublishedLists(self.card.name, self.index(), rules) if rules else {}

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        """Returns the normalisation of the edition, so that the phantom can apply it.

        Args:
            options: the options of the data set.

        Returns:
            A function that maps stored values (C, *spatial), float32, to the values that the network sees; None for the
            phantom's default.
        """
        return None

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        if cls.phantom_class is None:
            return super().phantom(options, phantom)
        checked = cls._checked(options)
        return cls.phantom_class(cls.card, checked, phantom, cls.normaliser(checked))
