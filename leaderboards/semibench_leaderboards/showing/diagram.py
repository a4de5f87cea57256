"""The critical-difference diagram: average ranks on a line, bars over rows that can't be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semibench.contracts.errors import UsageError
from semibench.files import write_atomically
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranking import Pair, Ranking
from semibench_leaderboards.showing.tables import caption

FORMATS = (".svg", ".png", ".pdf")
INK, BAR = "#1b1f24", "#b3261e"


def critical_difference(board: Board, ranking: Ranking, path: Path) -> Path:
    """Draws the ranked rows of a board: each at its average rank over cases (1 is best), and for each group of several rows that
    can't be told apart a bar with a dot at every member. Demšar, JMLR 2006, figure 1, with Wilcoxon and Holm
    instead of Nemenyi. Raises UsageError with fewer than two ranked rows, or for an unknown kind of file."""
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
    figure = Figure(figsize=(9, height), layout=None)
    FigureCanvasAgg(figure)
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
    told = f"average rank over {ranking.n} {ranking.unit}s (1 is best)"
    axis.text((low + high) / 2, top - 0.42, told, ha="center", va="bottom", fontsize=8, color=INK)
    for number, members in enumerate(bars):
        y = top + 0.16 + 0.26 * number
        axis.plot([members[0], members[-1]], [y, y], color=BAR, linewidth=3.2, solid_capstyle="round", zorder=3)
        axis.plot(members, [y] * len(members), "o", color=BAR, markersize=5.5, markeredgecolor="white", zorder=4)
    for number, name in enumerate(names):
        on_left = number < left
        place = number if on_left else len(names) - 1 - number
        y = top + 0.3 + 0.26 * (len(bars) + place)
        end = low - 0.05 * margin if on_left else high + 0.05 * margin
        axis.plot([average[name], average[name], end], [top, y, y], color=INK, linewidth=0.9, zorder=1)
        text = f"{name}  {average[name]:.2f}" if on_left else f"{average[name]:.2f}  {name}"
        where = end - 0.02 * margin if on_left else end + 0.02 * margin
        axis.text(where, y, text, ha="right" if on_left else "left", va="center", fontsize=9, color=INK)
    look: dict[str, Any] = {
        "format": path.suffix[1:],
        "dpi": 150,
        "facecolor": "white",
        "bbox_inches": "tight",
        "pad_inches": 0.12,
    }
    write_atomically(path, lambda draft: figure.savefig(draft, **look))
    return path


def scatter(board: Board, first: str, second: str, pair: Pair, path: Path) -> Path:
    """Every case as a point: the second row's value against the first's, and the differences in order of size."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(pair.second_values, pair.first_values, "o", color=BAR, markersize=4, alpha=0.6, markeredgewidth=0)
    both = [value for value in (*pair.first_values, *pair.second_values) if value == value] or [0.0, 1.0]
    ends = (min(both), max(both))
    left.plot(ends, ends, color=INK, linewidth=0.8)
    left.set_xlabel(second)
    left.set_ylabel(first)
    left.set_title("above the line: more for the row on the left axis", fontsize=8)
    values = sorted(value for value in pair.values if value == value)
    right.bar(range(len(values)), values, color=BAR, width=1.0)
    right.axhline(0, color=INK, linewidth=0.8)
    right.axhline(pair.difference, color=INK, linewidth=0.8, linestyle=":")
    if pair.low is not None and pair.high is not None:
        right.axhspan(pair.low, pair.high, color="0.85", zorder=0)
    right.set_title(f"{first} − {second}: {pair.difference:+.4f}, p = {pair.p:.3g}, n = {pair.n}", fontsize=8)
    right.set_xticks([])
    for axis in (left, right):
        axis.tick_params(labelsize=7)
    figure.suptitle(caption(board), fontsize=9)
    write_atomically(path, lambda draft: figure.savefig(draft, format="png", dpi=130))
    return path
