"""Which finished runs a cell stands for: the run spec decides, all but the bytes of the data.

A cell is resolved on the phantom (so no data need be here) and its spec compared with those of run folders, both without the
data digest and without the phantom's options: so a suite finds its runs wherever they were made, and on a machine without
the data. Runs on other bytes of a data set can't be told apart this way; `status` says where a row mixes digests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semibench.contracts.errors import SemibenchError
from semibench.contracts.identity import Replicate, RunSpec, canonical, sha256
from semibench.run.request import Cell
from semibench_leaderboards.suites.expansion import SuiteCell

if TYPE_CHECKING:
    from semibench.registry import Registry
    from semibench_leaderboards.reading.records import RunRecord


@dataclass(frozen=True)
class Match:
    """A cell and its run. run: the newest one that counts, else the newest at all; None where there is none. problem: why the
    cell can't be resolved."""

    cell: SuiteCell
    run: RunRecord | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        """done, failed, running, interrupted, stale; else missing, lacking (no run defined), absent (a plugin isn't there),
        unresolved."""
        if self.run is not None:
            return "stale" if self.run.state == "done" and self.run.stale else self.run.state
        if self.cell.missing:
            return "absent"
        if self.cell.lacking:
            return "lacking"
        return "unresolved" if self.problem else "missing"


def fingerprint(spec: RunSpec) -> str:
    """Digest of a spec without the data digest and with the phantom's options reduced to whether it is one."""
    record: dict[str, Any] = spec.model_dump(mode="json")
    record["track"]["data"] = ""
    options = record["track"]["dataset"]["options"]
    options["phantom"] = options.get("phantom") is not None
    return sha256(canonical(record))


class Asked:
    """The fingerprints of the runs that cells ask for. Cells that differ in their replicate are resolved once."""

    def __init__(self, plugins: Registry | None = None) -> None:
        self.plugins = plugins
        self.known: dict[Cell, RunSpec | SemibenchError] = {}

    def spec(self, cell: SuiteCell) -> RunSpec:
        """Spec of the cell as far as it can be known without the data. Raises a SemibenchError where there is none."""
        from semibench.run.resolve import resolve

        like = cell.cell.model_copy(
            update={"draw": 0, "seed": 0, "fold": None if cell.fold is None else 0, "phantom": "always"}
        )
        if like not in self.known:
            try:
                self.known[like] = resolve(like.request(), plugins=self.plugins).spec
            except SemibenchError as error:
                self.known[like] = error
        spec = self.known[like]
        if isinstance(spec, SemibenchError):
            raise spec
        axes = spec.replicate
        replicate = Replicate(
            draw=None if axes.draw is None else cell.draw,
            fold=None if axes.fold is None else (cell.fold or 0),
            seed=cell.seed,
        )
        spec = spec.model_copy(update={"replicate": replicate})
        return spec if cell.on_phantom else _on_files(spec)


def _on_files(spec: RunSpec) -> RunSpec:
    options = spec.track.dataset.options | {"phantom": None}
    dataset = spec.track.dataset.model_copy(update={"options": options})
    return spec.model_copy(update={"track": spec.track.model_copy(update={"dataset": dataset})})


def match(cells: Iterable[SuiteCell], runs: Iterable[RunRecord], plugins: Registry | None = None) -> list[Match]:
    """Every cell with its run. A cell that can't be resolved is a match with the problem, never an exception."""
    by_print: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_print[fingerprint(run.spec)].append(run)
    found: list[Match] = []
    asked = Asked(plugins)
    for cell in cells:
        if not cell.runnable:
            found.append(Match(cell))
            continue
        try:
            key = fingerprint(asked.spec(cell))
        except SemibenchError as error:
            found.append(Match(cell, problem=str(error)))
            continue
        found.append(Match(cell, run=_best(by_print.get(key, []))))
    return found


def _best(runs: list[RunRecord]) -> RunRecord | None:
    if not runs:
        return None
    return max(runs, key=lambda run: (run.counts, run.state == "done", run.ended or "", run.started or ""))
