"""Boards as text: for a terminal of any width, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semibench.contracts.identity import SHORT
from semibench.files import jsonable
from semibench.tracking.tables import markdown_table, metric_label
from semibench.untrusted import in_markdown
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.references import EXPLAINED, Attribution, PairedDifference, control_of, other_code
from semibench_leaderboards.ranking.rows import Row

NOTHING = "–"


def ordered(board: Board, ranking: Ranking) -> list[Row]:
    """The ranked rows, best first, then the others in the board's order, then the references by role."""
    roles = list(EXPLAINED)

    def place(row: Row) -> int:
        if row.identity.role:
            return 2 + roles.index(row.identity.role)
        return 0 if row.name in ranking.order else 1

    return sorted(board.rows, key=place)


def number(value: float | None, digits: int = 4) -> str:
    """Four decimals below ten, two above; a dash for nothing."""
    if value is None or value != value:
        return NOTHING
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.2f}"


def short(value: float | None) -> str:
    """A count with a unit: "1.23 M", "45 k"."""
    if value is None or value != value:
        return NOTHING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A time with a unit: "0.012 s", "42 s", "3.2 min", "2.1 h"."""
    if value is None or value != value:
        return NOTHING
    if value < 100:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 6000 else f"{value / 3600:.3g} h"


def mean_text(row: Row) -> str:
    """ "0.7393 ± 0.0086"."""
    mean, std = row.statistics.mean, row.statistics.std
    return number(mean) if mean is None or std is None else f"{number(mean)} ± {number(std)}"


def interval_text(row: Row) -> str:
    """ "0.7011 … 0.7702"."""
    low, high = row.statistics.low, row.statistics.high
    return NOTHING if low is None else f"{number(low)} … {number(high)}"


def stability_text(ranking: Ranking, row: Row) -> str:
    """ "1–3": the middle 95 % of the row's ranks."""
    interval = ranking.stability.get(row.name)
    return NOTHING if interval is None else f"{interval.low}–{interval.high}"


@dataclass(frozen=True)
class TextColumn:
    """A column of a board as text."""

    head: str
    weight: int
    """A narrow terminal leaves out the columns with the greatest weight first; those with weight 0 always stay."""
    text: Callable[[Board, Ranking, Row], str]


OTHER_NETWORK = "*"
"""Marks a difference from a reference with another network."""


def difference_text(found: PairedDifference | None) -> str:
    """ "+0.0183 (-0.0012 … +0.0377)", with a mark if the networks differ."""
    if found is None:
        return NOTHING
    mark = "" if found.same_network else f" {OTHER_NETWORK}"
    span = "" if found.low is None or found.high is None else f" ({_signed(found.low)} … {_signed(found.high)})"
    return f"{_signed(found.difference)}{span}{mark}"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "") + number(value)


def share_text(ranking: Ranking, row: Row) -> str:
    """ "43 %": the share of the gap between few labels and all labels, with a mark if the networks differ."""
    found = attribution(ranking, row).gap_closed
    if found is None:
        return NOTHING
    return f"{100 * found.share:.0f} %" + ("" if found.same_network else f" {OTHER_NETWORK}")


def attribution(ranking: Ranking, row: Row) -> Attribution:
    """What the gain of a row can be attributed to; empty for references."""
    return ranking.attributions.get(row.name, Attribution())


MARKS = {"": NOTHING, "control": "ctl"}
"""What stands in place of the rank, by role; "ref" for all other roles."""


def _rank(board: Board, ranking: Ranking, row: Row) -> str:
    position = ranking.position(row.name)
    return MARKS.get(row.identity.role, "ref") if position is None else str(position)


def _axes(board: Board, ranking: Ranking, row: Row) -> str:
    statistics = row.statistics
    return f"{statistics.draws} × {statistics.folds} × {statistics.seeds}" if row.n else NOTHING


