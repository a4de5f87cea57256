"""Diagrams of boards and comparisons: critical difference, intervals, and the values of two rows by case."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semibench.contracts.errors import UsageError
from semibench.files import write_atomically
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.comparison import RowComparison
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.showing.tables import MARKS, caption, number, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
INK, BAR = "#1b1f24", "#b3261e"


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure on a canvas of its own, without global state. Imports matplotlib, which the interval chart does without."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def critical_difference(board: Board, ranking: Ranking, path: Path) -> Path:
    """Draws the critical-difference diagram: average ranks on a line, bars over rows that can't be told apart.

    Each ranked row is placed at its average rank over cases (1 is best). Each group of several rows that can't be told apart is
    a bar with a dot at every member. Demšar, JMLR 2006, figure 1, with Wilcoxon and Holm instead of Nemenyi.

    Raises:
        UsageError: fewer than two rows are ranked, or the file has an unknown ending.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--diagram {path}: expected a file that ends with {', '.join(FORMATS)}")
    average = dict(sorted(ranking.average.items(), key=lambda item: item[1]))
    if len(average) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in ranking.unranked.items())
        raise UsageError(
            f"a diagram needs two ranked rows with values on shared cases, found {len(average)} ({reasons})"
        )
    names = list(average)
    bars = sorted(sorted(average[name] for name in group) for group in ranking.groups if len(group) > 1)
    left = (len(names) + 1) // 2
    depth = max(left, len(names) - left)
    height = 0.75 * (1.7 + 0.26 * (len(bars) + depth))
    figure = _figure(9, height)
    axis = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axis.set_axis_off()
    low, high = 1.0, float(len(names))
    margin = 0.62 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    top = 1.1
    axis.set_ylim(top + 0.4 + 0.26 * (len(bars) + depth), -0.2)
    axis.text((low + high) / 2, top - 0.8, caption(board), ha="center", va="bottom", fontsize=9, color=INK)
    axis.plot([low, high], [top, top], color=INK, linewidth=1.4)
    step = max(1, round((high - low) / 12))
    for tick in range(int(low), int(high) + 1, step):
        axis.plot([tick, tick], [top - 0.09, top], color=INK, linewidth=1.2)
        axis.text(tick, top - 0.14, str(tick), ha="center", va="bottom", fontsize=9, color=INK)
    axis_label = f"average rank over {ranking.n} {ranking.unit}s (1 is best)"
    axis.text((low + high) / 2, top - 0.42, axis_label, ha="center", va="bottom", fontsize=8, color=INK)
    for line, members in enumerate(bars):
        y = top + 0.16 + 0.26 * line
        axis.plot([members[0], members[-1]], [y, y], color=BAR, linewidth=3.2, solid_capstyle="round", zorder=3)
        axis.plot(members, [y] * len(members), "o", color=BAR, markersize=5.5, markeredgecolor="white", zorder=4)
    for position, name in enumerate(names):
        on_left = position < left
        line = position if on_left else len(names) - 1 - position
        y = top + 0.3 + 0.26 * (len(bars) + line)
        end = low - 0.05 * margin if on_left else high + 0.05 * margin
        axis.plot([average[name], average[name], end], [top, y, y], color=INK, linewidth=0.9, zorder=1)
        text = f"{name}  {average[name]:.2f}" if on_left else f"{average[name]:.2f}  {name}"
        x = end - 0.02 * margin if on_left else end + 0.02 * margin
        axis.text(x, y, text, ha="right" if on_left else "left", va="center", fontsize=9, color=INK)
    style: dict[str, Any] = {
        "format": path.suffix[1:],
        "dpi": 150,
        "facecolor": "white",
        "bbox_inches": "tight",
        "pad_inches": 0.12,
    }
    write_atomically(path, lambda draft: figure.savefig(draft, **style))
    return path


