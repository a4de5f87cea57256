"""Measures the page of a board with many rows: time to write it, and to open, sort and filter it in Chromium.

python speed/leaderboard_page.py --rows 200 --cases 60 [--keep FOLDER]
python speed/leaderboard_page.py --rows 200 --seeds 50 --bulk    # 10,000 runs on one page

Creates run folders with invented scores (rows x seeds), writes the page, and opens it from the file. The browser part
needs playwright and a chromium on the path; without them only writing is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from leaderboard_size import write_folders  # noqa: E402
from support.leaderboard_toys import spec_of, write_run  # noqa: E402
from support.site_toys import chromium, no_browser  # noqa: E402

from semibench_leaderboards.ranking.boards import boards  # noqa: E402
from semibench_leaderboards.ranking.ranks import rank  # noqa: E402
from semibench_leaderboards.reading.records import read_runs  # noqa: E402
from semibench_leaderboards.site import write  # noqa: E402

MEASURE = """async () => {
const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
const found = {sort: [], filter: []};
for (let i = 0; i < 4; i++)
  for (const key of ['name', 'mean', 'low', 'same', 'parameters', 'training_seconds']) {
    const start = performance.now(); document.querySelector(`#board th[data-key="${key}"] button`).click(); await frame();
    found.sort.push(performance.now() - start); }
const box = document.getElementById('filter');
for (let i = 0; i < 4; i++)
  for (const text of ['1', '19', 'unet', 'method-00', 'vnet -1', '']) {
    const start = performance.now(); box.value = text; box.dispatchEvent(new Event('input')); await frame();
    found.filter.push(performance.now() - start); }
return found }"""


def write_runs(runs: Path, rows: int, cases: int, seeds: int) -> None:
    """Writes rows x seeds; each row is a little better than the one before, with noise."""
    random = np.random.default_rng(0)
    base = random.uniform(0.3, 0.9, cases)
    for number in range(rows):
        for seed in range(seeds):
            values = np.clip(base + 0.1 * number / rows + 0.05 * random.standard_normal(cases), 0, 1)
            write_run(runs, values, spec_of(f"method-{number:03d}", seed=seed, backbone=("unet", "vnet")[number % 2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument(
        "--bulk", action="store_true", help="runs of leaderboard_size.py: 10 metrics, 60 cases, written fast"
    )
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp())
    figures: dict[str, object] = {"rows": given.rows, "seeds": given.seeds, "cases": given.cases}
    if not (folder / "runs").is_dir():
        if given.bulk:
            write_folders(folder / "runs", given.rows * given.seeds, given.rows, given.seeds)
        else:
            write_runs(folder / "runs", given.rows, given.cases, given.seeds)
    start = time.process_time()
    ranked = [(board, rank(board)) for board in boards(read_runs(folder / "runs"))]
    figures["read and ranked in [s of CPU time]"] = round(time.process_time() - start, 2)
    start = time.process_time()
    write(ranked, folder / "site", runs=folder / "runs", cases=0)
    figures["written in [s of CPU time]"] = round(time.process_time() - start, 2)
    page_file = next(path for path in (folder / "site").glob("*.html") if path.name != "index.html")
    figures["size [kB]"] = page_file.stat().st_size // 1000
    reason = no_browser()
    if reason:
        figures["browser"] = reason
    else:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(page_file.resolve().as_uri())
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            figures["opened in [ms of CPU time of the page's thread]"] = round(1000 * metrics["TaskDuration"])
            timing = page.evaluate(
                "(() => { const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime })()"
            )
            figures["opened in [ms]"] = round(timing)
            for what, values in page.evaluate(MEASURE).items():
                figures[f"{what}, until the next frame [ms]"] = {
                    "median": round(statistics.median(values)),
                    "worst": round(max(values)),
                }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    if given.keep is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
