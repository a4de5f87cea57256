"""`bench runs`: lists runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semibench.cli.console import emit, stdout, table
from semibench.cli.generated import with_options
from semibench.cli.options import Debug, Json
from semibench.contracts.errors import UsageError
from semibench_leaderboards.commands import options
from semibench_leaderboards.commands.options import option
from semibench_leaderboards.panels import OUTPUT, WHICH
from semibench_leaderboards.reading.run_filter import RunFilter

if TYPE_CHECKING:
    from semibench_leaderboards.reading.records import RunRecord

EPILOG = (
    "Examples:\n\n"
    "bench runs\n\n"
    "bench runs --state failed\n\n"
    "bench runs --dataset tus --method cps --sort score --reverse\n\n"
    "bench runs --json > runs.json"
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


class State(StrEnum):
    """States of a run."""

    done = "done"
    failed = "failed"
    running = "running"
    interrupted = "interrupted"
    stale = "stale"


class Order(StrEnum):
    """Keys that runs can be sorted by."""

    started = "started"
    ended = "ended"
    method = "method"
    dataset = "dataset"
    state = "state"
    score = "score"
    time = "time"


@app.command("runs", epilog=EPILOG)
@with_options
def runs_command(
    run_filter: RunFilter,
    state: Annotated[
        State | None,
        option(
            WHICH, "Only runs in this state; stale: a newer run of the row was made with other code.", "--state", "-s"
        ),
    ] = None,
    runs: options.Runs = Path("runs"),
    order: Annotated[Order, option(OUTPUT, "Sort key.", "--sort", default=True)] = Order.started,
    reverse: Annotated[bool, option(OUTPUT, "Largest or latest first.", "--reverse")] = False,
    most: Annotated[int, option(OUTPUT, "Most runs to show; 0: all.", "--limit", "-n", default=True, min=0)] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List runs with state, main score and time, and why a run failed.

    The score is the convention's main metric for the last weights and the method's default predictor.
    """
    from semibench_leaderboards.commands.naming import report_left_out
    from semibench_leaderboards.ranking.selecting import chosen_runs

    records = chosen_runs(runs, run_filter)
    states = Counter(_state(record) for record in records)
    if state is not None:
        records = [record for record in records if _state(record) == state.value]
        if not records:
            existing = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
            raise UsageError(f"no run here is {state.value}; there are {existing}")
    records = _sorted(records, order, reverse)
    shown = records[:most] if most else records
    if as_json:
        emit([_document(record) for record in records])
    else:
        _show(shown, len(records), states)
    report_left_out(runs)


def _state(record: RunRecord) -> str:
    return "stale" if record.stale else record.state


def main_score(record: RunRecord) -> tuple[str, float] | None:
    """Name and mean of a run's main metric, for the last weights, the default predictor and, where it has it, semibench-1."""
    scores = [score for score in record.scores if score.checkpoint == "last" and score.main and score.mean is not None]
    scores.sort(key=lambda score: score.convention != "semibench-1")
    return next(((score.metric, score.mean) for score in scores if score.mean is not None), None)


def _sorted(records: Sequence[RunRecord], order: Order, reverse: bool) -> list[RunRecord]:
    keys: dict[Order, Callable[[RunRecord], Any]] = {
        Order.started: lambda record: record.started,
        Order.ended: lambda record: record.ended,
        Order.method: lambda record: (record.method, record.backbone, record.row, record.replicate[2]),
        Order.dataset: lambda record: (record.dataset, record.protocol, record.recipe),
        Order.state: _state,
        Order.score: lambda record: (main_score(record) or (None, None))[1],
        Order.time: lambda record: record.training.seconds,
    }
    key = keys[order]
    with_key = [record for record in records if key(record) is not None]
    without_key = [record for record in records if key(record) is None]
    return [*sorted(with_key, key=key, reverse=reverse), *without_key]


def _show(shown: Sequence[RunRecord], total: int, states: Counter[str]) -> None:
    from semibench_leaderboards.showing.tables import NOTHING, number, seconds

    console = stdout()
    heads = ["run", "state", "method", "on", "replicate", "score", "training", "started"]
    rows = []
    for record in shown:
        score = main_score(record)
        axes = zip(("d", "f", "s"), record.replicate, strict=True)
        data = f"{record.dataset}{' (phantom)' if record.phantom else ''} · {record.protocol} · {record.recipe}"
        rows.append(
            [
                record.key[:12],
                _state(record),
                f"{record.method} · {record.backbone}{' · control' if record.spec.entry.is_control else ''}",
                data,
                " ".join(f"{name}{value}" for name, value in axes if value is not None),
                f"{score[0]} {number(score[1])}" if score else NOTHING,
                seconds(record.training.seconds),
                _moment(record.started),
            ]
        )
    if console.width < 110:
        keep = [0, 1, 2, 4, 5] if console.width >= 70 else [0, 1, 2, 5]
        heads, rows = [heads[i] for i in keep], [[row[i] for i in keep] for row in rows]
    console.show(table(heads, rows))
    counts = " · ".join(f"{count} {name}" for name, count in sorted(states.items()))
    more = f" ({total - len(shown)} more: --limit 0)" if total > len(shown) else ""
    console.show(f"\n{total} runs{more}; in all: {counts}")
    for record in shown:
        if record.error and record.state in ("failed", "interrupted"):
            text = record.error if len(record.error) < 300 else record.error[:300] + " …"
            console.show(f"- {record.key[:12]} {record.state}: {text}")


def _moment(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M") if text else "–"


def _document(record: RunRecord) -> dict[str, Any]:
    draw, fold, seed = record.replicate
    score = main_score(record)
    return {
        "key": record.key, "row": record.row, "track": record.track, "folder": str(record.folder), "state": _state(record),
        "error": record.error, "method": record.method, "backbone": record.backbone, "protocol": record.protocol,
        "dataset": record.dataset, "phantom": record.phantom, "recipe": record.recipe, "tuning": record.tuning, "draw": draw,
        "fold": fold, "seed": seed, "score": {"metric": score[0], "mean": score[1]} if score else None,
        "started": record.started, "ended": record.ended, "training": record.training.filled(), "model": record.model.filled(),
        "device": record.device,
    }  # fmt: skip
