"""Test cases for the viewer of a page: image, truth and predictions of many rows, small enough to be embedded in it."""

from __future__ import annotations

import base64
import colorsys
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semibench.contracts.errors import SemibenchError
from semibench.files import jsonable
from semibench.pictures import CLASSES, gray
from semibench.runfolder.format import PREDICTIONS
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.cases import nan_mean
from semibench_leaderboards.reading.records import DrawFold, RunRecord
from semibench_leaderboards.showing.case_pictures import NoPictureError, Viewer, stored_prediction
from semibench_leaderboards.showing.tables import ordered
from semibench_leaderboards.site.content import row_id

SIDE = 256
"""Longest side of a picture in pixels; larger ones are scaled down."""

MOST_ROWS = 40
"""Most rows whose predictions are shown; the best come first."""

BUDGET = 3_000_000
"""Most characters of the pictures and label maps of one page."""


@dataclass(frozen=True)
class ViewedRow:
    """A row in the viewer, shown by one of its runs in the draw and fold that most rows have."""

    row: Row
    record: RunRecord
    """The run whose mean is nearest to the row's."""
    own: Mapping[str, float]
    """Values of that run by case."""
    mean: Mapping[str, float]
    """Means over the row's runs by case."""


def gallery(
    board: Board, ranking: Ranking, *, count: int, data_root: Path | None = None
) -> tuple[dict[str, Any] | None, str]:
    """Data of the viewer: as many cases as `count` and BUDGET allow, with the predictions that the runs kept.

    Opens the data set of the track. "left_out" is the number of cases that didn't fit the budget.

    Returns:
        The data and an empty text, or None and the reason why there are no pictures.
    """
    shown = _rows(board, ranking)
    if not count:
        return None, "the viewer is turned off (--viewer 0)"
    if not shown:
        finished = any(row.states.counted for row in board.rows)
        return None, "no finished run of this board" + (" kept its predictions" if finished else "")
    try:
        viewer = Viewer(shown[0].record, data_root)
    except (SemibenchError, OSError, ValueError) as error:
        return None, str(error).splitlines()[0]
    cases: list[dict[str, Any]] = []
    used, left_out, reason = 0, 0, ""
    for key, why in chosen_cases([item.mean for item in shown], board.higher, count):
        try:
            case = _case(viewer, board, shown, key, why)
        except (SemibenchError, OSError, ValueError) as error:
            reason = reason or str(error).splitlines()[0]
            continue
        size = _size(case)
        if used + size > BUDGET and cases:
            left_out += 1
            continue
        used += size
        cases.append(case)
    if not cases:
        return None, reason or "no test case to show"
    names = [{"id": row_id(item.row), "name": item.row.name, "run": _replicate_text(item.record)} for item in shown]
    data = {
        "rows": [item for item in names if any(item["id"] in case["rows"] for case in cases)],
        "cases": cases, "classes": list(viewer.card.classes),
        "colours": colours(len(viewer.card.classes) - 1), "left_out": left_out,
        "checkpoint": board.score.checkpoint,
    }  # fmt: skip
    return data, ""


def colours(count: int) -> list[str]:
    """Colours of the predicted classes: those of the harness's pictures, then further hues."""
    more = (colorsys.hls_to_rgb((0.1 + k * 0.618034) % 1.0, 0.66, 0.7) for k in range(max(0, count - len(CLASSES))))
    return [*CLASSES, *("#" + "".join(f"{round(255 * part):02x}" for part in tint) for tint in more)]


def _replicate_text(record: RunRecord) -> str:
    axes = zip(("draw", "fold", "seed"), record.replicate, strict=True)
    return ", ".join(f"{axis} {value}" for axis, value in axes if value is not None)


def _rows(board: Board, ranking: Ranking) -> list[ViewedRow]:
    rows = [row for row in ordered(board, ranking) if row.states.counted]
    frequency = Counter(draw_fold for row in rows for draw_fold in sorted(row.draw_folds, key=str))
    if not frequency:
        return []
    commonest = max(frequency, key=lambda draw_fold: (frequency[draw_fold], _negative(draw_fold)))
    viewed = []
    for row in rows:
        runs = [
            (record, scores)
            for record, scores in zip(row.states.counted, row.scores, strict=True)
            if record.draw_fold == commonest
        ]
        with_predictions = [
            (record, scores)
            for record, scores in runs
            if (record.folder / PREDICTIONS / board.score.checkpoint).is_dir()
        ]
        if not with_predictions:
            continue
        aim = float(np.mean([np.nanmean(scores.per_case) if len(scores.cases) else 0.0 for _, scores in runs]))
        record, scores = min(
            with_predictions, key=lambda pair: (abs(float(np.nanmean(pair[1].per_case)) - aim), pair[0].replicate[2])
        )
        same = [other for _, other in runs if other.cases.digest == scores.cases.digest]
        means = nan_mean(np.stack([other.per_case for other in same]), axis=0)
        own = dict(zip(scores.cases.keys, scores.per_case.tolist(), strict=True))
        viewed.append(ViewedRow(row, record, own, dict(zip(scores.cases.keys, means.tolist(), strict=True))))
    return viewed[:MOST_ROWS]


