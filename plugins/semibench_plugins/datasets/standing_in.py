"""What all first-party data sets share: checked options, the group table and the procedural stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from semibench import Dataset, DatasetOptions, PhantomOptions, UsageError


class FirstParty(Dataset):
    """Refuses an edition that the card doesn't name; the phantom comes from `semibench_plugins.phantoms`."""

    def __init__(self, root: Path | None, options: DatasetOptions) -> None:
        if not isinstance(options, self.Options):
            options = self.Options.model_validate(options.model_dump(exclude_unset=True))
        if options.edition not in self.card.editions:
            raise UsageError(
                f"data set {self.card.name!r} has no edition {options.edition!r}; it has: {', '.join(self.card.editions)}"
            )
        super().__init__(root, options)

    @cached_property
    def group_table(self) -> Mapping[str, str]:
        """Case id -> group as `bench data audit` wrote it (duplicates and near-duplicates); empty without a table."""
        from semibench.blocks.groups import read_group_table

        return read_group_table(self.root, self.card.name) if self.root is not None else {}

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        from semibench_plugins.phantoms.datasets import phantom_dataset

        return phantom_dataset(cls.card, options, phantom)
