"""Writes the tables of docs/results.md from the bundles of runs in speed/boards/runs.

    python speed/results_page.py            # rewrites the tables between their marks
    python speed/results_page.py --check    # exits 1 where a table isn't what the bundles give
    python speed/results_page.py --picture real_hippocampus_slices    # the picture of the README (needs playwright and Chromium)

A mark `<!-- board: NAME -->` begins the table of the bundles in speed/boards/runs/NAME, `<!-- laws -->` the table of what boards
must show, and `<!-- end -->` ends either. Nothing is trained or scored: `bench import` and `bench leaderboard` read the same runs.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semibench.tracking.tables import markdown_table
from semibench_leaderboards import site
from semibench_leaderboards.evidence.importing import bundles_in, import_bundle
from semibench_leaderboards.ranking.boards import FEWEST, Board
from semibench_leaderboards.ranking.ranks import Ranking, rank
from semibench_leaderboards.ranking.references import PairedDifference, network_of, paired
from semibench_leaderboards.ranking.rows import Role, Row
from semibench_leaderboards.ranking.score_request import ScoreRequest
from semibench_leaderboards.ranking.selecting import chosen_boards
from semibench_leaderboards.reading.run_filter import RunFilter
from semibench_leaderboards.showing.tables import difference_text, footnotes, grid

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "leaderboard_page.png"
PAGE = ROOT / "docs" / "results.md"
BUNDLES = ROOT / "speed" / "boards" / "runs"
LEFT_OUT = {
    "code",
    "draws×folds×seeds",
    "worst class",
    "empty",
    "undefined",
    "parameters",
    "GFLOPs",
    "memory",
    "per case",
}
"""Columns of a board that the page doesn't show."""

SYSTEMS = ("mgcc", "diff-cl", "csc-pa", "semsim", "dtlp-net")
"""The methods of the five papers whose systems the harness holds whole."""

VIEW = {"width": 1280, "height": 1100}
"""Pixels of the picture."""

