"""Shows a run beside its references: they run in processes of their own while it runs, and a table ends the command."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from semibench.cli.console import Output, duration, stderr, stdout, table
from semibench.cli.progress import Screen
from semibench.contracts.errors import one_line
from semibench.contracts.identity import SHORT
from semibench.data.declared.naming import short_name
from semibench.reporting import Reporter

if TYPE_CHECKING:
    from semibench.run.comparison import Compared
    from semibench.run.execute import Result as Ended
    from semibench.run.request import Request
    from semibench.runfolder.records import Result, ScoreSummary
    from semibench.tracking.beside import MirrorBeside

PATIENCE = 60.0
"""Seconds in which a reference may save its state after the command was stopped."""

LOGS = ".compared"
"""Folder under the folder of runs for what the processes of references print."""


@contextlib.contextmanager
def ended_in_order(reporter: Screen) -> Iterator[None]:
    """Within the block, Ctrl-C ends the command with a sentence, and open bars are closed in any case."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.close()
        stderr().show("interrupted: the same command resumes from the last checkpoint", style="yellow")
        raise typer.Exit(1) from None
    finally:
        reporter.close()


def compared(request: Request, reporter: Screen, mirror: MirrorBeside, *, as_json: bool, brief: bool) -> list[Result]:
    """Executes a run beside its references and prints a table of them.

    Args:
        request: the run.
        reporter: receives progress.
        mirror: mirrors them in MLflow.
        as_json: print no tables.
        brief: the plan differs from one that was shown before only in its replicate.

    Returns:
        The results, that of the request first.
    """
    from semibench.cli.plan_view import show_plan
    from semibench.cli.results import show_result
    from semibench.discovery.registry import registry
    from semibench.run.comparison import comparison
    from semibench.run.execute import execute
    from semibench.run.prepare import prepare

    *beside, own = comparison(request, registry())
    with ended_in_order(reporter):
        plan = prepare(request, reporter)
        show_plan(stderr(), plan.summary(), brief=brief)
        quiet = Reporter()
        todo = [row for row in beside if prepare(row.request, quiet, estimate=False).state != "done" or request.force]
        if beside:
            reporter.note(f"beside it: {'; '.join(row.title for row in beside)} (--no-compare leaves them out)")
        with running(todo, reporter) as references:
            result = execute(plan, reporter, mirror)
            rows = [(row, _result(row, references, reporter, mirror)) for row in beside]
    if not as_json:
        show_result(stdout(), result, mirrored=request.track and mirror.works)
        if rows:
            show_comparison(stdout(), [*rows, (own, result)])
    return [result.record, *(other.record for _, other in rows)]


def _result(row: Compared, references: References, reporter: Screen, mirror: MirrorBeside) -> Ended:
    """Waits for a reference and returns its result; one that failed in its process is run again here, where its error shows."""
    from semibench.run.execute import execute
    from semibench.run.prepare import prepare

    references.wait(row)
    request = row.request.model_copy(update={"force": False})
    plan = prepare(request, reporter, estimate=False)
    return execute(plan, Reporter() if plan.state == "done" else reporter, mirror)


class References:
    """Runs references one after another, each in a process, beside the caller's work. Their results are in their run folders."""

    def __init__(self, rows: Sequence[Compared], reporter: Reporter) -> None:
        self.rows, self.reporter = rows, reporter
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._ended = {row.title: threading.Event() for row in rows}
        self._thread = threading.Thread(target=self._work, name="references", daemon=True)

    def start(self) -> None:
        """Starts the first process."""
        self._thread.start()

    def wait(self, row: Compared) -> None:
        """Waits until the process of a reference has ended."""
        ended = self._ended.get(row.title)
        if ended is None or ended.is_set():
            return
        self.reporter.note(f"waiting for {row.title} ({self._log(row)})")
        while not ended.wait(0.2):
            pass

    def stop(self) -> None:
        """Asks the process that runs to save its state, and waits for it."""
        self._stopped.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)

    def _work(self) -> None:
        for row in self.rows:
            try:
                if not self._stopped.is_set():
                    self._run(row)
            except (OSError, ValueError) as error:  # its turn comes again after the run, and then its error is shown
                self.reporter.note(f"{row.title} can't run beside the run and follows it: {one_line(error)}")
            finally:
                self._ended[row.title].set()

    def _run(self, row: Compared) -> None:
        log = self._log(row)
        log.parent.mkdir(parents=True, exist_ok=True)
        words = ["run", *row.request.words(), "--no-compare", "--no-track", "--json"]
        with log.open("wb") as errors, tempfile.TemporaryFile() as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "semibench.cli", *words],
                stdout=output,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the other one in order
            )
            code = self._process.wait()
            output.seek(0)
            text = output.read()
        if code == 0:
            self.reporter.note(f"{row.title}: {_first_words(row, text)}")

    def _log(self, row: Compared) -> Path:
        name = row.title.replace(", ", "-").replace(" ", "-")
        return row.request.runs / LOGS / f"{short_name(row.request.dataset)}-{name}.txt"


def _first_words(row: Compared, text: bytes) -> str:
    """The Dice and the picture of a finished reference, in one line. text: what its process printed."""
    from semibench.run.comparison import main_dice
    from semibench.runfolder.records import Result as Record
    from semibench.tracking.tables import spread

    record = Record.model_validate_json(text)
    score = main_dice(record)
    dice = "done" if score is None else f"Dice {spread(score.mean, None)}"
    overlays = row.request.runs / str(record.key)[:SHORT] / "pictures" / "overlays.png"
    return f"{dice}; see {overlays}" if overlays.is_file() else dice


@contextlib.contextmanager
def running(rows: Sequence[Compared], reporter: Reporter) -> Iterator[References]:
    """Runs references while the block runs; if the block is left by an exception, they are stopped."""
    references = References(rows, reporter)
    references.start()
    try:
        yield references
    except BaseException:
        references.stop()
        raise


def show_comparison(console: Output, rows: Sequence[tuple[Compared, Ended]]) -> None:
    """Prints a row for each run with its difference from the first, and where to look next. The last row is the run itself."""
    from semibench.run.comparison import main_dice
    from semibench.tracking.tables import spread

    (first, base), request = rows[0], rows[-1][0].request
    cells: list[list[str]] = []
    for row, ended in rows:
        score = main_dice(ended.record)
        dice = "–" if score is None else spread(score.mean, score.std_over_cases)
        difference = _difference(score, main_dice(base.record)) if row is not first else "–"
        seconds = ended.record.training.seconds
        cells.append([row.title, dice, difference, "–" if seconds is None else duration(seconds), str(ended.folder)])
    columns = ["", "Dice", f"minus {first.title}", "training", "run folder"]
    title = "Dice of the last weights, mean ± standard deviation over the same test cases"
    console.show()
    console.show(table(columns, cells, title=title))
    runs = "" if request.runs == Path("runs") else f" --runs {request.runs}"
    console.show(
        f"\nThis is one seed of one split; --seeds 0-2 runs three.\n"
        f"leaderboard with intervals and ranks: bench leaderboard --dataset {short_name(request.dataset)}{runs}",
        soft_wrap=True,
    )


def _difference(score: ScoreSummary | None, base: ScoreSummary | None) -> str:
    if score is None or base is None or score.mean is None or base.mean is None:
        return "–"
    return f"{score.mean - base.mean:+.4f}"
