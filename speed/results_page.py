"""Writes the tables of the pages in docs/ that come from the bundles of runs in speed/boards/runs.

    python speed/results_page.py            # rewrites the tables between their marks
    python speed/results_page.py --check    # exits 1 where a table isn't what the bundles give
    python speed/results_page.py --picture real_hippocampus_slices    # the picture of the README (needs playwright and Chromium)

A table stands between a mark and `<!-- end -->`. NAME is a folder of bundles:

    <!-- board: NAME -->                 the board
    <!-- laws -->                        what boards must show: all boards of the page
    <!-- method: METHOD on NAME, NAME -->    one method on some boards, beside the labels alone and all labels
    <!-- parts: METHOD of NAME beside NAME -->   one method with parts switched off, beside its row on a board
    <!-- areas: NAME, NAME -->           how large the foreground is that each row predicts
    <!-- phantoms: NAME -->              what labels are worth on each phantom
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import tempfile
from pathlib import Path

import board_tables

from semibench_leaderboards import site

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "leaderboard_page.png"
PAGE = ROOT / "docs" / "results.md"
VIEW = {"width": 1280, "height": 1100}
"""Pixels of the picture."""

MARK = re.compile(
    r"(?P<mark><!-- (?P<kind>laws|board|method|parts|areas|phantoms)(?:: (?P<of>[^>]+?))? -->\n).*?(?=<!-- end -->)",
    re.DOTALL,
)


def pages() -> list[Path]:
    """The pages that have such a table."""
    return [page for page in sorted((ROOT / "docs").rglob("*.md")) if MARK.search(page.read_text(encoding="utf-8"))]


def boards_on(text: str) -> list[str]:
    """The folders whose boards a page shows whole."""
    return [match["of"] for match in MARK.finditer(text) if match["kind"] == "board"]


def rewritten(text: str) -> str:
    """A page with the tables that the bundles give."""
    boards = boards_on(text)

    def table(kind: str, of: str) -> str:
        if kind == "laws":
            return board_tables.laws_table(boards)
        if kind == "board":
            return board_tables.board_table(of)
        if kind == "phantoms":
            return board_tables.phantom_table(of)
        if kind == "areas":
            return board_tables.areas_table(of.split(", "))
        if kind == "parts":
            method, _, names = of.partition(" of ")
            return board_tables.parts_table(method, *names.split(" beside "))
        method, _, names = of.partition(" on ")
        return board_tables.method_table(method, names.split(", "))

    return MARK.sub(lambda match: f"{match['mark']}\n{table(match['kind'], match['of'] or '')}\n", text)


def differing(old: str, new: str) -> list[str]:
    """The lines in which two pages differ, as a diff shows them."""
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))


def draw(name: str, path: Path) -> None:
    """Writes a picture of the upper part of a board's HTML page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.site_toys import chromium

    with board_tables.imported(name) as runs, tempfile.TemporaryDirectory() as folder:
        index = site.write([board_tables.read(name)], Path(folder) / "site", runs=runs, cases=0, data_root=None)
        (page,) = (file for file in index.parent.rglob("*.html") if file != index)
        with chromium() as browser:
            view = browser.new_page(viewport=VIEW)
            view.goto(page.as_uri())
            view.screenshot(path=str(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table differs")
    parser.add_argument("--picture", metavar="BOARD", help=f"write {PICTURE.relative_to(ROOT)} instead")
    args = parser.parse_args()
    if args.picture:
        draw(args.picture, PICTURE)
        return 0
    lines = []
    for page in pages():
        old = page.read_text(encoding="utf-8")
        new = rewritten(old)
        lines += differing(old, new)
        if not args.check:
            page.write_text(new, encoding="utf-8")
    if args.check:
        print("\n".join(lines))
    return int(args.check and bool(lines))


if __name__ == "__main__":
    sys.exit(main())
