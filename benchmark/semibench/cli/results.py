"""Prints the result of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from semibench.cli.console import Output, cell, table
from semibench.tracking.tables import score_rows, spread

if TYPE_CHECKING:
    from semibench.run.execute import Result
    from semibench.runfolder.records import ScoreSummary


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


def show_result(console: Output, result: Result, *, mirrored: bool = False) -> None:
    """Prints tables of scores, and where to find the files of the run. mirrored: also in MLflow."""
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
    if mirrored:
        console.show("in MLflow:  bench ui", soft_wrap=True)


def _cases(scores: Sequence[ScoreSummary]) -> int:
    return max((score.n for score in scores), default=0)


def _figure(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else cell(value)
