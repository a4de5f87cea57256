"""A plan and a result as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from semibench.cli.console import cell, duration, table

if TYPE_CHECKING:
    from semibench.run import Plan, Result


def show_plan(console: Console, plan: Plan, facts: Mapping[str, Any]) -> None:
    """What will be done, before it is done. Phantom data are said loudly."""
    if facts.get("phantom"):
        console.print(
            "PHANTOM DATA: procedural stand-ins, not patients; never compare with results on real files.",
            style="bold red",
        )
    rows = [(name.replace("_", " "), _fact(name, value)) for name, value in facts.items() if name != "phantom"]
    rows.append(("data", "PHANTOM (procedural)" if facts.get("phantom") else "real files"))
    console.print(table(("plan", ""), rows))
    state = {"done": "done already: nothing will be computed", "resumable": "goes on from its last checkpoint"}.get(
        plan.state, plan.state
    )
    console.print(f"state: {state} · folder: {plan.folder}\n")


def _fact(name: str, value: Any) -> str:
    if "seconds" in name and isinstance(value, (int, float)):
        return "about " + duration(float(value))
    return cell(value)


def spread(mean: Any, std: Any) -> str:
    """ "0.812 ± 0.043"; a dash for what is undefined."""

    def number(value: Any) -> str:
        if not isinstance(value, (int, float)) or math.isnan(value):
            return "–"
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"

    return number(mean) if number(std) == "–" else f"{number(mean)} ± {number(std)}"


def score_rows(scores: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """convention -> (columns, rows): one row per checkpoint and predictor, one column per metric, mean ± standard
    deviation over cases; then the number of cases and of undefined values."""
    by_convention: dict[str, list[Mapping[str, Any]]] = {}
    for score in scores:
        by_convention.setdefault(str(score["convention"]).split(":", 1)[-1], []).append(score)
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for convention, mine in by_convention.items():
        units = {score["metric"]: score.get("unit") or "" for score in mine}
        columns = [
            "checkpoint",
            "predictor",
            *(f"{m} [{u}]" if u else m for m, u in units.items()),
            "cases",
            "undefined",
        ]
        rows = []
        for key in dict.fromkeys((score["checkpoint"], score["predictor"]) for score in mine):
            row = {score["metric"]: score for score in mine if (score["checkpoint"], score["predictor"]) == key}
            values = [spread(row[m].get("mean"), row[m].get("std_over_cases")) if m in row else "–" for m in units]
            count = max((score.get("n") or 0 for score in row.values()), default=0)
            missing = {m: score.get("missing") for m, score in row.items() if score.get("missing")}
            rows.append([*key, *values, str(count), cell(missing) if missing else "0"])
        tables[convention] = (columns, rows)
    return tables


def class_rows(scores: Iterable[Mapping[str, Any]], metric: str = "dice") -> tuple[list[str], list[list[str]]]:
    """One metric by class, where there is more than one foreground class; else no rows."""
    rows, names = [], []
    for score in scores:
        classes = score.get("per_class") or {}
        if score["metric"] == metric and len(classes) > 1:
            names = list(classes)
            values: Sequence[Any] = [
                value if not isinstance(value, Mapping) else value.get("mean") for value in classes.values()
            ]
            head = [score["checkpoint"], score["predictor"], str(score["convention"]).split(":", 1)[-1]]
            rows.append([*head, *(spread(value, None) for value in values)])
    return ["checkpoint", "predictor", "convention", *names], rows


def show_result(console: Console, plan: Plan, result: Result) -> None:
    """Tables of scores, where everything is, and how to look at it."""
    scores = result.record.get("scores", [])
    for convention, (columns, rows) in score_rows(scores).items():
        console.print(table(columns, rows, title=f"{convention}: mean ± standard deviation over test cases"))
        console.print()
    columns, rows = class_rows(scores)
    if rows:
        console.print(table(columns, rows, title="Dice by class"))
        console.print()
    for part in ("training", "model", "inference"):
        figures = {
            key.replace("_", " "): value for key, value in result.record.get(part, {}).items() if value is not None
        }
        if figures:
            console.print(f"{part}: " + " · ".join(f"{key} {_figure(value)}" for key, value in figures.items()))
    if plan.spec.track.dataset.options.get("phantom") is not None:
        console.print("\nThese numbers are from PHANTOM data: they say nothing about real images.", style="bold red")
    console.print(f"\nrun folder: {result.folder}", soft_wrap=True)
    pictures = sorted((result.folder / "pictures").glob("*.png"))
    if pictures:
        console.print(
            f"pictures:   {result.folder / 'pictures'} ({', '.join(picture.name for picture in pictures)})",
            soft_wrap=True,
        )
    if (result.folder / "mlflow.json").is_file():
        console.print("in MLflow:  bench ui", soft_wrap=True)


def _figure(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else cell(value)
