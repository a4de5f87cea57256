"""What validation says of recipes: a Markdown table of the runs of a folder, for choosing one. Test scores aren't read.

    bench matrix speed/recipes/images.yaml --data-root DATA --runs choice --no-track --no-pictures --no-predictions
    python speed/recipe_choice.py choice

A row is a group of runs that differ in the seed alone: what they set otherwise than the default, the Dice on validation at
the last evaluation (mean over seeds, and its range), the highest of all evaluations, and the seconds of an iteration.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from semibench.runfolder.reading import RunFolder

VALIDATION = "validation/dice"
NOT_TOLD = {"recipe.evaluate_every", "recipe.checkpoint_every", "protocol.source", "protocol.labeled"}
"""Settings that are alike in all runs, or have a column of their own."""


class Figures(NamedTuple):
    """Figures of one run: Dice on validation, last and highest; iterations and seconds of training."""

    last: float
    highest: float
    iterations: int
    seconds: float


class Row(NamedTuple):
    """What the runs of a row share."""

    dataset: str
    method: str
    backbone: str
    labeled: str
    settings: str


def read(folder: Path) -> tuple[Row, Figures] | None:
    """Reads a finished run.

    Args:
        folder: a run folder.

    Returns:
        Its row and figures; None if it isn't finished or was not scored on validation.
    """
    run = RunFolder(folder)
    plan, result = run.plan, run.result
    values = [value for name, _, value in run.steps if name == VALIDATION]
    if plan is None or result is None or not values:
        return None
    settings = {name: change.value for name, change in plan.changed.items() if name not in NOT_TOLD}
    labeled = plan.settings.get("protocol", {}).get("labeled", "")
    told = ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "default"
    row = Row(f"{plan.dataset} ({plan.data})", plan.method, plan.backbone, str(labeled), told)
    return row, Figures(values[-1], max(values), plan.iterations, result.training.seconds or 0.0)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of run folders")
    rows: dict[Row, list[Figures]] = defaultdict(list)
    for runs in parser.parse_args().runs:
        for file in sorted(runs.glob("*/result.json")):
            found = read(file.parent)
            if found is not None:
                rows[found[0]].append(found[1])
    print("| data set | method | network | labeled | settings | seeds | last | range | highest | s/iteration |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in sorted(rows):
        figures = rows[row]
        last = [one.last for one in figures]
        highest = statistics.fmean(one.highest for one in figures)
        pace = statistics.fmean(one.seconds / one.iterations for one in figures)
        spread = f"{min(last):.3f}-{max(last):.3f}"
        cells = [*row, str(len(figures)), f"{statistics.fmean(last):.3f}", spread, f"{highest:.3f}", f"{pace:.3f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
