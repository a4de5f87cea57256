"""Boards as text: for a terminal of any width, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from semibench.contracts.identity import SHORT
from semibench.files import jsonable
from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board, Row
from semibench_leaderboards.ranking.ranking import Ranking

NOTHING = "–"


def ordered(board: Board, ranking: Ranking) -> list[Row]:
    """Ranked rows, best first, then the others in the board's order."""
    ranked = set(ranking.order)
    return [row for row in board.rows if row.name in ranked] + [row for row in board.rows if row.name not in ranked]


def number(value: float | None, digits: int = 4) -> str:
    """Four decimals below ten, two above; a dash for nothing."""
    if value is None or value != value:
        return NOTHING
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.2f}"


def short(value: float | None) -> str:
    """1.23 M and the like."""
    if value is None or value != value:
        return NOTHING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """0.012 s, 42 s, 3.2 min, 2.1 h."""
    if value is None or value != value:
        return NOTHING
    if value < 100:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 6000 else f"{value / 3600:.3g} h"


@dataclass(frozen=True)
class Column:
    """weight: columns with a smaller one stay longest in a narrow terminal."""

    head: str
    weight: int
    text: Callable[[Board, Ranking, Row], str]


def _rank(board: Board, ranking: Ranking, row: Row) -> str:
    position = ranking.position(row.name)
    return NOTHING if position is None else str(position)


def _mean(board: Board, ranking: Ranking, row: Row) -> str:
    if row.mean is None:
        return NOTHING
    return number(row.mean) if row.std is None else f"{number(row.mean)} ± {number(row.std)}"


def _interval(board: Board, ranking: Ranking, row: Row) -> str:
    return NOTHING if row.low is None else f"{number(row.low)} … {number(row.high)}"


def _group(board: Board, ranking: Ranking, row: Row) -> str:
    return ranking.letters.get(row.name, NOTHING)


def _stability(board: Board, ranking: Ranking, row: Row) -> str:
    place = ranking.stability.get(row.name)
    return NOTHING if place is None else f"{place.low}–{place.high}"


def _axes(board: Board, ranking: Ranking, row: Row) -> str:
    return f"{row.draws} × {row.folds} × {row.seeds}" if row.n else NOTHING


def _worst(board: Board, ranking: Ranking, row: Row) -> str:
    return NOTHING if row.worst is None else f"{row.worst[0]} {number(row.worst[1])}"


COLUMNS = (
    Column("#", 0, _rank),
    Column("row", 0, lambda board, ranking, row: row.name),
    Column("mean ± std", 0, _mean),
    Column("95 % interval", 2, _interval),
    Column("same", 1, _group),
    Column("runs", 1, lambda board, ranking, row: row.runs_text),
    Column("ranks", 4, _stability),
    Column("draws×folds×seeds", 9, _axes),
    Column("predictor", 10, lambda board, ranking, row: row.predictor),
    Column("worst class", 6, _worst),
    Column("empty", 5, lambda board, ranking, row: str(row.empty_prediction) if row.n else NOTHING),
    Column("undefined", 8, lambda board, ranking, row: str(row.undefined) if row.n else NOTHING),
    Column("parameters", 3, lambda board, ranking, row: short(row.parameters)),
    Column("GFLOPs", 7, lambda board, ranking, row: short(row.gflops)),
    Column("training", 3, lambda board, ranking, row: seconds(row.training_seconds)),
    Column("memory", 7, lambda board, ranking, row: f"{row.peak_memory_mb:.0f} MB" if row.peak_memory_mb else NOTHING),
    Column("per case", 7, lambda board, ranking, row: seconds(row.seconds_per_case)),
)


