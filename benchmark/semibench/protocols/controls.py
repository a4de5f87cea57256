"""Controls: the option `unlabeled_from`, which every protocol has. The harness applies it after the draw."""

from __future__ import annotations

from dataclasses import replace

from semibench.contracts.cases import Split
from semibench.contracts.identity import Entry


def with_unlabeled_of(entry: Entry, split: Split) -> Split:
    """Return the split that an entry trains on: as drawn, or for a control with the labeled cases as the unlabeled ones."""
    return replace(split, unlabeled=split.labeled) if entry.is_control else split
