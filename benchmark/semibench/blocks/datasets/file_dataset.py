"""The base class for data sets stored in files: checked options, group table, file patterns and phantom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

from torch import Tensor

from semibench.blocks.datasets.file_patterns import (
    CaseFiles,
    FilePattern,
    clashes,
    find_case_files,
    incomplete,
    layout_problems,
)
from semibench.blocks.datasets.official_layout import candidate_folders, layout_error
from semibench.blocks.datasets.phantom_dataset import PhantomDataset
from semibench.blocks.datasets.published_lists import PublishedLists, SplitRules
from semibench.blocks.groups import TABLE, read_group_table
from semibench.contracts.cases import CaseRef, Dataset, DatasetOptions, LayoutProblem, PhantomOptions, Split
from semibench.contracts.errors import LayoutError, SemibenchError, UsageError

Entry = TypeVar("Entry")


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

    def found_cases(self, *, complete: bool = False) -> tuple[Path, Mapping[str, CaseFiles]]:
        """Returns `case_files`, checked: what can't be decided or is incomplete is an error, never left out.

        Args:
            complete: True if every case must have the files of all required roles, not only the first.

        Returns:
            The folder, and case name -> its files.

        Raises:
            LayoutError: if there are no files, a case has two files of one role, or lacks one that it must have.
        """
        if self.case_files is None:
            raise self.nothing_found()
        base, cases = self.case_files
        patterns = self.patterns(base)
        required = [pattern.role for pattern in patterns if pattern.required]
        needed = required if complete else [patterns[0].role]
        if not any(files.files.get(patterns[0].role) for files in cases.values()):
            raise self.nothing_found(base)
        problems = [*clashes(cases, patterns), *incomplete(cases, patterns, needed)]
        if problems:
            others = f" ({len(problems) - 1} other problems: see bench data verify)" if len(problems) > 1 else ""
            raise LayoutError(f"data set {self.card.name!r}: {problems[0].message}{others}", problems[0].message)
        return base, cases

    def in_order(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Sorts the located cases by name.

        Args:
            entries: case name -> its entry.

        Returns:
            The same, sorted.

        Raises:
            LayoutError: if there are none.
        """
        if not entries:
            raise self.nothing_found()
        return dict(sorted(entries.items()))

    def nothing_found(self, base: Path | None = None) -> LayoutError:
        """Builds the error for a folder without any file of the edition; it names the edition whose files are there.

        Args:
            base: the folder with some of the files; None: the data set's folder.

        Returns:
            The error to raise.
        """
        others = [edition for edition in self.card.editions if edition != self.options.edition]
        present = [edition for edition in others if self._holds(edition)]
        hint = f"; other editions: {', '.join(others)} (--set dataset.edition={others[0]})" if others else ""
        if present:
            hint = f", but files of the edition {present[0]!r}: --set dataset.edition={present[0]}"
        problem = f"found no files of the edition {self.options.edition!r}{hint}."
        return layout_error(self.root if base is None else base, self.card, problem)

    def _holds(self, edition: str) -> bool:
        """Returns whether the files of another edition are there."""
        other = type(self)(self.root, self.options.model_copy(update={"edition": edition}))
        return other.case_files is not None

    def inspect(self) -> list[LayoutProblem]:
        try:
            return [*self.inspect_files(), *self._copies(), *self._table_problems()]
        except LayoutError as error:
            return [LayoutProblem(error.brief)]

    def inspect_files(self) -> list[LayoutProblem]:
        """Returns what is wrong with the names of files; a subclass may add to it.

        Returns:
            One problem for each missing, misnamed, doubled or stray file.

        Raises:
            LayoutError: if the folder can't be listed; `inspect` reports it.
        """
        if self.case_files is None:
            return []
        base, cases = self.case_files
        return layout_problems(base, cases, self.patterns(base), self.known, self.card.title)

    def _copies(self) -> list[LayoutProblem]:
        """Reports other folders with files of the edition, which are not read."""
        if self.case_files is None or self.root is None:
            return []
        base, cases = self.case_files
        seen = {path for files in cases.values() for path in files.every()}
        problems = []
        for folder in candidate_folders(self.root, self.card):
            more = {path for f in find_case_files(folder, self.patterns(folder)).values() for path in f.every()} - seen
            if more:
                words = f"{folder}: expected one copy of {self.card.title}, found {len(more)} more files of it"
                problems.append(LayoutProblem(f"{words}; only {base} is read: move one of them away", level="warning"))
            seen |= more
        return problems

    def _table_problems(self) -> list[LayoutProblem]:
        """Reports rows of the group table that name no case. A table of which no row does is an error of `grouped`."""
        if not self.group_table:
            return []
        try:
            names = {ref.id for ref in self.index()}
        except SemibenchError:  # the index itself says what is wrong
            return []
        lost = [name for name in self.group_table if name not in names]
        if not lost:
            return []
        words = f"{TABLE} of {self.card.name}: expected names of cases, found {len(lost)} rows that name none, e.g. {lost[0]!r}"
        return [
            LayoutProblem(f"{words}; write it again with bench data audit {self.card.name} --write", level="warning")
        ]

    def grouped(self, refs: list[CaseRef]) -> list[CaseRef]:
        """Checks that the group table, if there is one, is about these cases.

        Args:
            refs: the cases, with their groups.

        Returns:
            The same cases.

        Raises:
            LayoutError: if no row of the table names one of them.
        """
        if self.group_table and not any(ref.id in self.group_table for ref in refs):
            name, example = next(iter(self.group_table)), refs[0].id if refs else "none"
            raise LayoutError(
                f"{TABLE} of data set {self.card.name!r}: expected names of cases like {example!r}, found {name!r} and no row "
                f"that fits; remove the file, or write it again with bench data audit {self.card.name} --write"
            )
        return refs

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
