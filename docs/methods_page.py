"""The page of all built-in methods: mkdocs calls this while it builds.

Names, papers, dims and networks come from the cards; the rows of published tables from the suites; what an iteration costs from
`speed/method_costs.json`; what the learning check found from `tests/battery/learning_record.json`. The scripts that write the two
files are named on the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from semibench import MethodCard
from semibench.discovery.registry import BUILT_IN, Registered, registry
from semibench.run.defaults import default_backbone
from semibench_leaderboards.suites.expansion import expand
from semibench_leaderboards.suites.loading import load, names

PAGE = "methods.md"
ROOT = Path(__file__).resolve().parents[1]
COSTS = ROOT / "speed" / "method_costs.json"
RECORD = ROOT / "tests" / "battery" / "learning_record.json"

START = """# Methods

{count} methods are built in. `bench list methods` lists what is installed, `bench show method NAME` shows terms, options and
presets, and [Your method in an afternoon](plugins.md) adds one.

"""

LEARNING = """## Whether they learn

The learning check trains each method for 200 iterations on three labeled images of bright shapes on strong noise, and scores its
predictors on new ones. The figures are the Dice of each predictor; where there are several, of seeds 0, 1 and 2. In brackets: the
same with running statistics estimated again on whole images, which must not differ by more than .05. "Labels alone" is
`supervised` on the same network and labels, and "chance" calls everything foreground. It is a check that a method works at all, not
a comparison: the images are easy, and the budget is short.

`tox -e learning` trains all of them anew and writes the record that this table shows.

"""

COST = """## What an iteration costs

`python speed/iteration_cost.py --method all --out speed/method_costs.json` times an iteration of each method (CPU time, a quarter
of the network's width, 4 + 4 images of 64 x 64 or 2 + 2 volumes of 32 x 32 x 32) beside the bare loop of the same method and that
of `supervised` on the same network, in turns. Memory is the peak of a whole process, as a ratio to that of `supervised`.

"""

ROWS = """## Which rows of published tables they fill

A suite is one published table ([Suites](suites.md)). A preset holds the published constants of a row; without one, the row takes
the method's defaults.

"""


def methods() -> list[Registered]:
    """The built-in methods, by family and name."""
    found = [item for item in registry().cards("methods") if item.distribution == BUILT_IN]
    return sorted(found, key=lambda item: (family(item.card), item.name))


def family(card: MethodCard) -> str:
    """The folder that holds the method."""
    return card.load.split(".methods.")[1].split(".")[0].replace("_", " ")


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    heads = list(columns)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


def network(item: Registered, dims: int) -> str:
    """The backbone that a method has by default."""
    found = default_backbone(registry(), item, dims=dims, recipe="paper", protocol="ssmis", dataset="")
    return found.name


def overview(items: Iterable[Registered]) -> str:
    """A table for each family: name, what it does and the paper, dims, protocols and networks."""
    by_family: dict[str, list[tuple[str, ...]]] = {}
    for item in items:
        card = item.card
        paper = (
            f"<br>[{card.paper}]({card.url})" if card.url and card.paper else f"<br>{card.paper}" if card.paper else ""
        )
        nets = ", ".join(dict.fromkeys(f"`{network(item, dims)}`" for dims in card.dims))
        dims, protocols = ", ".join(f"{dims}D" for dims in card.dims), ", ".join(card.protocols) or "all"
        by_family.setdefault(family(card), []).append((f"`{item.name}`", card.summary + paper, dims, protocols, nets))
    columns = ("name", "what it does", "dims", "protocols", "default network")
    return "\n\n".join(f"## {name.capitalize()}\n\n{table(columns, rows)}" for name, rows in by_family.items())


def read(file: Path) -> dict[str, Any]:
    """A file of figures; nothing if it isn't there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def learned(items: Iterable[Registered]) -> str:
    """What the learning check recorded."""
    record = read(RECORD)
    rows = []
    for item in items:
        entry = record.get(item.name)
        if entry is None:
            continue
        seeds = [entry, *entry.get("further", {}).values()]
        for predictor in entry["predictors"]:
            figures = ", ".join(
                f"{one['predictors'][predictor]['saved']:.3f} ({one['predictors'][predictor]['estimated']:.3f})"
                for one in seeds
            )
            alone = f"{entry['reference']:.3f}" if "reference" in entry else ""
            rows.append((f"`{item.name}`", predictor, figures, alone, f"{entry['chance']:.3f}"))
    return table(("method", "predictor", "Dice (statistics estimated again)", "labels alone", "chance"), rows)


def costs(items: Iterable[Registered]) -> str:
    """What `speed/iteration_cost.py --method all` measured."""
    found = read(COSTS)
    rows = []
    for item in items:
        for dims in item.card.dims:
            one: Mapping[str, Any] = found.get(f"{item.name} {dims}D", {})
            if one:
                memory = f"{one['memory']:.2f}" if "memory" in one else ""
                rows.append((f"`{item.name}`", f"{dims}D", f"`{one['network']}`", f"{one['harness'] / one['bare']:.2f}",
                             f"{one['bare'] / one['supervised']:.2f}", memory))  # fmt: skip
    if not rows:
        return "Not measured yet."
    return table(
        ("method", "dims", "network", "harness / bare loop", "time / `supervised`", "memory / `supervised`"), rows
    )


def published_rows(items: Iterable[Registered]) -> str:
    """Which suites name a method, with the presets of their rows."""
    named: dict[str, dict[str, set[str]]] = {}
    for suite in names():
        for cell in expand(load(suite)):
            named.setdefault(str(cell.method), {}).setdefault(cell.preset or "", set()).add(suite)
    rows = [
        (f"`{item.name}`", f"`{preset}`" if preset else "defaults", ", ".join(f"`{suite}`" for suite in sorted(suites)))
        for item in items
        for preset, suites in sorted(named.get(item.name, {}).items())
    ]
    return table(("method", "preset", "suites"), rows)


def page() -> str:
    """The whole page."""
    items = methods()
    parts = (
        START.format(count=len(items)) + overview(items),
        LEARNING + learned(items),
        COST + costs(items),
        ROWS + published_rows(items),
    )
    return "\n\n".join(parts) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Adds the page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
