"""Run as a program: trains toys in forked processes that kill themselves (SIGKILL) at a given moment, resumes them, and
compares everything with an uninterrupted training. Prints one line per difference; no output means success.

usage: training_killed.py FOLDER METHOD CHECKPOINT_EVERY MOMENT[,MOMENT...]   moment: "batch:5", "after:5", "begin:train",
"validate:6", "write:3" (between the two renames of the third checkpoint) or "wait" (train slowly, to be killed from outside)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from semibench.contracts.method import Method
from semibench.contracts.schedule import Clock
from semibench.training.checkpoints import Checkpoints
from support import training_toys as toys


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def armed(kind: type[Method], moment: str) -> tuple[Any, Any, Any]:
    """Returns the method, data and validation of a training that dies at a moment ("" for never)."""
    what, _, where = moment.partition(":")
    data = toys.ToyData()
    plain_batch, plain_dice = data.batch, toys.dice(data)
    done = 0

    def batch(iteration: int) -> Any:
        nonlocal done
        done = iteration + 1
        if what == "batch" and iteration == int(where):
            die()
        if what == "wait":
            time.sleep(0.02)
        return plain_batch(iteration)

    class Armed(kind):  # type: ignore[misc, valid-type]
        def after_step(self, clock: Clock) -> None:
            if what == "after" and done - 1 == int(where):
                die()
            super().after_step(clock)

        def begin(self, stage: str, pools: Any) -> None:
            super().begin(stage, pools)
            if what == "begin" and stage == where:
                die()

    def validate(method: Method) -> float:
        if what == "validate" and done == int(where):
            die()
        return plain_dice(method)

    if what == "write":
        saved, plain_save = 0, Checkpoints.save

        def save(self: Checkpoints, content: Any) -> None:
            nonlocal saved
            saved += 1
            if saved == int(where):
                self.last.replace(self.previous)
                die()
            plain_save(self, content)

        Checkpoints.save = save  # type: ignore[method-assign]
    data.batch = batch  # type: ignore[method-assign]
    return toys.build(Armed), data, validate


def child(kind: str, folder: Path, every: int, moment: str, resume: bool) -> int:
    """Trains in a forked process; returns the signal that ended it, or 0."""
    number = os.fork()
    if number == 0:
        method, data, validate = armed(toys.METHODS[kind], moment)
        toys.run(method, folder, data, validate=validate, resume=resume, checkpoint_every=every, key="toy")
        torch.save(toys.state_of(method), folder / "final.pt")
        os._exit(0)
    status = os.waitpid(number, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"the training failed with exit code {os.WEXITSTATUS(status)}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in leaves(part, f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, part in enumerate(value) for k, v in leaves(part, f"{path}/{i}").items()}
    return {path: value}


def differences(first: Path, second: Path) -> list[str]:
    """Lists differences between two trained folders in weights, optimisers, best weights and figures, but not in times."""
    import pandas as pd

    differing = []
    for name in ("final.pt", "checkpoints/last.pt", "checkpoints/best.pt"):
        a, b = (leaves(torch.load(folder / name, weights_only=True)) for folder in (first, second))
        if a.keys() != b.keys():
            differing.append(f"{name}: {sorted(a.keys() ^ b.keys())}")
            continue
        for key, value in a.items():
            same = torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key]
            if not same and key not in ("/seconds", "/busy", "/peak_memory"):
                differing.append(f"{name}{key}")
    a, b = (pd.read_parquet(folder / "steps.parquet") for folder in (first, second))
    if not a.astype({"stage": str, "name": str}).equals(b.astype({"stage": str, "name": str})):
        differing.append(f"steps.parquet: {len(a)} and {len(b)} rows")
    return differing


def main(folder: Path, kind: str, every: int, moments: list[str]) -> None:
    torch.set_num_threads(1)
    if moments == ["wait"]:
        method, data, validate = armed(toys.METHODS[kind], "wait")
        toys.run(method, folder, data, validate=validate, resume=True, checkpoint_every=every, key="toy")
        torch.save(toys.state_of(method), folder / "final.pt")
        return
    toys.run(toys.build(toys.METHODS[kind]), folder / "imports", iterations=4)
    whole = folder / "whole"
    whole.mkdir(parents=True)
    assert child(kind, whole, every, "", resume=False) == 0
    for number, moment in enumerate(moments):
        broken = folder / str(number)
        broken.mkdir()
        if child(kind, broken, every, moment, resume=False) != signal.SIGKILL:
            print(f"{moment}: the training was not killed")
        child(kind, broken, every, "", resume=True)
        for difference in differences(whole, broken):
            print(f"{moment}: {difference}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(","))
