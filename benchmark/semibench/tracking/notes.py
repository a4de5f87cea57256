"""The description of a run in MLflow: Markdown with the table of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from semibench.contracts.identity import SHORT
from semibench.runfolder.reading import RunFolder
from semibench.runfolder.records import ScoreSummary
from semibench.tracking.tables import markdown_table, score_rows
from semibench.untrusted import in_markdown, printable

LIMIT = 7500
"""Maximum number of characters; MLflow cuts tags at 8000."""


def figure(value: Any) -> str:
    """Format a number with four significant digits, or a dash if it is undefined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def results_tables(scores: Sequence[ScoreSummary]) -> list[str]:
    """Return Markdown tables of all scores: one per convention, a row per metric, a column per checkpoint and predictor."""
    lines: list[str] = []
    for convention, (columns, rows) in score_rows(scores).items():
        lines += [f"**{in_markdown(convention)}**: mean ± standard deviation over test cases", ""]
        lines += [markdown_table(columns, rows), ""]
    return lines


def description(run: RunFolder) -> str:
    """Describe the run, its state, its results and the location of its files."""
    spec = run.spec
    lines = [f"## {in_markdown(spec.name)}", "", f"Track: **{in_markdown(spec.track.title)}**", ""]
    if spec.track.is_phantom:
        lines += [
            "> **Phantom data**: procedural stand-ins, not patients. Never compare with results on real files.",
            "",
        ]
    lines += [f"State: **{run.state}**"]
    if run.error:
        lines += ["", "```", printable(run.error[:1500]).replace("```", "'''"), "```"]
    if run.result is not None:
        lines += ["", "### Results", "", *results_tables(run.result.scores)]
        training = run.result.training.filled()
        lines += ["", "### Training", ""] if training else []
        lines += [f"- {name.replace('_', ' ')}: {figure(value)}" for name, value in training.items()]
    lines += ["", f"Run key `{spec.key[:SHORT]}`, row `{spec.row[:SHORT]}`, folder `{run.path}`"]
    text = "\n".join(lines)
    if len(text) <= LIMIT:
        return text
    return text[:LIMIT].rsplit("\n", 1)[0] + "\n\n(cut; the whole table is in result.json)"
