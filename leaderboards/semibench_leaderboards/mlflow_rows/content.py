"""What a track looks like in MLflow: its rows as parent runs, the board as a run with files, notes in Markdown."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from semibench.contracts.identity import SHORT, canonical, sha256
from semibench.runfolder.reading import flatten
from semibench_leaderboards.mlflow_rows.chart import interval_chart
from semibench_leaderboards.ranking.boards import Board, Row
from semibench_leaderboards.ranking.ranking import Ranking
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing import tables

FORMAT = 2
"""Raised when what is written changes: boards in a store are then written again."""

EXPERIMENT_NOTE, RUN_NOTE = 4900, 7500
"""Characters; MLflow takes 5000 in a tag of an experiment, 8000 in one of a run."""

KIND, ROW, KEY, CODE, STATE, PARENT = (
    "semibench.kind", "semibench.row", "semibench.key", "semibench.code", "semibench.state", "mlflow.parentRunId",
)  # fmt: skip
NOTE = "mlflow.note.content"
FINGERPRINT = "semibench.leaderboard"
BOARD = "board"
"""The run of an experiment that holds the table and the plots has this in place of a row."""


@dataclass(frozen=True)
class ParentRun:
    """A run of MLflow that stands for a row, or (row BOARD) for the whole board. start, end: ms since 1970."""

    row: str
    name: str
    status: str
    start: int
    end: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrackContent:
    """Everything that is written for one track. digest: of the track; rows_of: run key -> row (12 characters); files: of the
    board's run, name -> text; fingerprint: of what the content was made from."""

    digest: str
    title: str
    parents: tuple[ParentRun, ...]
    rows_of: Mapping[str, str]
    tags: Mapping[str, str]
    files: Mapping[str, str]
    fingerprint: str


def fingerprint(records: Iterable[RunRecord]) -> str:
    """Digest of all that the content of a track depends on; cheap: no per-case scores are read."""
    parts = sorted(
        [record.key, record.state, record.code, record.ended or "", record.stale, record.error or "",
         zlib.crc32(record.packed_scores)]
        for record in records
    )  # fmt: skip
    return f"{FORMAT}-{sha256(canonical(parts))[:32]}"


def track_content(board: Board, ranking: Ranking, records: Sequence[RunRecord]) -> TrackContent:
    """The content of a track from its board, its ranking and all of its runs."""
    title = board.title
    columns = _columns(board)
    parents = tuple(_parent(board, ranking, row) for row in board.rows)
    files = {
        "leaderboard.md": tables.to_markdown(board, ranking),
        "leaderboard.csv": tables.to_csv([(board, ranking)]),
        "leaderboard.json": json.dumps(tables.document(board, ranking), ensure_ascii=False) + "\n",
        "intervals.svg": interval_chart(board, ranking),
    }
    mark = fingerprint(records)
    tags = {
        NOTE: _experiment_note(board, ranking),
        "semibench.track": board.digest,
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{SHARED}": _shared_view(columns),
    }
    main = _board_run(board, ranking, records)
    rows_of = {record.key: record.row[:SHORT] for record in records}
    return TrackContent(board.digest, title, (*parents, main), rows_of, tags, files, mark)


# ---- a row ---------------------------------------------------------------------------------------------------------


def _parent(board: Board, ranking: Ranking, row: Row) -> ParentRun:
    start, end, status = _times(row.runs)
    entry = row.runs[0].spec.entry
    params = {
        "method": {"name": entry.method.name, **entry.method.options},
        "terms": entry.terms,
        "backbone": {"name": entry.backbone.name, **entry.backbone.options},
        "init": entry.init,
    }
    return ParentRun(
        row=row.key[:SHORT], name=row.name, status=status, start=start, end=end, tags=_tags(board, ranking, row),
        params={name[:250]: text[:6000] for name, text in flatten(params)}, metrics=row_metrics(board, ranking, row),
    )  # fmt: skip


def _times(runs: Iterable[RunRecord]) -> tuple[int, int | None, str]:
    """Earliest start, latest end, and the status of them together."""
    members = list(runs)
    states = {record.state for record in members}
    starts = [_milliseconds(record.started) for record in members if record.started]
    ends = [_milliseconds(record.ended) for record in members if record.ended]
    status = "RUNNING" if "running" in states else "FINISHED" if "done" in states else "FAILED"
    return min(starts, default=0), None if status == "RUNNING" else max(ends, default=None), status


