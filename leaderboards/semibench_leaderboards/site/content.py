"""The data of a board's page as plain values: rows, runs, values by case, p of pairs, results with other amounts of labels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from semibench.contracts.identity import SHORT, canonical, sha256
from semibench.files import jsonable
from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.bounds import family
from semibench_leaderboards.ranking.comparison import ComparisonError, case_values, cases_by_draw_fold
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.cases import ScoredMetric, stored_mean
from semibench_leaderboards.reading.differences import entry_record, flat, track_record
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing.tables import ordered, record
from semibench_leaderboards.site.columns import FurtherMetric, PageColumn, columns_of, metric_means, metrics_of
from semibench_leaderboards.site.command_line import command

Ranked = tuple[Board, Ranking]

DIGITS = 6
"""Significant digits of the figures in a page."""


def page_name(board: Board) -> str:
    """File name of a board: "tus-self-quick-phantom-3fa94b12-1a2b.html", ASCII letters and digits only."""
    kind = "phantom" if board.phantom else "real"
    view = sha256(canonical([board.score.convention, board.metric, board.score.checkpoint, board.score.predictor]))[:4]
    words = (board.track.dataset.short, board.track.protocol.short, board.recipe, kind, board.digest[:8], view)
    safe = (
        "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in word).strip("-")
        for word in words
    )
    return "-".join(word or "x" for word in safe) + ".html"


def row_data(board: Board, ranking: Ranking, row: Row, case_order: Sequence[str]) -> dict[str, Any]:
    """One row with its runs and its values by case, in the order of `case_order` (None: the row doesn't have the case)."""
    plain = record(board, ranking, row)
    metrics = {name: list(pair) for name, pair in metric_means(board, row).items()}
    values = _values(row)
    first = row.states.runs[0] if row.states.runs else None
    data: dict[str, Any] = jsonable(
        plain
        | {f"m:{name}": pair[0] for name, pair in metrics.items()}
        | {
            "id": row_id(row), "digest": row.key, "metrics": metrics, "per_class": dict(row.statistics.per_class),
            "runs": [_run(board, row, item) for item in row.states.runs],
            "n": row.n, "notes": list(row.doubts.notes),
            "cases": [_near(values.get(key)) for key in case_order] if values else [],
            "command": command(row.states.runs) if row.states.runs else "",
            "options": {name: _shown(value) for name, value in flat(entry_record(first.spec.entry)).items()} if first else {},
            "plugins": _plugins(row.states.runs), "versions": dict(first.provenance.versions) if first else {},
            "machine": {name: str(value) for name, value in first.provenance.machine.filled().items()} if first else {},
        },
        DIGITS,
    )  # fmt: skip
    return data


def row_id(row: Row) -> str:
    """Short id, unique on a board: from the digest and from the name, which differs by predictor."""
    return f"{row.key[:SHORT]}-{sha256(row.name)[:4]}"


def _near(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _values(row: Row) -> dict[str, float]:
    """Value of each case, mean over seeds; empty where the row's own runs have different test cases."""
    if not row.states.counted:
        return {}
    try:
        draw_folds = sorted(cases_by_draw_fold(row), key=str)
    except ComparisonError:
        return {}
    return case_values(row, draw_folds)


def _run(board: Board, row: Row, item: RunRecord) -> dict[str, Any]:
    score = board.score.model_copy(update={"predictor": row.identity.predictor})
    name = ScoredMetric(score, board.metric)
    fact = stored_mean(item.scores, name) if item.counts else None
    draw, fold, seed = item.replicate
    return {
        "key": item.key[:SHORT], "draw": draw, "fold": fold, "seed": seed, "state": item.state,
        "mean": None if fact is None else fact.mean, "seconds": item.training.seconds, "device": item.device,
        "split": item.split[:SHORT],
        "ended": (item.ended or "")[:16].replace("T", " "), "error": item.error,
    }  # fmt: skip


def _plugins(runs: Sequence[RunRecord]) -> list[list[str]]:
    """[role, name, distribution and version, digest of the source] of the plug-ins of the newest run."""
    if not runs:
        return []
    newest = max(runs, key=lambda item: item.ended or "")
    return [
        [role, part.name, f"{part.distribution} {part.version}".strip(), (part.source or "")[:SHORT]]
        for role, part in newest.provenance.plugins.items()
    ]


def case_keys(board: Board) -> list[str]:
    """Keys of all test cases of the counted runs, sorted."""
    return sorted({key for row in board.rows for scores in row.scores for key in scores.cases.keys})


def facts(board: Board) -> list[tuple[str, str]]:
    """Track and score as names and values."""
    score = {"score": {name: value for name, value in board.score_record.items() if value is not None}}
    values = flat({**track_record(board.track), **score})
    return [(name, _shown(value)) for name, value in values.items()] + [("track", board.digest)]


def board_data(board: Board, ranking: Ranking, relatives: Sequence[Ranked] = ()) -> dict[str, Any]:
    """Everything that the scripts of a board's page need, except the pictures of cases."""
    metrics = metrics_of(board)
    keys = case_keys(board)
    rows = ordered(board, ranking)
    return {
        "title": board.title, "phantom": board.phantom, "higher": board.higher,
        "metric": {"name": board.metric, "label": metric_label(board.metric, board.unit)},
        "metrics": [{"name": item.name, "label": item.label, "higher": item.higher} for item in metrics],
        "columns": [{"key": c.key, "head": c.head, "kind": c.kind, "first": c.first} for c in columns_of(board, metrics)],
        "rows": [row_data(board, ranking, row, keys) for row in rows],
        "cases": keys,
        "order": [row_id(row) for name in ranking.order for row in rows if row.name == name],
        "adjusted": _pairs(ranking),
        "groups": [[ranking.order.index(name) for name in group] for group in ranking.groups if len(group) > 1],
        "average": [jsonable(ranking.average.get(name), DIGITS) for name in ranking.order],
        "unit": ranking.unit, "independent": ranking.n,
        "family": _family(relatives),
    }  # fmt: skip


def layout(board: Board) -> tuple[list[PageColumn], list[FurtherMetric]]:
    """The columns of the board's table, and its further metrics."""
    metrics = metrics_of(board)
    return columns_of(board, metrics), metrics


def _pairs(ranking: Ranking) -> list[float | None]:
    """Adjusted p of the pairs (0, 1), (0, 2) ... (1, 2) ... of the ranked rows."""
    order = ranking.order
    adjusted: list[float | None] = []
    for i, first in enumerate(order):
        for second in order[i + 1 :]:
            value = ranking.adjusted.get((first, second), ranking.adjusted.get((second, first)))
            adjusted.append(None if value is None else float(f"{value:.3g}"))
    return adjusted


def family_key(board: Board) -> str:
    """A key that boards share if they differ only in the amount of labels."""
    return canonical([family(board.track), board.score_record, board.recipe])


def families(ranked: Sequence[Ranked]) -> dict[str, list[Ranked]]:
    """Boards by `family_key`."""
    by_key: dict[str, list[Ranked]] = {}
    for board, ranking in ranked:
        by_key.setdefault(family_key(board), []).append((board, ranking))
    return by_key


def _family(relatives: Sequence[Ranked]) -> list[dict[str, Any]]:
    """Points (labels, mean, interval) of the rows of boards that differ only in the amount of labels; empty for a single board.

    A row that several boards show as a bound is one point, on the curve of its own method. Controls have no curve.
    """
    points: list[dict[str, Any]] = []
    shown: set[tuple[str, str]] = set()
    for other, _ in relatives:
        for row in other.rows:
            key = row.key, row.identity.predictor
            if row.identity.role == "control" or key in shown:
                continue
            shown.add(key)
            if row.statistics.mean is not None and row.costs.label_budget is not None:
                points.append(
                    {
                        "name": row.name.removesuffix(" (all labels)") if row.identity.borrowed else row.name,
                        "labels": row.costs.label_budget,
                        "mean": row.statistics.mean,
                        "low": row.statistics.low,
                        "high": row.statistics.high,
                        "n": row.n,
                    }
                )
    several = len({point["labels"] for point in points}) > 1 and len(relatives) > 1
    ordered_points = sorted(points, key=lambda point: (point["name"], point["labels"]))
    converted: list[dict[str, Any]] = jsonable(ordered_points, DIGITS) if several else []
    return converted
