"""Columns of a board's table on the page: the text of their cells and how they are sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.directions import direction
from semibench_leaderboards.showing.tables import (
    MARKS,
    NOTHING,
    attribution,
    difference_text,
    interval_text,
    number,
    seconds,
    share_text,
    short,
    stability_text,
)


@dataclass(frozen=True)
class FurtherMetric:
    """A metric of the board's convention besides the one that the board ranks by."""

    name: str
    label: str
    """Name with the unit."""
    higher: bool
    """Whether more is better."""


@dataclass(frozen=True)
class PageColumn:
    """A column of the page's table."""

    key: str
    """Key of the row's record that the column is sorted by."""
    head: str
    help: str
    """Explanation that the page shows as a tooltip."""
    first: str = "up"
    """Order of the first click: "up" where small values are good."""
    kind: str = "number"
    narrow: bool = False
    """Whether a phone shows the column."""
    visible: bool = True
    """Whether the column is shown until the reader chooses otherwise."""


@dataclass(frozen=True)
class CellText:
    """Text of a cell, and a smaller text beside it."""

    text: str
    faint: str = ""


def metrics_of(board: Board) -> list[FurtherMetric]:
    """The other metrics of the convention for which a counted run of the board has a value, in the convention's order."""
    metrics: dict[str, FurtherMetric] = {}
    for row in board.rows:
        for record in row.states.counted:
            for score in record.scores:
                name = score.metric
                if score.mean is None or score.convention != board.score.convention:
                    continue
                higher = direction(score.convention, name, score.higher)
                if name != board.metric and name not in metrics and higher is not None:
                    metrics[name] = FurtherMetric(name, metric_label(name, score.unit), higher)
    return list(metrics.values())


def metric_means(board: Board, row: Row) -> dict[str, tuple[float, float | None]]:
    """Metric -> mean and standard deviation over the counted runs of the row."""
    values: dict[str, list[float]] = {}
    for record in row.states.counted:
        for score in record.scores:
            shown = (score.checkpoint, score.predictor, score.convention)
            if (
                shown == (board.score.checkpoint, row.identity.predictor, board.score.convention)
                and score.mean is not None
            ):
                values.setdefault(score.metric, []).append(score.mean)
    return {
        name: (float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else None)
        for name, means in values.items()
    }


def comparisons(board: Board) -> list[PageColumn]:
    """The columns that compare a row with the references; only those that the board has are among them."""
    down = "down" if board.higher else "up"
    roles = {row.identity.role for row in board.rows if row.n}
    columns = {
        "control": PageColumn(
            "unlabeled_worth",
            "unlabeled worth",
            "what the unlabeled images are worth: the method minus its control, which is the same method, network, views and "
            "seeds with the labeled images as the unlabeled ones; paired by seed and case, with its 95 % interval",
            down,
        ),
        "all labels": PageColumn(
            "gap_closed",
            "gap closed",
            "(method − labels alone) / (all labels − labels alone), if that gap is larger than its own 95 % interval",
            "down",
        ),
        "labels alone": PageColumn(
            "over_labels_alone",
            "over labels alone",
            "the method minus supervised training with the same labels, paired by seed and case, with its 95 % interval",
            down,
            visible=False,
        ),
    }
    return [column for role, column in columns.items() if role in roles]


