"""Finds the run of each cell by its run spec, ignoring the bytes of the data.

A cell is resolved on the phantom, so that no data are needed, and its spec is compared with those of the run folders, both
without the data digest and without the phantom's options. A suite thus finds its runs wherever they were made, even on a
machine without the data. Runs on different bytes of a data set can't be told apart this way; `status` warns where a row mixes
digests.
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
    from semibench.discovery.registry import Registry
    from semibench_leaderboards.reading.records import RunRecord


@dataclass(frozen=True)
class Match:
    """A cell and its run."""

    cell: SuiteCell
    run: RunRecord | None = None
    """The newest run that counts, else the newest of all; None where there is none."""
    problem: str = ""
    """Why the cell can't be resolved."""

    @property
    def state(self) -> str:
        """The state of the run or, where there is none, "missing", "lacking" (no run is defined), "absent" (a plug-in isn't
        installed) or "unresolved"."""
        if self.run is not None:
            return "stale" if self.run.state == "done" and self.run.stale else self.run.state
        if self.cell.missing:
            return "absent"
        if self.cell.lacking:
            return "lacking"
        return "unresolved" if self.problem else "missing"


def fingerprint(spec: RunSpec) -> str:
    """Digest of a spec without the data digest, and with only the fact whether it is a phantom instead of the phantom's options."""
    record: dict[str, Any] = spec.model_dump(mode="json")
    record["track"]["data"] = ""
    options = record["track"]["dataset"]["options"]
    options["phantom"] = options.get("phantom") is not None
    return sha256(canonical(record))


class SpecResolver:
    """Resolves cells to run specs. Cells that differ only in their replicate are resolved once."""

    def __init__(self, plugins: Registry | None = None) -> None:
        self.plugins = plugins
        self.known: dict[Cell, RunSpec | SemibenchError] = {}

    def spec(self, cell: SuiteCell) -> RunSpec:
        """The spec of a cell, as far as it is known without the data. Raises a SemibenchError where the cell can't be resolved."""
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
    """Every cell with its run. For a cell that can't be resolved the match has the problem; it never raises."""
    by_fingerprint: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_fingerprint[fingerprint(run.spec)].append(run)
    matches: list[Match] = []
    specs = SpecResolver(plugins)
    for cell in cells:
        if not cell.runnable:
            matches.append(Match(cell))
            continue
        try:
            key = fingerprint(specs.spec(cell))
        except SemibenchError as error:
            matches.append(Match(cell, problem=str(error)))
            continue
        matches.append(Match(cell, run=_best(by_fingerprint.get(key, []))))
    return matches


def _best(runs: list[RunRecord]) -> RunRecord | None:
    if not runs:
        return None
    return max(runs, key=lambda run: (run.counts, run.state == "done", run.ended or "", run.started or ""))