def _milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def _tags(board: Board, ranking: Ranking, row: Row) -> dict[str, str]:
    position = ranking.position(row.name)
    return {
        KIND: "row",
        ROW: row.key[:SHORT],
        "semibench.track": board.digest[:SHORT],
        "semibench.data_kind": "phantom" if board.phantom else "real",
        "dataset": board.track.dataset.short,
        "protocol": board.track.protocol.short,
        "recipe": board.recipe,
        "method": row.method,
        "backbone": row.backbone,
        "predictor": row.predictor,
        "tuning": row.tuning,
        "rank": str(position) if position else f"not ranked: {ranking.unranked.get(row.name, 'no score')}",
        "same": ranking.letters.get(row.name, ""),
        "worst class": row.worst[0] if row.worst else "",
        "runs": row.runs_text,
        "devices": ", ".join(row.devices)[:5000],
        "notes": "; ".join(row.notes)[:5000],
        NOTE: _row_note(board, ranking, row),
    }


def row_metrics(board: Board, ranking: Ranking, row: Row) -> dict[str, float]:
    """Aggregates of a row under names that every row of the track has: first the board's score with its spread and interval,
    then the figures of cost, then every other score of the default predictor (mean and standard deviation over runs).
    What is undefined is left out."""
    main, place = str(board.view.metric), ranking.stability.get(row.name)
    found: dict[str, float | None] = {
        "rank": ranking.position(row.name),
        "rank.low": place.low if place else None,
        "rank.high": place.high if place else None,
        main: row.mean,
        f"{main}.std": row.std,
        f"{main}.low": row.low,
        f"{main}.high": row.high,
        f"{main}.worst_class": row.worst[1] if row.worst else None,
        "runs": row.n,
        "runs.failed": row.failed,
        "runs.unfinished": row.running + row.interrupted,
        "cases": row.cases,
        "cases.missing": row.missing,
        "empty_predictions": row.empty_prediction,
        "undefined": row.undefined,
        "parameters": row.parameters,
        "inference_parameters": row.inference_parameters,
        "gflops": row.gflops,
        "training_seconds": row.training_seconds,
        "peak_memory_mb": row.peak_memory_mb,
        "seconds_per_case": row.seconds_per_case,
        "label_budget": row.label_budget,
    }
    if not row.n:
        kept = ("runs", "runs.failed", "runs.unfinished")
        return {name: float(value) for name, value in found.items() if value is not None and name in kept}
    found |= _other_scores(row)
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _other_scores(row: Row) -> dict[str, float | None]:
    """`last.semibench-1.iou` and `.std`: the default predictor's means over runs, of every checkpoint, convention, metric."""
    values: dict[str, list[float]] = {}
    for record in row.counted:
        for score in record.scores:
            if score.predictor == row.predictor and score.mean is not None:
                name = f"{score.checkpoint}.{score.convention}.{score.metric}"
                values.setdefault(name, []).append(score.mean)
    found: dict[str, float | None] = {}
    for name, means in values.items():
        found[name] = sum(means) / len(means)
        found[f"{name}.std"] = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return found


def _row_note(board: Board, ranking: Ranking, row: Row) -> str:
    position = ranking.position(row.name)
    lines = [f"## {row.name}", ""]
    if board.phantom:
        lines += ["> **Phantom data**: procedural stand-ins, not patients.", ""]
    place = f"rank **{position}** of {len(ranking.order)}" if position else "not ranked"
    if not position and row.name in ranking.unranked:
        place += f" ({ranking.unranked[row.name]})"
    lines += [f"A row of **{board.title}**: {place}, {row.runs_text} runs.", ""]
    if row.mean is not None:
        spread = "" if row.std is None else f" ± {tables.number(row.std)}"
        span = (
            ""
            if row.low is None
            else f", 95 % interval over cases {tables.number(row.low)} to {tables.number(row.high)}"
        )
        lines += [f"**{tables.caption(board)}**: {tables.number(row.mean)}{spread} over runs{span}.", ""]
    same = _peers(ranking, row.name)
    if same:
        lines += [f"Can't be told apart from: {', '.join(same)}.", ""]
    if len(row.per_class) > 1:
        lines += ["| class | mean |", "|---|---|"]
        lines += [f"| {name} | {tables.number(value)} |" for name, value in row.per_class.items()] + [""]
    if row.counted:
        lines += ["| run | draw | fold | seed | mean |", "|---|---|---|---|---|"]
        for record, mean in zip(row.counted, row.means, strict=True):
            draw, fold, seed = ("–" if value is None else str(value) for value in record.replicate)
            lines.append(f"| `{record.key[:SHORT]}` | {draw} | {fold} | {seed} | {tables.number(mean)} |")
        lines.append("")
    lines += [f"- {note}" for note in row.notes]
    lines.append(f"\nRow `{row.key[:SHORT]}`; rebuilt by `bench leaderboard --sync`.")
    return _cut("\n".join(lines), RUN_NOTE)


