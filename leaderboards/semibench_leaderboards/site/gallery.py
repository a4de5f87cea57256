"""Test cases for the viewer of the page: image, truth and the predictions of many rows, small enough to be part of it."""

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
from semibench_leaderboards.ranking.boards import Board, Place, Row
from semibench_leaderboards.ranking.ranking import Ranking
from semibench_leaderboards.reading.cases import nan_mean
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing.case_pictures import NoPictureError, Viewer, stored_prediction
from semibench_leaderboards.showing.tables import ordered
from semibench_leaderboards.site.content import row_id

SIDE = 256
"""Longest side of a picture; larger ones are made smaller."""

MOST_ROWS = 40
"""Rows whose predictions are shown: the best of a board."""

BUDGET = 3_000_000
"""Characters of one page's pictures and label maps."""


@dataclass(frozen=True)
class Shown:
    """A row in the viewer: the run nearest to the row's mean in the place that most rows have, and its values by case."""

    row: Row
    record: RunRecord
    own: Mapping[str, float]
    mean: Mapping[str, float]


def gallery(
    board: Board, ranking: Ranking, *, count: int, data_root: Path | None = None
) -> tuple[dict[str, Any] | None, str]:
    """The viewer's data, or None and why there is none.

    Opens the data set of the track and the predictions that runs kept. As many cases as `count` and BUDGET allow; what was left
    out is said under "left_out".
    """
    shown = _rows(board, ranking)
    if not count:
        return None, "the viewer was left out (--viewer 0)"
    if not shown:
        finished = any(row.counted for row in board.rows)
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
    names = [{"id": row_id(item.row), "name": item.row.name, "run": _told(item.record)} for item in shown]
    made = {
        "rows": [item for item in names if any(item["id"] in case["rows"] for case in cases)],
        "cases": cases, "classes": list(viewer.card.classes),
        "colours": colours(len(viewer.card.classes) - 1), "left_out": left_out,
        "checkpoint": board.view.checkpoint,
    }  # fmt: skip
    return made, ""


def colours(count: int) -> list[str]:
    """Colours of the predicted classes: those of all pictures, then further hues."""
    more = (colorsys.hls_to_rgb((0.1 + k * 0.618034) % 1.0, 0.66, 0.7) for k in range(max(0, count - len(CLASSES))))
    return [*CLASSES, *("#" + "".join(f"{round(255 * part):02x}" for part in tint) for tint in more)]


def _told(record: RunRecord) -> str:
    axes = zip(("draw", "fold", "seed"), record.replicate, strict=True)
    return ", ".join(f"{axis} {value}" for axis, value in axes if value is not None)


def _rows(board: Board, ranking: Ranking) -> list[Shown]:
    rows = [row for row in ordered(board, ranking) if row.counted]
    places = Counter(place for row in rows for place in sorted(row.places, key=str))
    if not places:
        return []
    place = max(places, key=lambda found: (places[found], _negative(found)))
    found = []
    for row in rows:
        there = [
            (record, scores) for record, scores in zip(row.counted, row.scores, strict=True) if record.place == place
        ]
        kept = [
            (record, scores)
            for record, scores in there
            if (record.folder / "predictions" / board.view.checkpoint).is_dir()
        ]
        if not kept:
            continue
        aim = float(np.mean([np.nanmean(scores.per_case) if len(scores.cases) else 0.0 for _, scores in there]))
        record, scores = min(
            kept, key=lambda pair: (abs(float(np.nanmean(pair[1].per_case)) - aim), pair[0].replicate[2])
        )
        same = [other for _, other in there if other.cases.digest == scores.cases.digest]
        means = nan_mean(np.stack([other.per_case for other in same]), axis=0)
        own = dict(zip(scores.cases.keys, scores.per_case.tolist(), strict=True))
        found.append(Shown(row, record, own, dict(zip(scores.cases.keys, means.tolist(), strict=True))))
    return found[:MOST_ROWS]


def _negative(place: Place) -> tuple[int, int]:
    """For ties: the lowest draw and fold first."""
    return -(place[0] or 0), -(place[1] or 0)


def chosen_cases(values: Sequence[Mapping[str, float]], higher: bool, count: int) -> list[tuple[str, str]]:
    """Which cases to show, and why: a third each of those that are hard for all, that rows differ in most, and of the range
    between. values: by row, by case. A case stands once; ties go by name. In the order hard, differing, typical, easy."""
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


def _case(viewer: Viewer, board: Board, shown: Sequence[Shown], key: str, why: str) -> dict[str, Any]:
    asked: dict[str, tuple[RunRecord, str, str]] = {}
    lacking = ""
    if key not in viewer.refs:
        raise NoPictureError(f"case {key} isn't one of data set {viewer.card.name!r}")
    for item in shown:
        try:
            stored_prediction(item.record, board.view.checkpoint, item.row.predictor, viewer.refs[key])
        except NoPictureError as error:
            lacking = lacking or str(error)
            continue
        asked[row_id(item.row)] = (item.record, board.view.checkpoint, item.row.predictor)
    if not asked:
        raise NoPictureError(lacking or f"no prediction of {key}")
    base = viewer.view(key, asked)
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
    """The slice with most foreground, the middle one where there is none."""
    filled = (labels > 0).sum(axis=tuple(other for other in range(3) if other != axis))
    return int(filled.argmax()) if filled.any() else labels.shape[axis] // 2


def _small(picture: NDArray[Any]) -> tuple[NDArray[np.uint8], Any]:
    """The picture as bytes with sides of at most SIDE, and the index that does the same to a label map."""
    from PIL import Image

    pixels = np.clip(np.round(np.asarray(picture) * 255), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= SIDE:
        return pixels, np.ix_(np.arange(height), np.arange(width))
    size = (max(1, round(height * SIDE / longest)), max(1, round(width * SIDE / longest)))
    made = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BOX))
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(size, (height, width), strict=True)
    )
    return made, np.ix_(rows, columns)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def lengths(labels: NDArray[np.uint8]) -> list[int]:
    """A label map (H, W) as runs in reading order: value, length, value, length ..."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(flat)]]))
    return [int(number) for pair in zip(flat[starts], counts, strict=True) for number in pair]


def _size(case: Mapping[str, Any]) -> int:
    """About how many characters a case takes in the page."""
    maps = [case["truth"] or [], *(row["map"] for row in case["rows"].values())]
    return len(case["image"]) + sum(4 * len(found) for found in maps)
