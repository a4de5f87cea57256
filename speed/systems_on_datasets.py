"""Finds out which of the five papers' systems run on which data set: runs every pair for two iterations on the phantom.

Writes docs/systems/where_they_run.md. The page gives the reason for pairs declared impossible; if a pair fails, the script
exits with 1. The cells are a `bench matrix`, so pairs that are already done don't run again (--runs keeps them).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SYSTEMS = {"mgcc": "MGCC", "diff-cl": "Diff-CL", "csc-pa": "CSC-PA", "semsim": "SemSim", "dtlp-net": "DTLP-Net"}
PAGE = Path(__file__).resolve().parent.parent / "docs" / "systems" / "where_they_run.md"

HEAD = """# Which system runs on which data set

Every cell was run for two iterations and scored on the data set's **phantom** (protocol `self`, recipe `smoke`, one seed) by
`python speed/systems_on_datasets.py`; the number is the dimension of the network. It shows that the pair works, not how well.
On 2D data, a 3D system runs in 2D; on volumes, a 2D system is trained on slices and scored on volumes.

"""


def bench(*words: str, runs: Path) -> Any:
    command = [sys.executable, "-m", "semibench.cli", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=runs.parent, check=False)
    return json.loads(done.stdout)


def page(records: list[dict[str, Any]], datasets: list[str], runs: Path) -> str:
    """Returns the page: the table and the reasons below it."""
    cells: dict[tuple[str, str], str] = {}
    reasons: list[str] = []
    for record in records:
        name, dataset = record["cell"]["method"], record["cell"]["dataset"]
        if record["outcome"] == "done":
            plan = json.loads((runs / record["key"] / "plan.json").read_text(encoding="utf-8"))
            cells[name, dataset] = f"{plan['dims']}D"
        else:
            reason = record["outcome_reason"]
            if reason not in reasons:
                reasons.append(reason)
            cells[name, dataset] = f"{record['outcome']} ({reasons.index(reason) + 1})"
    lines = [f"| data set | {' | '.join(SYSTEMS.values())} |", f"| --- |{' --- |' * len(SYSTEMS)}"]
    lines += [f"| {name} | {' | '.join(cells[system, name] for system in SYSTEMS)} |" for name in datasets]
    footnotes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return HEAD + "\n".join(lines) + "\n" + (f"\nWhy not:\n\n{footnotes}\n" if reasons else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs_where"))
    parser.add_argument("--jobs", default="1")
    given = parser.parse_args()
    runs = given.runs.absolute()
    runs.mkdir(parents=True, exist_ok=True)
    datasets = [item["name"] for item in bench("list", "datasets", "--json", runs=runs)]
    records = bench(
        "matrix", "-p", "self", "-d", ",".join(datasets), "-m", ",".join(SYSTEMS), "-r", "smoke", "--phantom", "--set",
        "iterations=2", "--set", "evaluate_every=0", "--jobs", given.jobs, "--runs", str(runs), "--no-track", "--no-pictures",
        "--no-predictions", "--retry", "--json", runs=runs,
    )  # fmt: skip
    PAGE.write_text(page(records, datasets, runs), encoding="utf-8")
    failed = [record for record in records if record["outcome"] not in ("done", "skipped")]
    for record in failed:
        sys.stderr.write(f"{record['label']}: {record['outcome']}: {record['outcome_reason']}\n")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