def _worst(board: Board, ranking: Ranking, row: Row) -> str:
    worst = row.statistics.worst
    return NOTHING if worst is None else f"{worst[0]} {number(worst[1])}"


def _memory(board: Board, ranking: Ranking, row: Row) -> str:
    return f"{row.costs.peak_memory_mb:.0f} MB" if row.costs.peak_memory_mb else NOTHING


WORTH, GAP, GAIN = "unlabeled worth", "gap closed", "over labels alone"
"""Columns that compare a row with the references; a board without the references has none of them."""

COLUMNS = (
    TextColumn("#", 0, _rank),
    TextColumn("row", 0, lambda board, ranking, row: row.name),
    TextColumn("code", 0, lambda board, ranking, row: "stale" if row.doubts.stale else NOTHING),
    TextColumn("mean ± std", 0, lambda board, ranking, row: mean_text(row)),
    TextColumn("95 % interval", 2, lambda board, ranking, row: interval_text(row)),
    TextColumn(WORTH, 2, lambda board, ranking, row: difference_text(attribution(ranking, row).unlabeled_worth)),
    TextColumn(GAP, 2, lambda board, ranking, row: share_text(ranking, row)),
    TextColumn(GAIN, 4, lambda board, ranking, row: difference_text(attribution(ranking, row).over_labels_alone)),
    TextColumn("same", 1, lambda board, ranking, row: ranking.letters.get(row.name, NOTHING)),
    TextColumn("runs", 1, lambda board, ranking, row: row.states.text),
    TextColumn("ranks", 4, lambda board, ranking, row: stability_text(ranking, row)),
    TextColumn("draws×folds×seeds", 9, _axes),
    TextColumn("predictor", 10, lambda board, ranking, row: row.identity.predictor),
    TextColumn("worst class", 6, _worst),
    TextColumn("empty", 5, lambda board, ranking, row: str(row.doubts.empty_prediction) if row.n else NOTHING),
    TextColumn("undefined", 8, lambda board, ranking, row: str(row.doubts.undefined) if row.n else NOTHING),
    TextColumn("parameters", 3, lambda board, ranking, row: short(row.costs.parameters)),
    TextColumn("GFLOPs", 7, lambda board, ranking, row: short(row.costs.gflops)),
    TextColumn("training", 3, lambda board, ranking, row: seconds(row.costs.training_seconds)),
    TextColumn("memory", 7, _memory),
    TextColumn("per case", 7, lambda board, ranking, row: seconds(row.costs.seconds_per_case)),
)


