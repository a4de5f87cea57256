"""What a board's page holds, as plain values: rows, runs, values by case, p of pairs, and how other amounts of labels did."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from semibench.contracts.identity import SHORT, canonical, sha256
from semibench.files import jsonable
from semibench.tracking.tables import metric_label
from semibench_leaderboards.ranking.boards import Board, Row
from semibench_leaderboards.ranking.ranking import ComparisonError, Ranking, case_values, place_cases
from semibench_leaderboards.reading.cases import ScoreName, stored_mean
from semibench_leaderboards.reading.differences import entry_record, flat, track_record
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing.tables import ordered, record
from semibench_leaderboards.site.columns import Column, Metric, columns_of, metric_means, metrics_of
from semibench_leaderboards.site.rerun import command

Ranked = tuple[Board, Ranking]

LABELS = ("labeled", "split", "source")
"""Options of a protocol by which tracks may differ and still stand in one plot against the amount of labels."""


DIGITS = 6
"""Significant digits of the figures in a page."""


def page_name(board: Board) -> str:
    """The file of a board: "tus-self-quick-3fa94b12.html", plain letters only."""
    kind = "phantom" if board.phantom else "real"
    view = sha256(canonical([board.view.convention, board.view.metric, board.view.checkpoint, board.view.predictor]))[
        :4
    ]
    words = (board.track.dataset.short, board.track.protocol.short, board.recipe, kind, board.digest[:8], view)
    safe = (
        "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in word).strip("-")
        for word in words
    )
    return "-".join(word or "x" for word in safe) + ".html"


def row_data(board: Board, ranking: Ranking, row: Row, wanted: Sequence[str]) -> dict[str, Any]:
    """One row with its runs and its values by case, in the order of `wanted` (None: the row hasn't the case)."""
    plain = record(board, ranking, row)
    metrics = {name: list(pair) for name, pair in metric_means(board, row).items()}
    values = _values(row)
    first = row.runs[0] if row.runs else None
    made: dict[str, Any] = jsonable(
        plain
        | {f"m:{name}": pair[0] for name, pair in metrics.items()}
        | {
            "id": row_id(row), "digest": row.key, "metrics": metrics, "per_class": dict(row.per_class),
            "runs": [_run(board, row, item) for item in row.runs],
            "n": row.n, "notes": list(row.notes),
            "cases": [_near(values.get(key)) for key in wanted] if values else [],
            "command": command(row.runs) if row.runs else "",
            "options": {name: _shown(value) for name, value in flat(entry_record(first.spec.entry)).items()} if first else {},
            "plugins": _plugins(row.runs), "versions": dict(first.provenance.versions) if first else {},
            "machine": {name: str(value) for name, value in first.provenance.machine.filled().items()} if first else {},
        },
        DIGITS,
    )  # fmt: skip
    return made


def row_id(row: Row) -> str:
    """Short and unique on a board: the digest, and the predictor where it stands on a line of its own."""
    return f"{row.key[:SHORT]}-{sha256(row.name)[:4]}"


def _near(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _values(row: Row) -> dict[str, float]:
    """Value of each case, mean over seeds; nothing where the row's own runs have different test cases."""
    if not row.counted:
        return {}
    try:
        places = sorted(place_cases(row), key=str)
    except ComparisonError:
        return {}
    return case_values(row, places)


def _run(board: Board, row: Row, item: RunRecord) -> dict[str, Any]:
    name = ScoreName(board.view.checkpoint, row.predictor, str(board.view.convention), str(board.view.metric))
    fact = stored_mean(item.scores, name) if item.counts else None
    draw, fold, seed = item.replicate
    return {
        "key": item.key[:SHORT], "draw": draw, "fold": fold, "seed": seed, "state": item.state,
        "mean": None if fact is None else fact.mean, "seconds": item.training.seconds, "device": item.device,
        "split": item.split[:SHORT],
        "ended": (item.ended or "")[:16].replace("T", " "), "error": item.error,
    }  # fmt: skip


def _plugins(runs: Sequence[RunRecord]) -> list[list[str]]:
    """(role, name, distribution and version, digest of the source) of the newest run."""
    if not runs:
        return []
    newest = max(runs, key=lambda item: item.ended or "")
    return [
        [role, part.name, f"{part.distribution} {part.version}".strip(), (part.source or "")[:SHORT]]
        for role, part in newest.provenance.plugins.items()
    ]


def case_keys(board: Board) -> list[str]:
    """All test cases of the counted runs, sorted."""
    return sorted({key for row in board.rows for scores in row.scores for key in scores.cases.keys})


def facts(board: Board) -> list[tuple[str, str]]:
    """The track and the score as names and values."""
    score = {"score": {name: value for name, value in vars(board.view).items() if value is not None}}
    found = flat({**track_record(board.track), **score})
    return [(name, _shown(value)) for name, value in found.items()] + [("track", board.digest)]


def board_data(board: Board, ranking: Ranking, family: Sequence[Ranked] = ()) -> dict[str, Any]:
    """Everything the scripts of a board's page need, but the pictures of cases."""
    metrics = metrics_of(board)
    keys = case_keys(board)
    rows = ordered(board, ranking)
    return {
        "title": board.title, "phantom": board.phantom, "higher": board.higher,
        "metric": {"name": board.view.metric, "label": metric_label(str(board.view.metric), board.unit)},
        "metrics": [{"name": item.name, "label": item.label, "higher": item.higher} for item in metrics],
        "columns": [{"key": c.key, "head": c.head, "kind": c.kind, "first": c.first} for c in columns_of(board, metrics)],
        "rows": [row_data(board, ranking, row, keys) for row in rows],
        "cases": keys,
        "order": [row_id(row) for name in ranking.order for row in rows if row.name == name],
        "adjusted": _pairs(ranking),
        "groups": [[ranking.order.index(name) for name in group] for group in ranking.groups if len(group) > 1],
        "average": [jsonable(ranking.average.get(name), DIGITS) for name in ranking.order],
        "unit": ranking.unit, "independent": ranking.n,
        "family": _family(board, family),
    }  # fmt: skip


def layout(board: Board) -> tuple[list[Column], list[Metric]]:
    """The columns of the board's table, and its further metrics."""
    metrics = metrics_of(board)
    return columns_of(board, metrics), metrics


def _pairs(ranking: Ranking) -> list[float | None]:
    """Adjusted p of the pairs (0, 1), (0, 2) ... (1, 2) ... of the order."""
    order = ranking.order
    found: list[float | None] = []
    for i, first in enumerate(order):
        for second in order[i + 1 :]:
            value = ranking.adjusted.get((first, second), ranking.adjusted.get((second, first)))
            found.append(None if value is None else float(f"{value:.3g}"))
    return found


def family_key(board: Board) -> str:
    """Equal for boards that differ only in the amount of labels: same data, protocol, recipe, tuning and score."""
    track = board.track.model_dump(mode="json")
    options = {name: value for name, value in track["protocol"]["options"].items() if name not in LABELS}
    track["protocol"]["options"] = options
    return canonical([track, vars(board.view), board.recipe])


def families(ranked: Sequence[Ranked]) -> dict[str, list[Ranked]]:
    """Boards by `family_key`."""
    found: dict[str, list[Ranked]] = {}
    for pair in ranked:
        found.setdefault(family_key(pair[0]), []).append(pair)
    return found


def _family(board: Board, family: Sequence[Ranked]) -> list[dict[str, Any]]:
    """Points (labels, mean, interval) of the rows of boards that differ in the amount of labels only; empty where there is one."""
    points: list[dict[str, Any]] = []
    for other, _ in family:
        for row in other.rows:
            if row.mean is not None and row.label_budget is not None:
                points.append(
                    {
                        "name": row.name,
                        "labels": row.label_budget,
                        "mean": row.mean,
                        "low": row.low,
                        "high": row.high,
                        "n": row.n,
                    }
                )
    several = len({point["labels"] for point in points}) > 1 and len(family) > 1
    found: list[dict[str, Any]] = (
        jsonable(sorted(points, key=lambda p: (p["name"], p["labels"])), DIGITS) if several else []
    )
    return found