def columns_of(board: Board, metrics: list[FurtherMetric]) -> list[PageColumn]:
    """The columns of a board, in order."""
    down = "down" if board.higher else "up"
    label = metric_label(board.metric, board.unit)
    several = len({row.identity.predictor for row in board.rows}) > 1
    shown = [next((metric for metric in metrics if metric.higher is higher), None) for higher in (True, False)]
    return [
        PageColumn(
            "rank",
            "#",
            "rank by mean; rows with fewer than three runs, references (ref) and controls (ctl) aren't ranked",
            narrow=True,
        ),
        PageColumn(
            "name",
            "row",
            "method; with backbone or options where needed to tell rows apart",
            kind="text",
            narrow=True,
        ),
        PageColumn(
            "mean",
            f"{label} ± std",
            "mean over cases, then classes, then runs; standard deviation over runs",
            down,
            narrow=True,
        ),
        PageColumn(
            "low",
            "95 % interval",
            "bootstrap over cases, patients drawn with all of their cases",
            down,
            kind="interval",
        ),
        *comparisons(board),
        PageColumn(
            "same",
            "same",
            "rows that share a letter can't be told apart (Wilcoxon signed-rank, Holm, 5 %)",
            kind="text",
            narrow=True,
        ),
        PageColumn("rank_low", "ranks", "middle 95 % of the row's ranks when the cases are resampled"),
        PageColumn("n", "runs", "runs that count; 3/5: two of five failed; +1: one hasn't finished", "down"),
        *(
            PageColumn(
                f"m:{metric.name}",
                metric.label,
                f"{metric.label}, mean over runs",
                "down" if metric.higher else "up",
                visible=metric in shown,
            )
            for metric in metrics
        ),
        PageColumn(
            "worst_mean", "worst class", "the class with the worst mean", down, visible=board_classes(board) > 1
        ),
        PageColumn("empty_prediction", "empty", "(case, class) pairs with an empty prediction, over all runs"),
        PageColumn(
            "missing", "missing", "test cases without a score", visible=any(row.doubts.missing for row in board.rows)
        ),
        PageColumn("parameters", "params", "parameters during training"),
        PageColumn(
            "inference_parameters", "params used", "parameters of the network used for prediction", visible=False
        ),
        PageColumn("gflops", "GFLOPs", "of one prediction", visible=False),
        PageColumn("training_seconds", "training", "mean over runs"),
        PageColumn("peak_memory_mb", "memory", "highest peak during training", visible=False),
        PageColumn("seconds_per_case", "per case", "mean inference time per case", visible=False),
        PageColumn("label_budget", "labels", "labeled and validation cases", visible=False),
        *(
            [PageColumn("predictor", "predictor", "network of the method that was scored", kind="text", visible=False)]
            if several
            else []
        ),
        PageColumn(
            "backbone",
            "backbone",
            "network",
            kind="text",
            visible=len({row.identity.backbone for row in board.rows}) > 1,
        ),
    ]


def board_classes(board: Board) -> int:
    """Most classes of a row."""
    return max((len(row.statistics.per_class) for row in board.rows), default=0)


def letters_text(ranking: Ranking, name: str) -> str:
    """The letters of a row; four or more consecutive ones are shortened to "b–e"."""
    if name not in ranking.letters:
        return NOTHING
    every = sorted(
        {letter for text in ranking.letters.values() for letter in text.split()}, key=lambda text: (len(text), text)
    )
    indices = sorted(every.index(letter) for letter in ranking.letters[name].split())
    spans: list[list[int]] = []
    for index in indices:
        if spans and spans[-1][-1] == index - 1:
            spans[-1].append(index)
        else:
            spans.append([index])
    shown = [
        f"{every[span[0]]}–{every[span[-1]]}" if len(span) > 3 else " ".join(every[i] for i in span) for span in spans
    ]
    return " ".join(shown)


def cell(column: PageColumn, board: Board, ranking: Ranking, row: Row, record: Mapping[str, Any]) -> CellText:
    """Text of a cell. record: the row's values by column key."""
    value = record.get(column.key)
    if column.key.startswith("m:"):
        means = record["metrics"].get(column.key[2:])
        return CellText(number(means[0]) if means else NOTHING)
    match column.key:
        case "rank":
            return CellText(MARKS.get(row.identity.role, "ref") if value is None else str(value))
        case "unlabeled_worth" | "over_labels_alone":
            text, _, span = difference_text(getattr(attribution(ranking, row), column.key)).partition(" ")
            return CellText(text, span)
        case "gap_closed":
            return CellText(share_text(ranking, row))
        case "mean":
            std = row.statistics.std
            return CellText(number(row.statistics.mean), "" if std is None else f"± {number(std)}")
        case "low":
            return CellText(interval_text(row))
        case "same":
            return CellText(letters_text(ranking, row.name))
        case "rank_low":
            return CellText(stability_text(ranking, row))
        case "n":
            return CellText(row.states.text)
        case "worst_mean":
            worst = row.statistics.worst
            return CellText(NOTHING) if worst is None else CellText(number(worst[1]), worst[0])
        case "empty_prediction" | "missing":
            return CellText(str(value) if row.n else NOTHING)
        case "parameters" | "inference_parameters" | "gflops":
            return CellText(short(value))
        case "training_seconds" | "seconds_per_case":
            return CellText(seconds(value))
        case "peak_memory_mb":
            return CellText(f"{value:.0f} MB" if value else NOTHING)
        case _:
            return CellText(NOTHING if value is None else str(value))
