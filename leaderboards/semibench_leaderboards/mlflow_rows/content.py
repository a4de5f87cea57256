"""The content of a track in MLflow: its rows as parent runs, the board as a run with files, notes in Markdown."""

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
from semibench.tracking.tables import markdown_row, markdown_table
from semibench.untrusted import in_markdown
from semibench_leaderboards.ranking.boards import Board
from semibench_leaderboards.ranking.ranks import Ranking
from semibench_leaderboards.ranking.rows import Row
from semibench_leaderboards.reading.records import RunRecord
from semibench_leaderboards.showing import tables
from semibench_leaderboards.showing.diagrams import interval_chart

FORMAT = 3
"""Raised when the content changes, so that boards in a store are written again."""

EXPERIMENT_NOTE, RUN_NOTE = 4900, 7500
"""Most characters of a note. MLflow accepts 5000 in a tag of an experiment and 8000 in a tag of a run."""

KIND, ROW, KEY, CODE, STATE, PARENT = (
    "semibench.kind", "semibench.row", "semibench.key", "semibench.code", "semibench.state", "mlflow.parentRunId",
)  # fmt: skip
NOTE = "mlflow.note.content"
FINGERPRINT = "semibench.leaderboard"
BOARD = "board"
"""Value of the tags KIND and ROW of the run that holds an experiment's table and plots."""


@dataclass(frozen=True)
class ParentRun:
    """An MLflow run that represents a row, or the whole board."""

    row: str
    """Digest of the row (12 characters), or BOARD."""
    name: str
    status: str
    start: int
    """Milliseconds since 1970."""
    end: int | None
    """Milliseconds since 1970; None while a run is running."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrackContent:
    """Everything that is written for one track."""

    digest: str
    """Digest of the track in full."""
    title: str
    parents: tuple[ParentRun, ...]
    """The rows, then the board."""
    rows_of: Mapping[str, str]
    """Run key -> row (12 characters)."""
    tags: Mapping[str, str]
    """Tags of the experiment."""
    files: Mapping[str, str]
    """Artifacts of the board's run: name -> text."""
    fingerprint: str
    """Digest of everything that the content depends on."""


def fingerprint(records: Iterable[RunRecord]) -> str:
    """Digest of everything that the content of a track depends on. Cheap: it reads no per-case scores."""
    parts = sorted(
        [record.key, record.state, record.code, record.ended or "", record.stale, record.error or "",
         zlib.crc32(record.packed_scores)]
        for record in records
    )  # fmt: skip
    return f"{FORMAT}-{sha256(canonical(parts))[:32]}"


def track_content(
    board: Board, ranking: Ranking, records: Sequence[RunRecord], lent: Sequence[RunRecord] = ()
) -> TrackContent:
    """The content of a track, from its board, its ranking, all of its runs, and those that other tracks lend to it."""
    files = {
        "leaderboard.md": tables.to_markdown(board, ranking),
        "leaderboard.csv": tables.to_csv([(board, ranking)]),
        "leaderboard.json": json.dumps(tables.document(board, ranking), ensure_ascii=False) + "\n",
        "intervals.svg": interval_chart(board, ranking),
    }
    tags = {
        NOTE: _experiment_note(board, ranking),
        "semibench.track": board.digest,
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{SHARED}": _shared_view(_columns(board)),
    }
    parents = (*(_parent(board, ranking, row) for row in board.own_rows), _board_run(board, ranking, records))
    rows_of = {record.key: record.row[:SHORT] for record in records}
    return TrackContent(board.digest, board.title, parents, rows_of, tags, files, fingerprint([*records, *lent]))


# ---- a row ---------------------------------------------------------------------------------------------------------


