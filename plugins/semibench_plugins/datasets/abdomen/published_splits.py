"""Published splits of Pancreas-CT, Synapse and AMOS22, from the lists in the authors' repositories."""

from __future__ import annotations

from collections.abc import Sequence

from semibench.blocks import IdSplit, read_id_list

LISTS = "semibench_plugins.datasets.abdomen"
PANCREAS_LABELED = (12, 6)
SYNAPSE_LISTS = {
    "genericssl-20pct": ("genericssl", "labeled_0.2.txt"),
    "skcdf-10pct": ("skcdf", "labeled_10p.txt"),
    "skcdf-20pct": ("skcdf", "labeled_20p.txt"),
    "skcdf-40pct": ("skcdf", "labeled_40p.txt"),
}
AMOS22_PERCENT = (5, 2, 10)


def pancreas(labeled: int) -> IdSplit:
    """Returns MC-Net's split of 62 and 20 volumes, with the first `labeled` lines labeled. It has no validation set."""
    train = read_id_list(LISTS, "lists/pancreas/train.list")
    return IdSplit(
        labeled=train[:labeled], unlabeled=train[labeled:], test=read_id_list(LISTS, "lists/pancreas/test.list")
    )


def synapse(name: str) -> IdSplit:
    """Returns a split of 20, 4 and 6 volumes. GenericSSL and SKCDF share the six test volumes and divide the rest differently."""
    source, labeled = SYNAPSE_LISTS[name]
    return _listed(f"synapse/{source}", read_id_list(LISTS, f"lists/synapse/{source}/{labeled}"))


def amos22(percent: int) -> IdSplit:
    """Returns DHC's split of 216, 24 and 120 volumes, with 4 (2 %), 10 (5 %) or 21 (10 %) labeled."""
    return _listed("amos22", read_id_list(LISTS, f"lists/amos22/labeled_{percent}p.txt"))


def _listed(folder: str, labeled: Sequence[str]) -> IdSplit:
    labeled_ids = set(labeled)
    return IdSplit(
        labeled=labeled,
        unlabeled=[name for name in read_id_list(LISTS, f"lists/{folder}/train.txt") if name not in labeled_ids],
        test=read_id_list(LISTS, f"lists/{folder}/test.txt"),
        validation=read_id_list(LISTS, f"lists/{folder}/eval.txt"),
        validation_from="official",
    )
