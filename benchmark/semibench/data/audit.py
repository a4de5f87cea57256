"""`bench data audit`: identical and near-identical images, the groups they make, and groups that cross a split."""

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
    """Two cases with the same image. kind: "identical" pixels, "near" (re-encoded, rescaled ...), "flipped";
    distance: bits in which the perceptual hashes differ; likeness: correlation of the thumbnails' details."""

    a: str
    b: str
    kind: Literal["identical", "near", "flipped"]
    distance: int
    likeness: float


@dataclass(frozen=True)
class Row:
    """A line of the group table."""

    case: str
    group: str
    reason: str


@dataclass(frozen=True)
class Crossing:
    """A group that stands on both sides of training and test (or validation) in a split. roles: role -> case ids."""

    split: str
    group: str
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Audit:
    """What was found. cases: how many were looked at; rows: the group table, for cases of groups that hold a pair."""

    dataset: str
    cases: int
    pairs: tuple[Pair, ...]
    rows: tuple[Row, ...]
    crossings: tuple[Crossing, ...]

    def summary(self) -> str:
        """Three lines for people."""
        kinds = {kind: sum(pair.kind == kind for pair in self.pairs) for kind in ("identical", "near", "flipped")}
        groups = len({row.group for row in self.rows})
        return (
            f"{self.dataset}: {self.cases} cases; pairs: "
            + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            + f"\n{len(self.rows)} cases in {groups} groups that hold a pair"
            + f"\n{len(self.crossings)} groups stand on both sides of training and test"
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

    splits: by name, default the data set's published ones. distance: most differing bits of 64. likeness: least
    correlation of details. A pair joins the groups of its cases; a joined group is named after the first of them.
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
    chosen = dataset.splits() if splits is None else splits
    crossings = [c for name, split in chosen.items() for c in find_crossings(name, split, merged)]
    return Audit(dataset.card.name, len(refs), tuple(pairs), tuple(rows), tuple(crossings))


def find_pairs(ids: Sequence[str], prints: Sequence[Print], *, distance: int, likeness: float) -> list[Pair]:
    """All pairs of the same image; of several identical images each is paired with the first."""
    pairs = []
    first: dict[str, int] = {}
    for number, one in enumerate(prints):
        if one.content in first:
            pairs.append(Pair(ids[first[one.content]], ids[number], "identical", 0, 1.0))
        else:
            first[one.content] = number
    for a, b, flip, bits, like in near_pairs(prints, distance, likeness):
        pairs.append(Pair(ids[a], ids[b], "flipped" if flip else "near", bits, like))
    return pairs


def group_rows(refs: Sequence[CaseRef], pairs: Sequence[Pair]) -> list[Row]:
    """The group table: every case of a group that a pair touches, after the groups of paired cases were united."""
    group = {ref.id: ref.group for ref in refs}
    parent = {name: name for name in group.values()}

    def top(name: str) -> str:
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
    """Groups (after `merged`: case id -> group) with cases both in training (labeled, unlabeled) and in test, or both in
    training and in validation."""
    merged = {} if merged is None else merged
    roles: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for role, refs in split.roles().items():
        for ref in refs:
            roles[f"{ref.dataset}/{merged.get(ref.id, ref.group)}"][role].append(ref.id)
    found = []
    for group, by_role in sorted(roles.items()):
        learned = by_role.keys() & {"labeled", "unlabeled"}
        judged = by_role.keys() & {"validation", "test"}
        if learned and judged:
            held = {role: tuple(sorted(ids)) for role, ids in by_role.items()}
            found.append(Crossing(name, group.partition("/")[2], held))
    return found


def write_group_table(found: Audit, name: str, root: Path | None) -> Path:
    """Write the table where the data set reads it: into its folder if that can be written, else into the cache.

    Atomic; replaces an older table. Data sets read it when they make their index (`semibench.blocks.read_group_table`).
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "group", "reason"])
    table.writerows([row.case, row.group, row.reason] for row in found.rows)
    *places, last = group_table_paths(root, name)
    for path in places:
        try:
            return _write(path, text.getvalue())
        except OSError:  # a folder that can't be written is expected: then the cache takes the table
            continue
    return _write(last, text.getvalue())


def group_table(name: str, root: Path | None) -> dict[str, str]:
    """Case id -> group of the table that was written, or nothing."""
    return read_group_table(root, name)


def _write(path: Path, text: str) -> Path:
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))
    return path