def grid(board: Board, ranking: Ranking, width: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of text. The least important columns are left out until the table fits the width (None: any width)."""
    rows = ordered(board, ranking)
    cells = {column.head: [column.text(board, ranking, row) for row in rows] for column in COLUMNS}
    columns = list(COLUMNS)
    columns = [
        column
        for column in columns
        if column.head not in (WORTH, GAP, GAIN) or any(text != NOTHING for text in cells[column.head])
    ]
    if len({row.identity.predictor for row in rows}) == 1:
        columns = [column for column in columns if column.head != "predictor"]
    if not any(row.doubts.stale for row in rows):
        columns = [column for column in columns if column.head != "code"]
    while width is not None and _needed_width(columns, cells) > width:
        greatest = max(column.weight for column in columns)
        if greatest == 0:
            break
        columns.remove(next(column for column in reversed(columns) if column.weight == greatest))
    heads = [column.head for column in columns]
    return heads, [[cells[head][i] for head in heads] for i in range(len(rows))]


def _needed_width(columns: Sequence[TextColumn], cells: Mapping[str, Sequence[str]]) -> int:
    widths = [max(len(column.head), *(len(text) for text in cells[column.head]), 1) for column in columns]
    return sum(widths) + 2 * len(widths)


def caption(board: Board) -> str:
    """What the numbers are: "dice · semibench-1 · last weights · tus (phantom) · self · quick · 3fa94b12"."""
    metric = metric_label(board.metric, board.unit)
    better = "" if board.higher else ", less is better"
    return f"{metric}{better} · {board.score.convention} · {board.score.checkpoint} weights · {board.title}"


def footnotes(board: Board, ranking: Ranking) -> list[str]:
    """Footnotes of a board: caveats of its rows, why rows are unranked, and how to read letters and ranks."""
    notes = [f"{row.name}: {note}" for row in ordered(board, ranking) for note in row.doubts.notes]
    roles = {row.name: row.identity.role for row in board.rows}
    notes += [f"{name}: not ranked, {why}" for name, why in ranking.unranked.items() if not roles.get(name)]
    notes += reference_notes(board, ranking)
    notes += list(ranking.notes)
    if len(ranking.letters) > 1:
        test = f"Wilcoxon signed-rank over {ranking.n} {ranking.unit}s, Holm, 5 %"
        notes.append(f"rows that share a letter can't be told apart ({test}); ranks: 95 % of resampled cases")
    return notes


def reference_notes(board: Board, ranking: Ranking) -> list[str]:
    """What the references of a board are, and how to read the columns that compare with them."""
    notes = []
    for role, meaning in EXPLAINED.items():
        names = [row.name for row in ordered(board, ranking) if row.identity.role == role]
        if names:
            notes.append(f"{', '.join(names)}: not ranked, {meaning}")
    for row in board.rows:
        control = control_of(board.rows, row) if not row.identity.role else None
        if control is not None and row.n and control.n and other_code(row, control):
            notes.append(
                f"{row.name}: its control was made with other code and is not compared; run the older one again"
            )
    found = list(ranking.attributions.values())
    worse = "" if board.higher else "; below 0 is better"
    if any(item.unlabeled_worth for item in found):
        notes.append(
            f"{WORTH}: a method minus its control, paired by seed and case, with its 95 % interval{worse}: what the unlabeled "
            "images add to everything else in the method"
        )
    shares = [item.gap_closed for item in found if item.gap_closed]
    if shares:
        # that of a row is of its replicates
        gap = max((share.gap for share in shares), key=lambda gap: gap.runs)
        notes.append(
            f"{GAP}: (method − labels alone) / (all labels − labels alone); the gap is {difference_text(gap)}, of {gap.runs} "
            "pairs of runs"
        )
    elif any(row.identity.role == "all labels" for row in board.rows):
        notes.append(f"{GAP}: not shown, since the gap to all labels is no larger than its own 95 % interval")
    if any(item.over_labels_alone for item in found):
        notes.append(f"{GAIN}: a method minus the reference with the same labels, paired by seed and case{worse}")
    same = [item.same_network for item in shares]
    same += [item.over_labels_alone.same_network for item in found if item.over_labels_alone]
    if not all(same):
        notes.append(f"{OTHER_NETWORK} the reference has another network: none was run with this one")
    return notes


# ---- machine readable ----------------------------------------------------------------------------------------------


def record(board: Board, ranking: Ranking, row: Row) -> dict[str, Any]:
    """Everything about a row as plain values, unrounded."""
    who, costs, states, doubts = row.identity, row.costs, row.states, row.doubts
    statistics = row.statistics
    worst, interval = statistics.worst, ranking.stability.get(row.name)
    return {
        "track": board.digest[:SHORT], "protocol": board.track.protocol.short, "dataset": board.track.dataset.short,
        "data": "phantom" if board.phantom else "real", "recipe": board.recipe, "checkpoint": board.score.checkpoint,
        "predictor": who.predictor, "convention": board.score.convention, "metric": board.metric, "unit": board.unit,
        "rank": ranking.position(row.name), "same": ranking.letters.get(row.name), "row": row.key[:SHORT], "name": row.name,
        "method": who.method, "backbone": who.backbone, "mean": statistics.mean, "std": statistics.std,
        "low": statistics.low, "high": statistics.high, "runs": row.n, "failed": states.failed, "running": states.running,
        "interrupted": states.interrupted, "stale": states.stale, "draws": statistics.draws, "folds": statistics.folds,
        "seeds": statistics.seeds, "cases": statistics.cases,
        "worst_class": worst[0] if worst else None, "worst_mean": worst[1] if worst else None,
        "empty_truth": doubts.empty_truth, "empty_prediction": doubts.empty_prediction, "undefined": doubts.undefined,
        "missing": doubts.missing, "parameters": costs.parameters, "inference_parameters": costs.inference_parameters,
        "gflops": costs.gflops, "training_seconds": costs.training_seconds, "peak_memory_mb": costs.peak_memory_mb,
        "seconds_per_case": costs.seconds_per_case, "devices": ", ".join(costs.devices), "label_budget": costs.label_budget,
        "tuning": who.tuning, "study": who.study, "code": who.code, "stale_code": "; ".join(doubts.code_changes),
        "average_rank": ranking.average.get(row.name), "rank_low": interval.low if interval else None,
        "rank_high": interval.high if interval else None, "first": interval.first if interval else None,
        **attribution_record(attribution(ranking, row)), "role": who.role or None, "borrowed": who.borrowed,
        "unranked": ranking.unranked.get(row.name), "notes": "; ".join(doubts.notes),
    }  # fmt: skip


def attribution_record(found: Attribution) -> dict[str, Any]:
    """The differences of a row from the references as plain values, under the same names for every row."""
    values: dict[str, Any] = {}
    for name in ("over_labels_alone", "unlabeled_worth"):
        item: PairedDifference | None = getattr(found, name)
        values |= {
            name: item.difference if item else None, f"{name}_low": item.low if item else None,
            f"{name}_high": item.high if item else None, f"{name}_p": item.p if item else None,
            f"{name}_runs": item.runs if item else None, f"{name}_against": item.against if item else None,
        }  # fmt: skip
    share = found.gap_closed
    return values | {
        "gap_closed": share.share if share else None, "gap_closed_low": share.low if share else None,
        "gap_closed_high": share.high if share else None, "gap": share.gap.difference if share else None,
        "gap_low": share.gap.low if share else None, "gap_high": share.gap.high if share else None,
    }  # fmt: skip


def document(board: Board, ranking: Ranking) -> dict[str, Any]:
    """A board as one JSON document."""
    rows = [
        record(board, ranking, row)
        | {
            "per_class": dict(row.statistics.per_class),
            "means": list(row.statistics.means),
            "keys": [run.key[:SHORT] for run in row.states.counted],
        }
        for row in ordered(board, ranking)
    ]
    contents: dict[str, Any] = {
        "title": board.title,
        "phantom": board.phantom,
        "track": board.track.model_dump(mode="json"),
        "digest": board.digest,
        "score": board.score_record,
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
    converted: dict[str, Any] = jsonable(contents)
    return converted


def to_csv(ranked: Sequence[tuple[Board, Ranking]]) -> str:
    """The records of all rows of all boards, unrounded."""
    rows = [record(board, ranking, row) for board, ranking in ranked for row in ordered(board, ranking)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["track"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(board: Board, ranking: Ranking) -> str:
    """A table with caption, warnings and footnotes."""
    text = [f"**{in_markdown(caption(board))}**", "", *(f"> {in_markdown(line)}" for line in board.warnings), ""]
    text += [markdown_table(*grid(board, ranking)), ""]
    return "\n".join([*text, *(f"- {in_markdown(note)}" for note in footnotes(board, ranking)), ""])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "…": r"--", "–": "--", "×": r"$\times$", "·": r"$\cdot$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Escapes text so that LaTeX prints it literally."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def to_latex(board: Board, ranking: Ranking) -> str:
    """A table that uses booktabs; rows that can't be told apart from the first are bold."""
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
