"""The page of results: its tables are what the bundles of runs beside it give."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from statistics import mean

import pytest
from speed.results_page import BUNDLES, MARK, PAGE, differing, rewritten


def names() -> list[str]:
    return [match[3] for match in MARK.finditer(PAGE.read_text(encoding="utf-8")) if match[3]]


def test_the_tables_are_what_the_bundles_give() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert list(differing(page, rewritten(page))) == [], "run `python speed/results_page.py`"


@pytest.mark.parametrize("name", names())
def test_the_means_are_those_of_the_results_in_the_bundles(name: str) -> None:
    dice = defaultdict(list)
    for bundle in (BUNDLES / name).glob("*.zip"):
        with zipfile.ZipFile(bundle) as files:
            entry = json.loads(files.read("spec.json"))["entry"]
            scores = json.loads(files.read("result.json"))["scores"]
        shown = next(
            s for s in scores if (s["checkpoint"], s["convention"], s["metric"]) == ("last", "semibench-1", "dice")
        )
        if entry["method"]["name"] != "semibench:supervised":
            dice[entry["method"]["name"].split(":")[1], bool(entry.get("unlabeled_from"))].append(shown["mean"])
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index(f"<!-- board: {name} -->") :].split("<!-- end -->")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    printed = {cells[1].split(" ")[0]: float(cells[2].split(" ")[0]) for cells in rows if "control" not in cells[1]}
    for (method, control), values in dice.items():
        if not control:
            assert printed[method] == pytest.approx(mean(values), abs=6e-5), method