MARK = re.compile(r"(<!-- (laws|board: ([\w-]+)) -->\n).*?(?=<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Laws:
    """What a board must show for a reader to believe it.

    Attributes:
        gap: all labels minus the labels alone; None where one of them is missing.
        apart: whether the 95 % intervals of the two don't overlap.
        spread: standard deviation of the labels alone over the seeds.
        above: methods above the labels alone on their network, with an interval that excludes 0.
        ranked: methods with enough runs to be ranked.
        below: methods below the labels alone, with an interval that excludes 0.
        gains: of Mean Teacher and of the five systems, minus the labels alone; None where it wasn't run.
        hours: training time of all runs of the board.
    """

    gap: PairedDifference | None
    apart: bool
    spread: float | None
    above: tuple[str, ...]
    ranked: int
    below: tuple[str, ...]
    gains: dict[str, PairedDifference | None]
    hours: float

    @classmethod
    def of(cls, board: Board, ranking: Ranking) -> Laws:
        """Reads them off a board."""
        full = _with_role(board, "all labels")
        networks = {network_of(row) for row in full}
        alone = [row for row in _with_role(board, "labels alone") if network_of(row) in networks] or _with_role(
            board, "labels alone"
        )
        few, every = (rows[0] if rows else None for rows in (alone, full))
        methods = [row for row in board.rows if row.identity.role == "" and row.n >= FEWEST]
        gains = {row.identity.method: ranking.attributions[row.name].over_labels_alone for row in methods}
        return cls(
            gap=paired(every, few) if few and every else None,
            apart=bool(few and every and few.statistics.high < every.statistics.low),
            spread=few.statistics.std if few else None,
            above=tuple(name for name, gain in gains.items() if gain and gain.low is not None and gain.low > 0),
            ranked=len(methods),
            below=tuple(name for name, gain in gains.items() if gain and gain.high is not None and gain.high < 0),
            gains={name: gains.get(name) for name in ("mean-teacher", *SYSTEMS)},
            hours=sum(run.training.seconds or 0.0 for row in board.rows for run in row.states.counted) / 3600,
        )


def _with_role(board: Board, role: Role) -> list[Row]:
    return [row for row in board.rows if row.identity.role == role and row.n]


@contextmanager
def imported(name: str) -> Iterator[tuple[Path, Board, Ranking]]:
    """Yields a folder with the runs of the bundles in a folder, and their board.

    Raises:
        SystemExit: if they are of several boards.
    """
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles_in([BUNDLES / name]):
            import_bundle(bundle, Path(folder))
        found = chosen_boards(Path(folder), RunFilter(), ScoreRequest())
        if len(found) != 1:
            raise SystemExit(f"{BUNDLES / name} holds the runs of {len(found)} boards, expected one")
        yield Path(folder), found[0], rank(found[0], "case")


@cache
def read(name: str) -> tuple[Board, Ranking]:
    """Returns the board of the bundles in a folder; reads them once."""
    with imported(name) as (_, board, ranking):
        return board, ranking


def draw(name: str, path: Path) -> None:
    """Writes a picture of the upper part of a board's HTML page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.site_toys import chromium

    with imported(name) as (runs, board, ranking), tempfile.TemporaryDirectory() as folder:
        index = site.write([(board, ranking)], Path(folder) / "site", runs=runs, cases=0, data_root=None)
        (page,) = (file for file in index.parent.rglob("*.html") if file != index)
        with chromium() as browser:
            view = browser.new_page(viewport=VIEW)
            view.goto(page.as_uri())
            view.screenshot(path=str(path))


def table_of(board: Board, ranking: Ranking) -> str:
    """A board as Markdown, with what its columns mean."""
    heads, rows = grid(board, ranking)
    kept = [i for i, head in enumerate(heads) if head not in LEFT_OUT]
    table = markdown_table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
    notes = [
        note
        for note in footnotes(board, ranking)
        if note.startswith(("unlabeled worth", "gap closed", "over labels", "*", "rows that"))
    ]
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def laws_table(names: Sequence[str]) -> str:
    """What boards must show, a line for each law, a column for each board."""
    columns = [_texts(Laws.of(*read(name))) for name in names]
    lines = [[law, *(column[law] for column in columns)] for law in columns[0]] if columns else []
    return markdown_table(["", *(name.replace("_", " ") for name in names)], lines) + "\n"


def _texts(laws: Laws) -> dict[str, str]:
    return {
        "all labels − labels alone": difference_text(laws.gap),
        "their intervals are apart": "yes" if laws.apart else "no",
        "spread of the labels alone": "–" if laws.spread is None else f"{laws.spread:.4f}",
        "methods above the labels alone": f"{len(laws.above)} of {laws.ranked}",
        "methods below": ", ".join(laws.below) or "none",
        **{f"`{name}` − labels alone": difference_text(gain) for name, gain in laws.gains.items()},
        "training of all runs": f"{laws.hours:.1f} h",
    }


def rewritten(page: str) -> str:
    """The page with the tables that the bundles give."""
    names = [match[3] for match in MARK.finditer(page) if match[3]]

    def content(match: re.Match[str]) -> str:
        return match[1] + "\n" + (table_of(*read(match[3])) if match[3] else laws_table(names)) + "\n"

    return MARK.sub(content, page)


def differing(old: str, new: str) -> list[str]:
    """The lines in which two pages differ, as a diff shows them."""
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table differs")
    parser.add_argument("--picture", metavar="BOARD", help=f"write {PICTURE.relative_to(ROOT)} instead")
    args = parser.parse_args()
    if args.picture:
        draw(args.picture, PICTURE)
        return 0
    old = PAGE.read_text(encoding="utf-8")
    new = rewritten(old)
    if not args.check:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    lines = differing(old, new)
    print("\n".join(lines))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
