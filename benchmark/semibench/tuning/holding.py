"""Who runs a trial: the process and machine that it is recorded with, and whether that process has ended."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semibench.runfolder.state import process_is_gone, this_process

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def holder() -> dict[str, Any]:
    """Return what a trial records about this process."""
    process, started, host = this_process()
    return {"process": process, "process_started": started, "host": host, "machine": socket.gethostname()}


@dataclass(frozen=True)
class Held:
    """A running trial.

    gone: whether its process has ended; None if this machine can't know.
    """

    number: int
    params: Mapping[str, Any]
    """The values that it tries, as far as they are known."""
    machine: str
    process: int | None
    since: str
    gone: bool | None

    @classmethod
    def of(cls, trial: FrozenTrial, *, locked: bool) -> Held:
        """Return who runs a trial.

        locked: whether a trial is requested and its process recorded under one lock, which the caller holds. Then a trial
        without a process was requested by a process that was killed in between.
        """
        attributes = trial.user_attrs
        process, host = attributes.get("process"), attributes.get("host")
        gone = (True if locked else None) if process is None else process_is_gone(
            int(process), attributes.get("process_started"), host
        )  # fmt: skip
        queued = trial.system_attrs.get("fixed_params", {})
        since = (
            trial.datetime_start.isoformat(sep=" ", timespec="minutes") if trial.datetime_start else "an unknown time"
        )
        machine = str(attributes.get("machine") or host or "unknown")
        return cls(trial.number, {**queued, **trial.params}, machine, process, since, gone)

    def __str__(self) -> str:
        return f"trial {self.number} has been running on {self.machine} since {self.since} (process {self.process})"
