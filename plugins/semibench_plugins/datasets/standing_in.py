"""What all first-party data sets share: checked options, the group table and the procedural stand-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from semibench import Dataset, DatasetOptions, LayoutProblem, PhantomOptions, UsageError
from semibench.blocks.groups import read_group_table
from semibench_plugins.datasets.file_patterns import FilePattern, Found, problems, scan
from semibench_plugins.datasets.official_layout import candidates


class FirstParty(Dataset):
    """Refuses an edition that the card doesn't name; the phantom comes from `semibench_plugins.phantoms`.

    known: globs (relative paths) of official files that are not read, for `inspect`.
    """

    known: ClassVar[tuple[str, ...]] = ()

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
        """Case id -> group as `bench data audit` wrote it (duplicates and near-duplicates); empty without a table."""
        return read_group_table(self.root, self.card.name)

    def patterns(self, base: Path) -> Sequence[FilePattern]:
        """The files that the edition reads under a folder; the first is of the image."""
        return ()

    @cached_property
    def place(self) -> tuple[Path, Mapping[str, Found]] | None:
        """The first folder in which a pattern matches, and what was found; None where there is none."""
        for base in candidates(self.root, self.card) if self.root is not None else ():
            found = scan(base, self.patterns(base))
            if found:
                return base, found
        return None

    def inspect(self) -> list[LayoutProblem]:
        if self.place is None:
            return []
        base, found = self.place
        return problems(base, found, self.patterns(base), self.known, self.card.title)

    @classmethod
    def normaliser(cls, options: DatasetOptions) -> Callable[[Tensor], Tensor] | None:
        """Stored values (C, *spatial) to network values, as the edition says; for the phantom. None: its default."""
        return None

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        from semibench_plugins.phantoms import datasets as phantoms

        checked = cls._checked(options)
        return phantoms.phantom(
            cls.card.name, card=cls.card, options=checked, phantom=phantom, normalise=cls.normaliser(checked)
        )
