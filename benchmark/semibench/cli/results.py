"""Prints the plan and the result of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from semibench.cli.console import Output, cell, duration, table
from semibench.tracking.tables import score_rows, spread

if TYPE_CHECKING:
    from semibench.run.execute import Result
    from semibench.runfolder.plans import PlanRecord
    from semibench.runfolder.records import ScoreSummary


STATES = {
    "new": "new",
    "done": "already done: nothing will be computed (--force runs it again)",
    "resumable": "resumes from its last checkpoint",
    "running": "another process is working on it",
    "interrupted": "was stopped before its first checkpoint; it starts again",
    "failed": "failed before its first checkpoint; it starts again",
    "stale": "produced by other code or on another split; it is run again",
}


def show_plan(console: Output, facts: PlanRecord, *, brief: bool = False) -> None:
    """Prints the plan of a run (`Plan.summary()`), with a prominent warning for phantom data.

    brief: print one line with the replicate instead, for further runs of a row."""
    phantom = facts.data == "phantom"
    if brief:
        console.show(f"the same with {facts.axes}: {STATES[facts.state]}, run {facts.key} in {facts.folder}")
        return
    patch = " x ".join(str(side) for side in facts.patch)
    rows = [
        ("task", f"{facts.protocol} on {facts.dataset}, {facts.dims}D, classes {cell(facts.classes)}"),
        ("data", "PHANTOM (procedural stand-in)" if phantom else "real files"),
        ("method", f"{facts.method} with {facts.backbone} ({cell(facts.backbone_options)})"),
        *([("control", "the unlabeled images are the labeled ones")] if facts.control else []),
        (
            "training",
            f"recipe {facts.recipe}: {facts.iterations} iterations of {facts.batch.labeled} labeled + "
            f"{facts.batch.unlabeled} unlabeled, patch {patch}, {facts.precision} on {facts.device}",
        ),
        ("replicate", facts.axes),
    ]
    synthetic, estimate = facts.synthetic, facts.estimate
    if synthetic:
        rows.append(("synthetic", f"{synthetic.count} cases by {synthetic.generator}, added to unlabeled"))
    if estimate.source and estimate.training_seconds is None:
        rows.append(("time", f"unknown: {estimate.source}"))
    if estimate.training_seconds is not None:
        time = f"training about {duration(estimate.training_seconds)} ({estimate.source})"
        if synthetic:
            seconds = estimate.generator_seconds
            time += "; generator " + (f"about {duration(seconds)}" if seconds is not None else "not measured yet")
        rows.append(("time", time))
    rows += [("state", STATES[facts.state]), ("run", f"{facts.key} in {facts.folder}")]
    rows += [("", reason) for reason in facts.reasons]
    console.show(table(("plan", ""), rows))
    console.show()
    roles = [(role, pool.cases, pool.groups, cell(pool.domains)) for role, pool in facts.cases.items()]
    console.show(table(("role", "cases", "groups", "by domain"), roles))
    labels = f"labels used: {facts.label_budget} (labeled and validation) · validation from: {facts.validation_from}"
    console.show(f"{labels} · excluded: {len(facts.excluded)}")
    for warning in facts.warnings:
        console.show(f"WARNING: {warning}", style="bold yellow")
    if phantom:
        console.show(
            "PHANTOM DATA: these are not patients; never compare with results on real files.", style="bold red"
        )
    console.show()


def class_rows(scores: Iterable[ScoreSummary], metric: str = "dice") -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows of one metric by class; there are no rows if there is only one foreground class."""
    rows: list[list[str]] = []
    names: list[str] = []
    for score in scores:
        if score.metric == metric and len(score.per_class) > 1:
            names = list(score.per_class)
            means = (spread(mean, None) for mean in score.per_class.values())
            rows.append([score.checkpoint, score.predictor, score.convention, *means])
    return ["checkpoint", "predictor", "convention", *names], rows


def show_result(console: Output, result: Result) -> None:
    """Prints tables of scores, and where to find the files of the run."""
    scores = result.record.scores
    for convention, (columns, rows) in score_rows(scores).items():
        console.show(
            table(columns, rows, title=f"{convention}: mean ± standard deviation over {_cases(scores)} test cases")
        )
        console.show()
    columns, rows = class_rows(scores)
    if rows:
        console.show(table(columns, rows, title="Dice by class"))
        console.show()
    for part, record in result.record.figures.items():
        figures = [f"{name.replace('_', ' ')} {_figure(value)}" for name, value in record.filled().items()]
        if figures:
            console.show(f"{part}: " + " · ".join(figures))
    if result.record.phantom:
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


def _cases(scores: Sequence[ScoreSummary]) -> int:
    return max((score.n for score in scores), default=0)


def _figure(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else cell(value)
