"""The scores of a run as rows of text, for the terminal and for MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from semibench.runfolder.records import ScoreSummary
from semibench.untrusted import in_markdown


def spread(mean: Any, std: Any) -> str:
    """Format mean and deviation as "0.812 ± 0.043"; a dash if undefined."""

    def number(value: Any) -> str:
        if not isinstance(value, (int, float)) or math.isnan(value):
            return "–"
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"

    return number(mean) if "–" in (number(mean), number(std)) else f"{number(mean)} ± {number(std)}"


def markdown_row(cells: Iterable[str]) -> str:
    """A row of a Markdown table; bars and HTML inside the cells are escaped."""
    return "| " + " | ".join(map(in_markdown, cells)) + " |"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right_aligned: int = 0) -> str:
    """A Markdown table. right_aligned: how many of the last columns are aligned to the right."""
    rule = ["---"] * (len(columns) - right_aligned) + ["---:"] * right_aligned
    return "\n".join([markdown_row(columns), markdown_row(rule), *map(markdown_row, rows)])


def metric_label(metric: str, unit: str) -> str:
    """Format "hd95_mm" in mm as "hd95 [mm]", with the unit once."""
    name = metric.removesuffix(f"_{unit}") if unit else metric
    return f"{name} [{unit}]" if unit else name


def score_rows(scores: Iterable[ScoreSummary]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return convention -> (columns, rows), with one row per metric and one column per checkpoint and predictor.

    Cells are mean ± standard deviation over cases, with the number of values if the metric is undefined for some.
    """
    by_convention: dict[str, list[ScoreSummary]] = {}
    for score in scores:
        by_convention.setdefault(score.convention, []).append(score)
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for convention, mine in by_convention.items():
        heads = list(dict.fromkeys((score.checkpoint, score.predictor) for score in mine))
        cells: dict[str, dict[tuple[str, str], str]] = {}
        for score in mine:
            text = spread(score.mean, score.std_over_cases)
            defined, most = score.values
            if defined != most:
                text += f" ({defined} of {most})"
            label = metric_label(score.metric, score.unit)
            cells.setdefault(label, {})[score.checkpoint, score.predictor] = text
        rows = [[label, *(row.get(head, "–") for head in heads)] for label, row in cells.items()]
        tables[convention] = (["metric", *(f"{checkpoint} {predictor}" for checkpoint, predictor in heads)], rows)
    return tables