def _parent(board: Board, ranking: Ranking, row: Row) -> ParentRun:
    start, end, status = _times(row.states.runs)
    entry = row.states.runs[0].spec.entry
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
    """Earliest start, latest end, and combined status of some runs."""
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
        "method": row.identity.method,
        "backbone": row.identity.backbone,
        "predictor": row.identity.predictor,
        "tuning": row.identity.tuning,
        "reference": row.identity.role,
        "rank": str(position) if position else f"not ranked: {ranking.unranked.get(row.name, 'no score')}",
        "same": ranking.letters.get(row.name, ""),
        "worst class": row.statistics.worst[0] if row.statistics.worst else "",
        "runs": row.states.text,
        "devices": ", ".join(row.costs.devices)[:5000],
        "notes": "; ".join(row.doubts.notes)[:5000],
        NOTE: _row_note(board, ranking, row),
    }


def row_metrics(board: Board, ranking: Ranking, row: Row) -> dict[str, float]:
    """Aggregates of a row, under names that every row of the track has; undefined ones are left out.

    The board's score comes first, with its spread and interval, then the costs, then every other score of the default
    predictor (mean and standard deviation over runs). Before them: the differences from the references, such as
    `unlabeled_worth`, the row minus its control.
    """
    main, interval = board.metric, ranking.stability.get(row.name)
    metrics: dict[str, float | None] = {
        "rank": ranking.position(row.name),
        "rank.low": interval.low if interval else None,
        "rank.high": interval.high if interval else None,
        main: row.statistics.mean,
        f"{main}.std": row.statistics.std,
        f"{main}.low": row.statistics.low,
        f"{main}.high": row.statistics.high,
        f"{main}.worst_class": row.statistics.worst[1] if row.statistics.worst else None,
        "runs": row.n,
        "runs.failed": row.states.failed,
        "runs.unfinished": row.states.running + row.states.interrupted,
        "cases": row.statistics.cases,
        "cases.missing": row.doubts.missing,
        "empty_predictions": row.doubts.empty_prediction,
        "undefined": row.doubts.undefined,
        "parameters": row.costs.parameters,
        "inference_parameters": row.costs.inference_parameters,
        "gflops": row.costs.gflops,
        "training_seconds": row.costs.training_seconds,
        "peak_memory_mb": row.costs.peak_memory_mb,
        "seconds_per_case": row.costs.seconds_per_case,
        "label_budget": row.costs.label_budget,
        **_attribution_metrics(ranking, row),
    }
    if not row.n:
        counts = ("runs", "runs.failed", "runs.unfinished")
        return {name: float(value) for name, value in metrics.items() if value is not None and name in counts}
    metrics |= _other_scores(row)
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def _attribution_metrics(ranking: Ranking, row: Row) -> dict[str, float | None]:
    """`unlabeled_worth`, `.low`, `.high` and so on, as numbers."""
    values = tables.attribution_record(tables.attribution(ranking, row))
    metrics: dict[str, float | None] = {}
    for name in ("over_labels_alone", "unlabeled_worth", "gap_closed", "gap"):
        metrics |= {name: values[name], f"{name}.low": values[f"{name}_low"], f"{name}.high": values[f"{name}_high"]}
    return metrics


def _other_scores(row: Row) -> dict[str, float | None]:
    """Means over runs of the default predictor, as `last.semibench-1.iou` and `.std`: one for each checkpoint, convention and
    metric."""
    values: dict[str, list[float]] = {}
    for record in row.states.counted:
        for score in record.scores:
            if score.predictor == row.identity.predictor and score.mean is not None:
                name = f"{score.checkpoint}.{score.convention}.{score.metric}"
                values.setdefault(name, []).append(score.mean)
    metrics: dict[str, float | None] = {}
    for name, means in values.items():
        metrics[name] = sum(means) / len(means)
        metrics[f"{name}.std"] = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return metrics


