"""Cards of the first-party data sets. Importing them opens no file and doesn't import torch."""

from __future__ import annotations

from collections.abc import Iterable

from semibench import DatasetCard, hookimpl
from semibench_plugins.datasets.families import DATASETS

CARDS = DATASETS


@hookimpl
def semibench_datasets() -> Iterable[DatasetCard]:
    """Returns the data sets that come with Semibench."""
    return CARDS
