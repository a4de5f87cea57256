"""Which validation cases are scored during training. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from semibench.contracts.cases import CaseRef


def validation_cases(refs: Sequence[CaseRef], most: int) -> list[CaseRef]:
    """Return `most` evenly spaced cases, or all of them (0: all)."""
    if not most or len(refs) <= most:
        return list(refs)
    return [refs[i * len(refs) // most] for i in range(most)]
