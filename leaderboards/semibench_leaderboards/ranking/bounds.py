"""Bounds of a board: the references that were trained with all labels, which are runs of another track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import Entry, Track, canonical, sha256
from semibench.discovery.registry import registry
from semibench.runfolder.records import SplitRecord
from semibench_leaderboards.ranking.comparison import ComparisonError, cases_by_draw_fold
from semibench_leaderboards.ranking.rows import Role, Row
from semibench_leaderboards.reading.records import RunRecord, by_row

AMOUNT = ("labeled", "labels", "split", "source")
"""Options of a protocol that say how many labels there are, or name a published split with so many."""

NO_LABEL_LEFT: Mapping[str, Role] = {"labels alone": "all labels", "no image": "no image, all labels"}
"""Role of a reference on its own board -> its role where it has all labels and is shown on a board with fewer."""


def roles() -> dict[str, Role]:
    """Full name of a method -> its role on boards. Methods without an entry, and those that aren't installed, compete."""
    return {item.full_name: item.card.reference for item in registry().cards("methods") if item.card.reference}


def lenders() -> set[str]:
    """Full names of the methods whose runs may be bounds of other tracks."""
    return {name for name, role in roles().items() if role in NO_LABEL_LEFT}


def role_of(entry: Entry, by_method: Mapping[str, Role]) -> Role:
    """The role of an entry on the board of its own track."""
    return "control" if entry.is_control else by_method.get(entry.method.name, "")


def family(track: Track) -> str:
    """Digest that tracks share if they differ in nothing but the amount of labels."""
    record = track.model_dump(mode="json")
    options = record["protocol"]["options"]
    record["protocol"]["options"] = {name: value for name, value in options.items() if name not in AMOUNT}
    return sha256(canonical(record))


def bounds_by_family(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Family -> the finished runs of its references that were trained with all labels.

    Reads one split for each row of a reference, and only where a family has several tracks.
    """
    every, by_method = list(records), roles()
    tracks = {record.track: record.of_track for record in every}
    families = {digest: family(track) for digest, track in tracks.items()}
    several = {name for name, count in Counter(families.values()).items() if count > 1}
    candidates = [
        record
        for record in every
        if record.counts and families[record.track] in several and role_of(record.entry, by_method) in NO_LABEL_LEFT
    ]
    found: dict[str, list[RunRecord]] = {}
    for runs in by_row(candidates).values():
        if _has_all_labels(runs[0]):
            found.setdefault(families[runs[0].track], []).extend(runs)
    return found


def _has_all_labels(record: RunRecord) -> bool:
    """Whether no case of the run's own data set was left unlabeled. False where the split can't be read."""
    try:
        split = SplitRecord.from_disk(record.folder)
    except SemibenchError:
        return False
    return split is not None and bool(split.labeled) and all(row.dataset != record.dataset for row in split.unlabeled)


def fitting(candidates: Sequence[Row], own: Sequence[Row]) -> list[Row]:
    """The candidates with the test cases of the board in every draw and fold that they share with it, and at least in one.

    Of several rows of one entry (two ways to ask for all labels), the one with the most runs.
    """
    on_board: dict[tuple[int | None, int | None], set[str]] = {}
    for row in own:
        for draw_fold, digest in _digests(row).items():
            on_board.setdefault(draw_fold, set()).add(digest)
    best: dict[str, Row] = {}
    for row in candidates:
        digests = {draw_fold: digest for draw_fold, digest in _digests(row).items() if draw_fold in on_board}
        if not digests or any(digest not in on_board[draw_fold] for draw_fold, digest in digests.items()):
            continue
        entry = row.states.runs[0].spec.entry.digest()
        if entry not in best or (row.n, row.key) > (best[entry].n, best[entry].key):
            best[entry] = row
    return list(best.values())


def _digests(row: Row) -> dict[tuple[int | None, int | None], str]:
    try:
        return {draw_fold: cases.digest for draw_fold, cases in cases_by_draw_fold(row).items()}
    except ComparisonError:
        return {}