def _negative(draw_fold: DrawFold) -> tuple[int, int]:
    """Breaks ties in favour of the lowest draw and fold."""
    return -(draw_fold[0] or 0), -(draw_fold[1] or 0)


def chosen_cases(values: Sequence[Mapping[str, float]], higher: bool, count: int) -> list[tuple[str, str]]:
    """Chooses which cases to show: a third each of those that are hard for all rows, that rows differ in most, and in between.

    Args:
        values: case -> value, one mapping for each row.
        higher: whether more is better.
        count: number of cases.

    Returns:
        (case, why it was chosen), hard ones first, then differing, typical and easy ones. A case is chosen once; ties are
        broken by name.
    """
    keys = sorted(set.intersection(*(set(row) for row in values))) if values else []
    if not keys:
        return []
    table = np.array([[row[key] for key in keys] for row in values], dtype=np.float64)
    means = nan_mean(table, axis=0)
    # a case without any value (no prediction anywhere) is the hardest
    merit = np.where(np.isnan(means), -np.inf, means if higher else -means)
    spread = np.where(np.isnan(means), 0.0, nan_mean((table - means) ** 2, axis=0))
    by_merit = sorted(range(len(keys)), key=lambda i: (merit[i], keys[i]))
    by_spread = sorted(range(len(keys)), key=lambda i: (-np.nan_to_num(spread[i]), keys[i]))
    third = max(1, count // 3)
    wanted = [(i, "hard") for i in by_merit[:third]]
    if len(values) > 1:
        wanted += [(i, "rows differ") for i in by_spread if i not in by_merit[:third]][:third]
    rest = [i for i in by_merit if i not in {i for i, _ in wanted}]
    free = min(count - len(wanted), len(rest))
    if free > 0:
        steps = [round((len(rest) - 1) * (k + 1) / free) if free > 1 else len(rest) // 2 for k in range(free)]
        picked = sorted(set(steps))
        wanted += [(rest[s], "easy" if s == len(rest) - 1 else "typical") for s in picked]
    return [(keys[i], why) for i, why in wanted[:count]]


def _case(viewer: Viewer, board: Board, shown: Sequence[ViewedRow], key: str, why: str) -> dict[str, Any]:
    predicted: dict[str, tuple[RunRecord, str, str]] = {}
    problem = ""
    if key not in viewer.refs:
        raise NoPictureError(f"case {key} isn't one of data set {viewer.card.name!r}")
    for item in shown:
        try:
            stored_prediction(item.record, board.score.checkpoint, item.row.identity.predictor, viewer.refs[key])
        except NoPictureError as error:
            problem = problem or str(error)
            continue
        predicted[row_id(item.row)] = (item.record, board.score.checkpoint, item.row.identity.predictor)
    if not predicted:
        raise NoPictureError(problem or f"no prediction of {key}")
    base = viewer.view(key, predicted)
    predictions: Mapping[str, NDArray[np.uint8]] = base.predictions
    image, truth, number = base.image, base.truth, None
    if image.ndim == 4:
        axis = viewer.card.slice_axis or 0
        number = _slice(truth if truth is not None else next(iter(predictions.values())), axis)
        image = np.take(image, number, axis=1 + axis)
        truth = None if truth is None else np.take(truth, number, axis=axis)
        predictions = {name: np.take(labels, number, axis=axis) for name, labels in predictions.items()}
    picture, index = _small(gray(image))
    height, width = picture.shape[:2]
    by_id = {row_id(item.row): item for item in shown}
    return {
        "key": key, "why": why, "slice": number, "width": width, "height": height, "image": _png(picture),
        "truth": None if truth is None else lengths(truth[index]),
        "rows": {
            name: {
                "map": lengths(labels[index]),
                "value": jsonable(by_id[name].own.get(key), 4),
                "mean": jsonable(by_id[name].mean.get(key), 4),
            }
            for name, labels in predictions.items()
        },
    }  # fmt: skip


def _slice(labels: NDArray[np.uint8], axis: int) -> int:
    """Index of the slice with most foreground; the middle one where there is none."""
    filled = (labels > 0).sum(axis=tuple(other for other in range(3) if other != axis))
    return int(filled.argmax()) if filled.any() else labels.shape[axis] // 2


def _small(picture: NDArray[Any]) -> tuple[NDArray[np.uint8], Any]:
    """The picture as bytes with sides of at most SIDE, and the index that scales a label map alike."""
    from PIL import Image

    pixels = np.clip(np.round(np.asarray(picture) * 255), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= SIDE:
        return pixels, np.ix_(np.arange(height), np.arange(width))
    size = (max(1, round(height * SIDE / longest)), max(1, round(width * SIDE / longest)))
    scaled = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BOX))
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(size, (height, width), strict=True)
    )
    return scaled, np.ix_(rows, columns)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def lengths(labels: NDArray[np.uint8]) -> list[int]:
    """Run-length code of a label map (H, W) in reading order: value, length, value, length ..."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(flat)]]))
    return [int(number) for pair in zip(flat[starts], counts, strict=True) for number in pair]


def _size(case: Mapping[str, Any]) -> int:
    """Approximate number of characters that a case takes in the page."""
    maps = [case["truth"] or [], *(row["map"] for row in case["rows"].values())]
    return len(case["image"]) + sum(4 * len(label_map) for label_map in maps)
