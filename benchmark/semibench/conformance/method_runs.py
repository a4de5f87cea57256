"""What a method must do in company: in inference on odd sizes, in a whole run on a phantom, and without touching files. A
check raises AssertionError with what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from semibench.conformance.case import PATCH, MethodCase
from semibench.contracts.errors import SemibenchError
from semibench.contracts.metric import Inference
from semibench.registry import Registered
from semibench.training.seeding import derive

SMALL: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "2": ("self", "tus", ("phantom.cases=90",)),
    "3": ("ssmis", "la", ("protocol.labeled=2", "phantom.cases=8")),
    "umda": ("umda", "mmwhs", ("phantom.cases=12",)),
    "semi-mdg": ("semi-mdg", "mnms", ("phantom.cases=32",)),
}
"""Protocol the method is meant for, else its dims -> protocol, data set and settings of a small run."""

EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "socket.connect", "subprocess.Popen"})
_watching: list[list[str]] = []
_hooked: list[bool] = []


@dataclass(frozen=True, eq=False)
class MethodRunCase:
    """A registered method (item) in its dims; small: the same in the small setting of the other checks."""

    small: MethodCase
    item: Registered | None = None

    @property
    def dims(self) -> int:
        return self.small.dims


Check = Callable[[MethodRunCase], None]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event not in EVENTS:
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, (str, bytes, os.PathLike)) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if "__pycache__" in os.fsdecode(path) or os.fsdecode(path).startswith("/dev/"):
            return
    elif event == "os.mkdir" and "__pycache__" in str(arguments[0]):
        return
    for seen in _watching:
        seen.append(f"{event} {arguments[0] if event != 'socket.connect' else arguments[1]}")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What is written, connected to or started inside the block, by Python's audit events. The hook is installed once a
    process (hooks can't be taken away) and sleeps outside."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


def check_touches_no_file_and_no_network(case: MethodRunCase) -> None:
    """Training and predicting write no file, open no connection and start no process: the harness does that."""
    assert case.small.done  # a first rehearsal: libraries make their caches when they are first used
    with watched() as seen:
        rehearsal = case.small.rehearse()
        rehearsal.run()
        rehearsal.method.eval()
        with torch.no_grad():
            rehearsal.method(case.small.images())
    assert not seen, f"{len(seen)} times: {', '.join(dict.fromkeys(seen[:5]))}"


def check_predicts_odd_sizes(case: MethodRunCase) -> None:
    """Every predictor gives probabilities of the image's size for odd sides, through the harness's inference."""
    from semibench.evaluation.inference import Network, predict

    method, small = case.small.build().eval(), case.small
    divisor = max((getattr(module, "divisor", 1) for module in method.modules()), default=1)
    size = tuple(side + 5 for side in PATCH[small.dims])
    generator = torch.Generator().manual_seed(derive(0, "odd"))
    image = torch.randn((small.channels, *size), generator=generator)
    network = Network(small.dims, PATCH[small.dims], divisor)
    for name, predictor in method.predictors().items():
        with torch.no_grad():
            found = predict(predictor, image, Inference(overlap=0.25), network)
        assert tuple(found.shape) == (small.classes, *size), f"predictor {name!r}: {tuple(found.shape)} for {size}"
        assert found.isfinite().all(), f"predictor {name!r} returns NaN or infinity for sides {size}"


def check_a_short_run_on_a_phantom(case: MethodRunCase) -> None:
    """`bench run` with the recipe `smoke` trains, scores and writes only into its run folder."""
    from semibench.run import Request, execute, prepare

    if case.item is None:
        return
    meant = [protocol for protocol in case.item.card.protocols if protocol in SMALL]
    protocol, dataset, settings = SMALL[meant[0] if meant else str(case.dims)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.dict(os.environ, {"SEMIBENCH_CACHE": str(folder / "cache")}))
        stack.enter_context(contextlib.chdir(folder))
        request = Request(
            protocol, dataset, case.item.full_name, recipe="smoke", dims=case.dims, settings=settings, phantom="always",
            runs=folder / "runs", device="cpu", threads=1, track=False, keep_predictions=False,
        )  # fmt: skip
        try:
            result = execute(prepare(request, estimate=False))
        except SemibenchError as error:
            raise AssertionError(f"{protocol} on {dataset}: {error}") from error
        record = json.loads((result.folder / "result.json").read_text(encoding="utf-8"))
        found = [score for score in record["scores"] if score["metric"] == "dice" and score["mean"] is not None]
        assert found, "the run has no Dice"
        strange = sorted({path.name for path in folder.iterdir()} - {"runs", "cache"})
        assert not strange, f"written beside the run folder: {strange}"


METHOD_RUN_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
