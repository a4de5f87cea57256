"""The columns of a board's table on the page: what stands in the cell, and by what it is sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board, Row
from semibench_leaderboards.ranking.ranking import Ranking
from semibench_leaderboards.showing.tables import NOTHING, number, seconds, short


@dataclass(frozen=True)
class Metric:
    """A further metric of the board's convention. label: with its unit; higher: more is better."""

    name: str
    label: str
    higher: bool


@dataclass(frozen=True)
class Column:
    """key: of the row's record, by which the column is sorted. first: the order of the first click, "up" where small is
    good. told: explanation. narrow: still shown on a phone; chosen: shown until the reader chooses otherwise."""

    key: str
    head: str
    told: str
    first: str = "up"
    kind: str = "number"
    narrow: bool = False
    chosen: bool = True


@dataclass(frozen=True)
class Cell:
    """text: what is printed; faint: a smaller text beside it."""

    text: str
    faint: str = ""


def metrics_of(board: Board) -> list[Metric]:
    """The other metrics of the convention that some counted run of the board has a value for, in the convention's order."""
    found: dict[str, Metric] = {}
    for row in board.rows:
        for record in row.counted:
            for score in record.scores:
                name = score.metric
                if score.mean is None or score.convention != board.view.convention:
                    continue
                if name != board.view.metric and name not in found:
                    found[name] = Metric(name, metric_label(name, score.unit), score.higher is not False)
    return list(found.values())


def metric_means(board: Board, row: Row) -> dict[str, tuple[float, float | None]]:
    """Metric -> mean and standard deviation over the row's counted runs."""
    values: dict[str, list[float]] = {}
    for record in row.counted:
        for score in record.scores:
            wanted = (score.checkpoint, score.predictor, score.convention)
            if wanted == (board.view.checkpoint, row.predictor, board.view.convention) and score.mean is not None:
                values.setdefault(score.metric, []).append(score.mean)
    return {
        name: (float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else None)
        for name, found in values.items()
    }


def columns_of(board: Board, metrics: list[Metric]) -> list[Column]:
    """The columns of a board, in order."""
    down = "down" if board.higher else "up"
    label = metric_label(str(board.view.metric), board.unit)
    several = len({row.predictor for row in board.rows}) > 1
    shown = [next((metric for metric in metrics if metric.higher is higher), None) for higher in (True, False)]
    return [
        Column("rank", "#", "rank by mean; rows with fewer than three runs have none", narrow=True),
        Column(
            "name",
            "row",
            "method; with backbone or options where needed to tell rows apart",
            kind="text",
            narrow=True,
        ),
        Column(
            "mean",
            f"{label} ± std",
            "mean over cases, then classes, then runs; standard deviation over runs",
            down,
            narrow=True,
        ),
        Column(
            "low",
            "95 % interval",
            "bootstrap over cases, patients drawn with all of their cases",
            down,
            kind="interval",
        ),
        Column(
            "same",
            "same",
            "rows that share a letter can't be told apart (Wilcoxon signed-rank, Holm, 5 %)",
            kind="text",
            narrow=True,
        ),
        Column("rank_low", "ranks", "middle 95 % of the row's ranks when the cases are drawn again"),
        Column("n", "runs", "runs that count; 3/5: two of five failed; +1: one hasn't ended", "down"),
        *(
            Column(
                f"m:{metric.name}",
                metric.label,
                f"{metric.label}, mean over runs",
                "down" if metric.higher else "up",
                chosen=metric in shown,
            )
            for metric in metrics
        ),
        Column("worst_mean", "worst class", "the class with the worst mean", down, chosen=board_classes(board) > 1),
        Column("empty_prediction", "empty", "(case, class) pairs with an empty prediction, over all runs"),
        Column("missing", "missing", "test cases without a score", chosen=any(row.missing for row in board.rows)),
        Column("parameters", "params", "parameters in training"),
        Column("inference_parameters", "params used", "parameters of the network that predicts", chosen=False),
        Column("gflops", "GFLOPs", "of one prediction", chosen=False),
        Column("training_seconds", "training", "mean over runs"),
        Column("peak_memory_mb", "memory", "highest peak in training", chosen=False),
        Column("seconds_per_case", "per case", "mean inference time of a case", chosen=False),
        Column("label_budget", "labels", "labeled and validation cases", chosen=False),
        *(
            [Column("predictor", "predictor", "network of the method that was scored", kind="text", chosen=False)]
            if several
            else []
        ),
        Column("backbone", "backbone", "network", kind="text", chosen=len({row.backbone for row in board.rows}) > 1),
    ]


def board_classes(board: Board) -> int:
    return max((len(row.per_class) for row in board.rows), default=0)


def letters_text(ranking: Ranking, name: str) -> str:
    """The letters of a row; four and more that follow each other as "b–e"."""
    if name not in ranking.letters:
        return NOTHING
    every = sorted(
        {letter for text in ranking.letters.values() for letter in text.split()}, key=lambda text: (len(text), text)
    )
    places = sorted(every.index(letter) for letter in ranking.letters[name].split())
    spans: list[list[int]] = []
    for place in places:
        if spans and spans[-1][-1] == place - 1:
            spans[-1].append(place)
        else:
            spans.append([place])
    shown = [
        f"{every[span[0]]}–{every[span[-1]]}" if len(span) > 3 else " ".join(every[i] for i in span) for span in spans
    ]
    return " ".join(shown)


def cell(column: Column, board: Board, ranking: Ranking, row: Row, record: Mapping[str, Any]) -> Cell:
    """What a cell shows. record: the row's values by column key."""
    value = record.get(column.key)
    if column.key.startswith("m:"):
        found = record["metrics"].get(column.key[2:])
        return Cell(number(found[0]) if found else NOTHING)
    match column.key:
        case "rank":
            return Cell(NOTHING if value is None else str(value))
        case "mean":
            return Cell(number(row.mean), f"± {number(row.std)}" if row.std is not None else "")
        case "low":
            return Cell(NOTHING if row.low is None else f"{number(row.low)} … {number(row.high)}")
        case "same":
            return Cell(letters_text(ranking, row.name))
        case "rank_low":
            place = ranking.stability.get(row.name)
            return Cell(NOTHING if place is None else f"{place.low}–{place.high}")
        case "n":
            return Cell(row.runs_text)
        case "worst_mean":
            return Cell(NOTHING) if row.worst is None else Cell(number(row.worst[1]), row.worst[0])
        case "empty_prediction" | "missing":
            return Cell(str(value) if row.n else NOTHING)
        case "parameters" | "inference_parameters" | "gflops":
            return Cell(short(value))
        case "training_seconds" | "seconds_per_case":
            return Cell(seconds(value))
        case "peak_memory_mb":
            return Cell(f"{value:.0f} MB" if value else NOTHING)
        case _:
            return Cell(NOTHING if value is None else str(value))
