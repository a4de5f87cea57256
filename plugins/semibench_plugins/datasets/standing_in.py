"""What all first-party data sets share: checked options, the group table and the procedural stand-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from torch import Tensor

from semibench import Dataset, DatasetOptions, PhantomOptions, UsageError
from semibench.blocks.groups import read_group_table


class FirstParty(Dataset):
    """Refuses an edition that the card doesn't name; the phantom comes from `semibench_plugins.phantoms`."""

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
