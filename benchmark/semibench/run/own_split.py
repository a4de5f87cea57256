"""Splits of one's own: `--split FILE`, which every protocol takes. Their digest stands in the key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semibench.contracts.cases import CaseRef, Split
from semibench.contracts.errors import UsageError
from semibench.contracts.identity import SHORT, Replicate, canonical, sha256
from semibench.contracts.protocol import OWN_SPLIT
from semibench.data.catalog import DataCatalog
from semibench.data.roots import cache_dir
from semibench.data.split_files import TRAIN, OwnSplit, read_split, split_of
from semibench.files import read_cached_json, write_cached_json
from semibench.protocols.ordering import group_of, ordered, take

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ChosenSplit:
    """A split of one's own, and the digest by which a spec names it."""

    split: OwnSplit
    digest: str

    def drawn(self, catalog: DataCatalog, options: Any, replicate: Replicate) -> Split:
        """Returns the split of a run. Of the role "train", the protocol's option `labeled` says how many groups are labeled."""
        cases = catalog.all_cases()
        fold = replicate.fold or 0
        labeled: Sequence[CaseRef] = ()
        if self.split.has_draw and 0 <= fold < len(self.split.folds):
            keys = set(self.split.folds[fold].get(TRAIN, ()))
            labeled = _labeled(
                [ref for ref in cases if ref.key in keys and ref.has_label], options, replicate.draw or 0
            )
        return split_of(self.split, cases, fold, labeled)


def chosen_split(file: Path | None, digest: Any, catalog: DataCatalog) -> ChosenSplit | None:
    """Returns the split that a request names, or None if its protocol draws.

    Args:
        file: `--split`.
        digest: the setting `own_split` of a request that was made from a spec.
        catalog: the cases that it may name.

    Raises:
        UsageError: for a file that can't be used, a digest that isn't known here, or both with another content.
    """
    if file is None and digest in (None, ""):
        return None
    if file is not None:
        own = read_split(file, catalog.main, catalog.all_cases())
        chosen = ChosenSplit(own, sha256(canonical(own.record())))
        if digest not in (None, "", chosen.digest):
            raise UsageError(
                f"--split {file}: expected the split of the run ({str(digest)[:SHORT]}), found {chosen.digest[:SHORT]}"
            )
        _remember(chosen)
        return chosen
    return known_split(digest)


def known_split(digest: Any) -> ChosenSplit:
    """Returns a split that was used on this machine. Raises UsageError if it isn't known."""
    text = str(digest)
    record = read_cached_json(_file(text)) if DIGEST.fullmatch(text) else {}
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        own = OwnSplit.of_record(record)
        if sha256(canonical(own.record())) == text:
            return ChosenSplit(own, text)
    raise UsageError(
        f"{OWN_SPLIT}={text[:SHORT]}: expected a split that was used on this machine, found none; give its file: --split FILE"
    )


def split_record(split: Split, main: str) -> dict[str, list[str]]:
    """Returns a split as `--split` reads it: names of cases by role; those of other data sets have its name in front."""
    return {role: [ref.id if ref.dataset == main else ref.key for ref in refs] for role, refs in split.roles().items()}


def _labeled(training: list[CaseRef], options: Any, draw: int) -> list[CaseRef]:
    amount = getattr(options, "labeled", None)
    if amount is None:
        raise UsageError(
            "--split: expected labeled and unlabeled cases, as this protocol has no option `labeled`, found the role train; "
            "name them in the file"
        )
    if not training:
        raise UsageError("--split: expected training cases with a label, found none; add them")
    chosen = set(take(ordered(training, draw), amount, "labeled"))
    return [ref for ref in training if group_of(ref) in chosen]


def _file(digest: str) -> Path:
    return cache_dir() / "splits" / f"{digest}.json"


def _remember(chosen: ChosenSplit) -> None:
    """Keeps the content of a split, so that its runs can be planned again from their spec alone."""
    file = _file(chosen.digest)
    if not file.is_file():
        write_cached_json(file, chosen.split.record())
