"""A plan and a result as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semibench.cli.console import Output, cell, duration, table
from semibench.tracking.tables import score_rows, spread

if TYPE_CHECKING:
    from semibench.run.execute import Result


STATES = {
    "new": "new",
    "done": "done already: nothing will be computed (--force runs it again)",
    "resumable": "goes on from its last checkpoint",
    "stale": "done with other code; it is run again",
}


def show_plan(console: Output, facts: Mapping[str, Any], *, brief: bool = False) -> None:
    """What will be done, before it is done (`Plan.summary()`). Phantom data are said loudly. brief: one line with the
    replicate, for the second run of a row and those after it."""
    phantom = facts["data"] == "phantom"
    axes = " · ".join(f"{axis} {facts[axis]}" for axis in ("draw", "fold", "seed") if facts[axis] is not None)
    if brief:
        state = STATES.get(facts["state"], facts["state"])
        console.show(f"the same with {axes}: {state}, run {facts['key']} in {facts['folder']}")
        return
    batch, patch = facts["batch"], " x ".join(str(side) for side in facts["patch"])
    rows = [
        ("task", f"{facts['protocol']} on {facts['dataset']}, {facts['dims']}D, classes {cell(facts['classes'])}"),
        ("data", "PHANTOM (procedural stand-in)" if phantom else "real files"),
        ("method", f"{facts['method']} with {facts['backbone']} ({cell(facts['backbone_options'])})"),
        (
            "training",
            f"recipe {facts['recipe']}: {facts['iterations']} iterations of {batch['labeled']} labeled + "
            f"{batch['unlabeled']} unlabeled, patch {patch}, {facts['precision']} on {facts['device']}",
        ),
        ("replicate", axes),
    ]
    synthetic = facts.get("synthetic")
    if synthetic:
        rows.append(("synthetic", f"{synthetic['count']} cases by {synthetic['generator']}, added to unlabeled"))
    estimate = facts.get("estimate") or {}
    if estimate and estimate.get("training_seconds") is None:
        rows.append(("time", f"unknown: {estimate['source']}"))
    if estimate.get("training_seconds") is not None:
        told = f"training about {duration(estimate['training_seconds'])} ({estimate['source']})"
        if synthetic:
            known = estimate.get("generator_seconds")
            told += "; generator " + (f"about {duration(known)}" if known is not None else "not measured yet")
        rows.append(("time", told))
    rows += [("state", STATES.get(facts["state"], facts["state"])), ("run", f"{facts['key']} in {facts['folder']}")]
    rows += [("", reason) for reason in facts["reasons"]]
    console.show(table(("plan", ""), rows))
    console.show()
    roles = [(role, of["cases"], of["groups"], cell(of["domains"])) for role, of in facts["cases"].items()]
    console.show(table(("role", "cases", "groups", "by domain"), roles))
    told = (
        f"labels used: {facts['label_budget']} (labeled and validation) · validation from: {facts['validation_from']}"
    )
    console.show(f"{told} · excluded: {len(facts['excluded'])}")
    for warning in facts["warnings"]:
        console.show(f"WARNING: {warning}", style="bold yellow")
    if phantom:
        console.show("PHANTOM DATA: these are no patients; never compare with results on real files.", style="bold red")
    console.show()


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


def show_result(console: Output, result: Result) -> None:
    """Tables of scores, where everything is, and how to look at it."""
    scores = result.record.get("scores", [])
    for convention, (columns, rows) in score_rows(scores).items():
        console.show(
            table(columns, rows, title=f"{convention}: mean ± standard deviation over {_cases(scores)} test cases")
        )
        console.show()
    columns, rows = class_rows(scores)
    if rows:
        console.show(table(columns, rows, title="Dice by class"))
        console.show()
    for part in ("training", "model", "inference"):
        figures = {
            key.replace("_", " "): value for key, value in result.record.get(part, {}).items() if value is not None
        }
        if figures:
            console.show(f"{part}: " + " · ".join(f"{key} {_figure(value)}" for key, value in figures.items()))
    if result.record.get("phantom"):
        console.show("\nThese numbers are from PHANTOM data: they say nothing about real images.", style="bold red")
    console.show(f"\nrun folder: {result.folder}", soft_wrap=True)
    pictures = sorted((result.folder / "pictures").glob("*.png"))
    if pictures:
        console.show(
            f"pictures:   {result.folder / 'pictures'} ({', '.join(picture.name for picture in pictures)})",
            soft_wrap=True,
        )
    if (result.folder / "mlflow.json").is_file():
        console.show("in MLflow:  bench ui", soft_wrap=True)


def _cases(scores: Sequence[Mapping[str, Any]]) -> int:
    return max((int(score["n"]) for score in scores), default=0)


def _figure(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else cell(value)