def _row_note(board: Board, ranking: Ranking, row: Row) -> str:
    position = ranking.position(row.name)
    lines = [f"## {row.name}", ""]
    if board.phantom:
        lines += ["> **Phantom data**: procedural stand-ins, not patients.", ""]
    rank = f"rank **{position}** of {len(ranking.order)}" if position else "not ranked"
    if not position and row.name in ranking.unranked:
        rank += f" ({ranking.unranked[row.name]})"
    lines += [f"A row of **{in_markdown(board.title)}**: {rank}, {row.states.text} runs.", ""]
    if row.statistics.mean is not None:
        low, high = row.statistics.low, row.statistics.high
        span = "" if low is None else f", 95 % interval over cases {tables.number(low)} to {tables.number(high)}"
        lines += [f"**{in_markdown(tables.caption(board))}**: {tables.mean_text(row)} over runs{span}.", ""]
    gain = tables.attribution(ranking, row)
    if gain.unlabeled_worth is not None:
        text = tables.difference_text(gain.unlabeled_worth)
        lines += [
            f"Its unlabeled images are worth **{text}** (the row minus {in_markdown(gain.unlabeled_worth.against)}).",
            "",
        ]
    same = _peers(ranking, row.name)
    if same:
        lines += [f"Can't be told apart from: {in_markdown(', '.join(same))}.", ""]
    if len(row.statistics.per_class) > 1:
        means = [(name, tables.number(value)) for name, value in row.statistics.per_class.items()]
        lines += [markdown_table(["class", "mean"], means), ""]
    if row.states.counted:
        runs = [
            [
                f"`{record.key[:SHORT]}`",
                *("–" if axis is None else str(axis) for axis in record.replicate),
                tables.number(mean),
            ]
            for record, mean in zip(row.states.counted, row.statistics.means, strict=True)
        ]
        lines += [markdown_table(["run", "draw", "fold", "seed", "mean"], runs), ""]
    lines += [f"- {in_markdown(note)}" for note in row.doubts.notes]
    lines.append(f"\nRow `{row.key[:SHORT]}`; rebuilt by `bench leaderboard --sync`.")
    return _cut("\n".join(lines), RUN_NOTE)


def _peers(ranking: Ranking, name: str) -> list[str]:
    mine = set(ranking.letters.get(name, "").split())
    return [other for other in ranking.order if other != name and mine & set(ranking.letters[other].split())]


# ---- the board -----------------------------------------------------------------------------------------------------


def _board_run(board: Board, ranking: Ranking, records: Sequence[RunRecord]) -> ParentRun:
    start, end, _ = _times(records)
    note = "\n".join([f"## Leaderboard of {in_markdown(board.title)}", "", tables.to_markdown(board, ranking)])
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
    """Table of the board, cut at the last row that fits, and the record of the track."""
    link = f"[open the leaderboard](#/experiments/{EXPERIMENT_ID}/runs?viewStateShareKey={SHARED})"
    lines = [f"One track of Semibench: top-level runs are its **rows**, their runs are nested below; {link}.", ""]
    lines += [
        f"**{in_markdown(tables.caption(board))}**",
        "",
        *(f"> {in_markdown(warning)}" for warning in board.warnings),
        "",
    ]
    heads = ["#", "row", "mean ± std", "95 % interval", "same", "runs"]
    every, cells = tables.grid(board, ranking)
    shown = [every.index(head) for head in heads]
    rows = [markdown_row(row[i] for i in shown) for row in cells]
    text = "\n".join([*lines, markdown_table(heads, ()), ""])
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
"""Placeholder in the note for the id that the store assigns."""

SHARED = "semibench"
"""Name of the shared view of the runs table: its columns and their order."""


COMPARED = ("unlabeled_worth", "unlabeled_worth.low", "unlabeled_worth.high", "gap_closed", "over_labels_alone")
"""Metrics of a row that compare it with the references of its board."""


def _columns(board: Board) -> list[str]:
    main = board.metric
    names = [
        "rank",
        main,
        f"{main}.std",
        f"{main}.low",
        f"{main}.high",
        *COMPARED,
        "runs",
        "training_seconds",
        "parameters",
    ]
    return [*(f"metrics.`{name}`" for name in names), "tags.`same`"]


def _shared_view(columns: Sequence[str]) -> str:
    """State of the runs table as MLflow's own "share" button stores it. Only its UI reads it; a version that doesn't know a
    field ignores it."""
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
