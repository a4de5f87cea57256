"""`bench data audit`: find identical and near-identical images, group them, and find groups that cross a split."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semibench.blocks.groups import group_table_paths, read_group_table
from semibench.contracts.cases import CaseRef, Dataset, Split
from semibench.data.likeness import Print, fingerprint, near_pairs
from semibench.files import write_atomically
from semibench.reporting import Reporter


@dataclass(frozen=True)
class Pair:
    """Two cases with the same image."""

    a: str
    """Id of the first case."""
    b: str
    """Id of the second case."""
    kind: Literal["identical", "near", "flipped"]
    """Either "identical": the pixels are equal; "near": re-encoded, rescaled ...; or "flipped"."""
    distance: int
    """Number of bits in which the perceptual hashes differ."""
    likeness: float
    """Correlation of the thumbnails' details."""


@dataclass(frozen=True)
class Row:
    """A line of the group table."""

    case: str
    group: str
    reason: str


@dataclass(frozen=True)
class Crossing:
    """A group with cases both in training and in test or validation of a split. roles: role -> case ids."""

    split: str
    group: str
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Audit:
    """The result of an audit. cases: number of audited cases; rows: the group table, for cases of groups that contain a pair."""

    dataset: str
    cases: int
    pairs: tuple[Pair, ...]
    rows: tuple[Row, ...]
    crossings: tuple[Crossing, ...]

    def summary(self) -> str:
        """Return a summary in three lines."""
        kinds = {kind: sum(pair.kind == kind for pair in self.pairs) for kind in ("identical", "near", "flipped")}
        groups = len({row.group for row in self.rows})
        return (
            f"{self.dataset}: {self.cases} cases; pairs: "
            + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            + f"\n{len(self.rows)} cases in {groups} groups that contain a pair"
            + f"\n{len(self.crossings)} groups are in both training and test"
        )


def audit(
    dataset: Dataset,
    splits: Mapping[str, Split] | None = None,
    *,
    distance: int = 8,
    likeness: float = 0.8,
    reporter: Reporter | None = None,
) -> Audit:
    """Compare the decoded images of all cases, pair by pair.

    A pair merges the groups of its cases; a merged group is named after the first of them.

    Args:
        dataset: the data set.
        splits: splits by name; the data set's published ones by default.
        distance: largest number of differing bits, of 64.
        likeness: smallest correlation of details.
        reporter: receives progress.
    """
    reporter = Reporter() if reporter is None else reporter
    refs = dataset.index()
    prints: list[Print] = []
    reporter.phase("audit", len(refs))
    for done, ref in enumerate(refs, 1):
        prints.append(fingerprint(dataset.read(ref).image, dataset.card.slice_axis))
        reporter.advance(done)
    reporter.end()
    pairs = find_pairs([ref.id for ref in refs], prints, distance=distance, likeness=likeness)
    rows = group_rows(refs, pairs)
    merged = {row.case: row.group for row in rows}
    splits = dataset.splits() if splits is None else splits
    crossings = [c for name, split in splits.items() for c in find_crossings(name, split, merged)]
    return Audit(dataset.card.name, len(refs), tuple(pairs), tuple(rows), tuple(crossings))


def find_pairs(ids: Sequence[str], prints: Sequence[Print], *, distance: int, likeness: float) -> list[Pair]:
    """Return all pairs of the same image; several identical images are each paired with the first."""
    pairs = []
    first: dict[str, int] = {}
    for number, image in enumerate(prints):
        if image.content in first:
            pairs.append(Pair(ids[first[image.content]], ids[number], "identical", 0, 1.0))
        else:
            first[image.content] = number
    for a, b, flip, bits, like in near_pairs(prints, distance, likeness):
        pairs.append(Pair(ids[a], ids[b], "flipped" if flip else "near", bits, like))
    return pairs


def group_rows(refs: Sequence[CaseRef], pairs: Sequence[Pair]) -> list[Row]:
    """Merge the groups of paired cases, and return the cases of every group with a pair."""
    group = {ref.id: ref.group for ref in refs}
    parent = {name: name for name in group.values()}

    def top(name: str) -> str:
        # union-find with path halving
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    why: dict[str, str] = {}
    for pair in pairs:
        low, high = sorted((top(group[pair.a]), top(group[pair.b])))
        parent[high] = low
        text = pair.kind if pair.kind == "identical" else f"{pair.kind} ({pair.distance} bits, r {pair.likeness:.3f})"
        why.setdefault(pair.a, f"{text}: {pair.b}")
        why.setdefault(pair.b, f"{text}: {pair.a}")
    touched = {top(group[case]) for pair in pairs for case in (pair.a, pair.b)}
    return [
        Row(ref.id, top(ref.group), why.get(ref.id, f"same group: {ref.group}"))
        for ref in sorted(refs)
        if top(ref.group) in touched
    ]


def find_crossings(name: str, split: Split, merged: Mapping[str, str] | None = None) -> list[Crossing]:
    """Return the groups with cases both in training (labeled, unlabeled) and in test or validation.

    `merged` maps case ids to merged groups.
    """
    merged = {} if merged is None else merged
    roles: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for role, refs in split.roles().items():
        for ref in refs:
            roles[f"{ref.dataset}/{merged.get(ref.id, ref.group)}"][role].append(ref.id)
    crossings = []
    for group, by_role in sorted(roles.items()):
        training = by_role.keys() & {"labeled", "unlabeled"}
        evaluation = by_role.keys() & {"validation", "test"}
        if training and evaluation:
            ids_by_role = {role: tuple(sorted(ids)) for role, ids in by_role.items()}
            crossings.append(Crossing(name, group.partition("/")[2], ids_by_role))
    return crossings


def write_group_table(result: Audit, name: str, root: Path | None) -> Path:
    """Write the table where the data set reads it: to its folder if that is writable, else to the cache.

    The write is atomic and replaces an older table. Data sets read it when they build their index
    (`semibench.blocks.read_group_table`).
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "group", "reason"])
    table.writerows([row.case, row.group, row.reason] for row in result.rows)
    *preferred, last = group_table_paths(root, name)
    for path in preferred:
        try:
            return _write(path, text.getvalue())
        except OSError:  # the folder may be read-only; then the table goes to the cache
            continue
    return _write(last, text.getvalue())


def group_table(name: str, root: Path | None) -> dict[str, str]:
    """Return case id -> group from the written table; empty if there is none."""
    return read_group_table(root, name)


def _write(path: Path, text: str) -> Path:
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))
    return path