def _peers(ranking: Ranking, name: str) -> list[str]:
    mine = set(ranking.letters.get(name, "").split())
    return [other for other in ranking.order if other != name and mine & set(ranking.letters[other].split())]


# ---- the board -----------------------------------------------------------------------------------------------------


def _board_run(board: Board, ranking: Ranking, records: Sequence[RunRecord]) -> ParentRun:
    start, end, _ = _times(records)
    note = "\n".join([f"## Leaderboard of {board.title}", "", tables.to_markdown(board, ranking)])
    tags = {
        KIND: BOARD,
        ROW: BOARD,
        "semibench.track": board.digest[:SHORT],
        "semibench.data_kind": "phantom" if board.phantom else "real",
        "dataset": board.track.dataset.short,
        "protocol": board.track.protocol.short,
        "recipe": board.recipe,
        "rank": "",
        NOTE: _cut(note, RUN_NOTE),
    }
    ended = end if end is not None else start
    return ParentRun(BOARD, "Leaderboard (table and plots)", "FINISHED", start, ended, tags, {}, {})


def _experiment_note(board: Board, ranking: Ranking) -> str:
    """Table of the board, cut at the last row that fits, and what the track is."""
    link = f"[open the leaderboard](#/experiments/{EXPERIMENT_ID}/runs?viewStateShareKey={SHARED})"
    lines = [f"One track of Semibench: top-level runs are its **rows**, their runs are nested below; {link}.", ""]
    lines += [f"**{tables.caption(board)}**", "", *(f"> {warning}" for warning in board.warnings), ""]
    heads = ["#", "row", "mean ± std", "95 % interval", "same", "runs"]
    every, cells = tables.grid(board, ranking)
    where = [every.index(head) for head in heads]
    rows = ["| " + " | ".join(row[i].replace("|", "\\|") for i in where) + " |" for row in cells]
    text = "\n".join([*lines, "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), ""])
    for number, row in enumerate(rows):
        if len(text) + len(row) > EXPERIMENT_NOTE - 400:
            text += f"\n({len(rows) - number} more rows in the run's files)\n"
            break
        text += row + "\n"
    track = json.dumps(board.track.model_dump(mode="json"), indent=1, ensure_ascii=False)
    if len(text) + len(track) < EXPERIMENT_NOTE - 60:
        text += f"\nWhat its runs share:\n\n```json\n{track}\n```"
    return text


EXPERIMENT_ID = "EXPERIMENT_ID"
"""Stands in the note for the id that the store gives."""

SHARED = "semibench"
"""Name of the shared view of the runs table: its columns and their order."""


def _columns(board: Board) -> list[str]:
    main = str(board.view.metric)
    names = ["rank", main, f"{main}.std", f"{main}.low", f"{main}.high", "runs", "training_seconds", "parameters"]
    return [*(f"metrics.`{name}`" for name in names), "tags.`same`"]


def _shared_view(columns: Sequence[str]) -> str:
    """State of the runs table as MLflow's own "share" button stores it (read by its UI only; an older or newer one that
    doesn't know a field leaves it out)."""
    state: dict[str, Any] = {
        "searchFilter": f"tags.`{KIND}` = 'row'", "orderByKey": "metrics.`rank`", "orderByAsc": True,
        "startTime": "ALL", "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs", "datasetsFilter": [], "selectedColumns": list(columns),
        "runsExpanded": {}, "runsPinned": [], "runsHidden": [], "runsHiddenMode": "FIRST_10_RUNS", "viewMaximized": False,
        "runListHidden": False, "isAccordionReordered": False, "groupBy": "", "groupsExpanded": {}, "autoRefreshEnabled": False,
        "useGroupedValuesInCharts": True, "hideEmptyCharts": True, "globalLineChartConfig": {},
    }  # fmt: skip
    return json.dumps(state, separators=(",", ":"))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 60].rsplit("\n", 1)[0] + "\n\n(cut; the whole table is in leaderboard.md)"