def scatter(board: Board, first: str, second: str, comparison: RowComparison, path: Path) -> Path:
    """Draws every case as a point, the first row's value against the second's, and the differences in order of size."""
    figure = _figure(9, 4, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        comparison.second_values, comparison.first_values, "o", color=BAR, markersize=4, alpha=0.6, markeredgewidth=0
    )
    defined = [value for value in (*comparison.first_values, *comparison.second_values) if value == value] or [0.0, 1.0]
    ends = (min(defined), max(defined))
    left.plot(ends, ends, color=INK, linewidth=0.8)
    left.set_xlabel(second)
    left.set_ylabel(first)
    left.set_title("above the line: more for the row on the left axis", fontsize=8)
    values = sorted(value for value in comparison.values if value == value)
    right.bar(range(len(values)), values, color=BAR, width=1.0)
    right.axhline(0, color=INK, linewidth=0.8)
    right.axhline(comparison.difference, color=INK, linewidth=0.8, linestyle=":")
    if comparison.low is not None and comparison.high is not None:
        right.axhspan(comparison.low, comparison.high, color="0.85", zorder=0)
    right.set_title(
        f"{first} − {second}: {comparison.difference:+.4f}, p = {comparison.p:.3g}, n = {comparison.n}", fontsize=8
    )
    right.set_xticks([])
    for axis in (left, right):
        axis.tick_params(labelsize=7)
    figure.suptitle(caption(board), fontsize=9)
    write_atomically(path, lambda draft: figure.savefig(draft, format="png", dpi=130))
    return path


LINE, TOP, LEFT, WIDTH = 22, 56, 260, 860
"""Pixels of the interval chart: height of a row, top margin, left margin, width."""

MOST_ROWS = 200
"""Most rows in the interval chart."""


def interval_chart(board: Board, ranking: Ranking) -> str:
    """SVG of the rows, best first: a dot at the mean, a bar over the 95 % interval, ticks at the means of the runs.

    Written by hand, without matplotlib, because a sync writes hundreds of them.
    """
    rows = [row for row in ordered(board, ranking) if row.statistics.mean is not None][:MOST_ROWS]
    height = TOP + LINE * max(1, len(rows)) + 34
    values = [
        v
        for row in rows
        for v in (row.statistics.mean, row.statistics.low, row.statistics.high, *row.statistics.means)
        if v is not None and v == v
    ]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    right = WIDTH - 70

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (right - LEFT), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1b1f24">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="20" font-weight="bold">{escape(caption(board))}</text>',
        '<text x="12" y="38" fill="#57606a">dot: mean; bar: 95 % interval over cases; ticks: runs; dashed: the labels alone, '
        "all labels</text>",
    ]
    bottom = TOP + LINE * len(rows)
    for step in range(5):
        value = low + (high - low) * step / 4
        parts.append(f'<line x1="{x(value)}" y1="{TOP - 6}" x2="{x(value)}" y2="{bottom}" stroke="#d8dee4"/>')
        parts.append(
            f'<text x="{x(value)}" y="{bottom + 16}" text-anchor="middle" fill="#57606a">{number(value, 3)}</text>'
        )
    for row in rows:
        if row.identity.role in ("labels alone", "all labels") and row.statistics.mean is not None:
            place = x(row.statistics.mean)
            parts.append(
                f'<line x1="{place}" y1="{TOP - 6}" x2="{place}" y2="{bottom}" stroke="#0a5ca8" stroke-dasharray="5 4">'
                f"<title>{escape(row.name)}</title></line>"
            )
    for line, row in enumerate(rows):
        assert row.statistics.mean is not None
        y = TOP + LINE * line + LINE // 2
        position = ranking.position(row.name)
        mark = MARKS.get(row.identity.role, "ref") if position is None else position
        label = f"{mark}  {row.name if len(row.name) <= 34 else row.name[:33] + '…'}"
        parts.append(f'<text x="12" y="{y + 4}"><title>{escape(row.name)}</title>{escape(label)}</text>')
        start, end = row.statistics.low, row.statistics.high
        if start is not None and end is not None:
            parts.append(f'<line x1="{x(start)}" y1="{y}" x2="{x(end)}" y2="{y}" stroke="#8c959f" stroke-width="5"/>')
        for mean in row.statistics.means:
            if mean == mean:
                parts.append(f'<line x1="{x(mean)}" y1="{y - 6}" x2="{x(mean)}" y2="{y + 6}" stroke="#57606a"/>')
        parts.append(f'<circle cx="{x(row.statistics.mean)}" cy="{y}" r="4.5" fill="#b3261e"/>')
        parts.append(f'<text x="{right + 8}" y="{y + 4}">{number(row.statistics.mean)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