def grid(board: Board, ranking: Ranking, width: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of text; the least important columns are left out until they fit the width (None: all)."""
    rows = ordered(board, ranking)
    cells = {column.head: [column.text(board, ranking, row) for row in rows] for column in COLUMNS}
    kept = list(COLUMNS)
    if len({row.predictor for row in rows}) == 1:
        kept = [column for column in kept if column.head != "predictor"]

    def needed(columns: Sequence[Column]) -> int:
        widths = [max(len(column.head), *(len(text) for text in cells[column.head]), 1) for column in columns]
        return sum(widths) + 2 * len(widths)

    while width is not None and needed(kept) > width and kept[-1] is not None:
        droppable = [column for column in kept if column.weight > 0]
        if not droppable:
            break
        worst = max(column.weight for column in droppable)
        kept.remove(next(column for column in reversed(droppable) if column.weight == worst))
    return [column.head for column in kept], [[cells[column.head][i] for column in kept] for i in range(len(rows))]


def caption(board: Board) -> str:
    """What the numbers are: "dice, semibench-1, last weights; tus (phantom) · self · quick · 3fa94b12"."""
    metric = metric_label(str(board.view.metric), board.unit)
    better = "" if board.higher else ", less is better"
    return f"{metric}{better} · {board.view.convention} · {board.view.checkpoint} weights · {board.title}"


def footnotes(board: Board, ranking: Ranking) -> list[str]:
    """What stands below a board: what is doubtful about it, and why rows aren't ranked."""
    found = [f"{row.name}: {note}" for row in ordered(board, ranking) for note in row.notes]
    found += [f"{name}: not ranked, {why}" for name, why in ranking.unranked.items()]
    found += list(ranking.notes)
    if len(ranking.letters) > 1:
        test = f"Wilcoxon signed-rank over {ranking.n} {ranking.unit}s, Holm, 5 %"
        found.append(f"rows that share a letter can't be told apart ({test}); ranks: 95 % of resampled cases")
    return found


# ---- machine readable ----------------------------------------------------------------------------------------------


def record(board: Board, ranking: Ranking, row: Row) -> dict[str, Any]:
    """Everything about a row as plain values, without rounding."""
    place = ranking.stability.get(row.name)
    return {
        "track": board.digest[:SHORT], "protocol": board.track.protocol.short, "dataset": board.track.dataset.short,
        "data": "phantom" if board.phantom else "real", "recipe": board.recipe, "checkpoint": board.view.checkpoint,
        "predictor": row.predictor, "convention": board.view.convention, "metric": board.view.metric, "unit": board.unit,
        "rank": ranking.position(row.name), "same": ranking.letters.get(row.name), "row": row.key[:SHORT], "name": row.name,
        "method": row.method, "backbone": row.backbone, "mean": row.mean, "std": row.std, "low": row.low, "high": row.high,
        "runs": row.n, "failed": row.failed, "running": row.running, "interrupted": row.interrupted, "stale": row.stale,
        "draws": row.draws, "folds": row.folds, "seeds": row.seeds, "cases": row.cases,
        "worst_class": row.worst[0] if row.worst else None, "worst_mean": row.worst[1] if row.worst else None,
        "empty_truth": row.empty_truth, "empty_prediction": row.empty_prediction, "undefined": row.undefined,
        "missing": row.missing, "parameters": row.parameters, "inference_parameters": row.inference_parameters,
        "gflops": row.gflops, "training_seconds": row.training_seconds, "peak_memory_mb": row.peak_memory_mb,
        "seconds_per_case": row.seconds_per_case, "devices": ", ".join(row.devices), "label_budget": row.label_budget,
        "tuning": row.tuning, "study": row.study,
        "average_rank": ranking.average.get(row.name), "rank_low": place.low if place else None,
        "rank_high": place.high if place else None, "first": place.first if place else None,
        "unranked": ranking.unranked.get(row.name), "notes": "; ".join(row.notes),
    }  # fmt: skip


def document(board: Board, ranking: Ranking) -> dict[str, Any]:
    """A board as one JSON document."""
    rows = [
        record(board, ranking, row)
        | {
            "per_class": dict(row.per_class),
            "means": list(row.means),
            "keys": [run.key[:SHORT] for run in row.counted],
        }
        for row in ordered(board, ranking)
    ]
    made: dict[str, Any] = {
        "title": board.title,
        "phantom": board.phantom,
        "track": board.track.model_dump(mode="json"),
        "digest": board.digest,
        "score": vars(board.view),
        "higher": board.higher,
        "unit": board.unit,
        "warnings": list(board.warnings),
        "rows": rows,
        "pairs": [
            {"first": first, "second": second, "adjusted_p": p} for (first, second), p in ranking.adjusted.items()
        ],
        "groups": [list(group) for group in ranking.groups],
        "independent": {"unit": ranking.unit, "n": ranking.n},
        "notes": list(ranking.notes),
    }
    loaded: dict[str, Any] = jsonable(made)
    return loaded


def to_csv(pairs: Sequence[tuple[Board, Ranking]]) -> str:
    """All columns, unrounded; several boards below each other."""
    rows = [record(board, ranking, row) for board, ranking in pairs for row in ordered(board, ranking)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["track"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(board: Board, ranking: Ranking) -> str:
    """A table with caption, warnings and notes."""
    heads, rows = grid(board, ranking)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    text = [f"**{caption(board)}**", "", *(f"> {warning}" for warning in board.warnings), ""]
    text += [line(heads), "|" + " --- |" * len(heads), *(line(row) for row in rows), ""]
    return "\n".join([*text, *(f"- {note}" for note in footnotes(board, ranking)), ""])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "…": r"--", "–": "--", "×": r"$\times$", "·": r"$\cdot$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def to_latex(board: Board, ranking: Ranking) -> str:
    """A table of the package booktabs; rows that can't be told apart from the first are bold."""
    heads, rows = grid(board, ranking, 100)
    best = set(ranking.letters.get(ranking.order[0], "").split()) if ranking.order else set()
    lines = []
    for row, cells in zip(ordered(board, ranking), rows, strict=True):
        texts = [escape_latex(cell) for cell in cells]
        if best & set(ranking.letters.get(row.name, "").split()):
            texts[heads.index("mean ± std")] = rf"\textbf{{{texts[heads.index('mean ± std')]}}}"
        lines.append(" & ".join(texts) + r" \\")
    notes = [f"% {note}" for note in (*board.warnings, *footnotes(board, ranking))]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}", *notes, r"\begin{table}", r"\centering",
            rf"\caption{{{escape_latex(caption(board))}}}",
            rf"\begin{{tabular}}{{{'rl' + 'l' * (len(heads) - 2)}}}", r"\toprule", " & ".join(map(escape_latex, heads)) + r" \\",
            r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip
