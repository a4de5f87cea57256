"""What a method must do in company: in inference on odd sizes, in a whole run on a phantom, and without touching files. A
check raises AssertionError with what is wrong."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest import mock

import torch

from semibench.blocks.seeds import derive_seed
from semibench.conformance.case import PATCH, MethodCase
from semibench.conformance.toy import toys
from semibench.conformance.watching import watched
from semibench.contracts.errors import SemibenchError
from semibench.contracts.metric import Inference
from semibench.registry import Registered

STEPS = 2
"""Iterations of the short run for each stage of the method."""

WHERE = ("self", "umda", "semi-mdg", "similar", "ssmis")
"""Protocols that a method is tried under, the first of those that it is meant for."""


@dataclass(frozen=True)
class ShortRun:
    """What came of a run. error: why it failed, or empty; dice: mean values; strange: places it wrote to that are neither
    its run folder nor the cache."""

    error: str
    dice: tuple[float, ...]
    strange: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MethodRunCase:
    """A registered method (item) in its dims; small: the same in the small setting of the other checks."""

    small: MethodCase
    item: Registered | None = None

    @property
    def dims(self) -> int:
        return self.small.dims

    @cached_property
    def short(self) -> ShortRun | None:
        """A run with the recipe `smoke`, made once; None for a method that isn't registered."""
        return None if self.item is None else _short_run(self.item, self.dims, STEPS * len(self.small.build().stages()))


Check = Callable[[MethodRunCase], None]


def _short_run(item: Registered, dims: int, iterations: int) -> ShortRun:
    from semibench.run.execute import execute
    from semibench.run.prepare import prepare
    from semibench.run.request import Request

    meant = item.card.protocols or WHERE
    protocol = next((name for name in WHERE if name in meant), meant[0])
    patch = ", ".join(map(str, PATCH[dims]))
    settings = (f"iterations={iterations}", f"evaluate_every={iterations}", f"patch=[{patch}]", "labeled_batch=2",
                "unlabeled_batch=2")  # fmt: skip
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        caches = {"SEMIBENCH_CACHE": "", "MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
        places = {name: str(folder / "cache" / place) for name, place in caches.items()}
        stack.enter_context(mock.patch.dict(os.environ, places))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(toys())
        request = Request(
            protocol=protocol, dataset=f"blobs-a-{dims}d", method=item.full_name, recipe="smoke", dims=dims,
            settings=settings, phantom="always", runs=folder / "runs", device="cpu",
            threads=1, track=False, keep_predictions=False, pictures=False,
        )  # fmt: skip
        error, dice = "", tuple[float, ...]()
        with watched() as touched:
            try:
                result = execute(prepare(request, estimate=False))
            except SemibenchError as problem:
                error = f"{protocol} on blobs: {problem}"
        if not error:
            dice = tuple(s.mean for s in result.record.scores if s.metric == "dice" and s.mean is not None)
        return ShortRun(error, dice, tuple(dict.fromkeys(_elsewhere(touched, folder))))


def _elsewhere(touched: Sequence[str], folder: Path) -> Iterator[str]:
    """Of what was noted, files that were written or made, outside the run folder and the cache; not the bytecode that Python
    keeps of a module imported for the first time."""
    allowed = (str(folder / "runs"), str(folder / "cache"))
    for line in touched:
        event, _, path = line.partition(" ")
        if event in ("socket.connect", "subprocess.Popen"):
            continue
        place = os.path.realpath(path)
        if not place.startswith(allowed) and place != str(folder) and "__pycache__" not in place:
            yield path


def check_touches_no_file_and_no_network(case: MethodRunCase) -> None:
    """Training and predicting write no file, open no connection and start no process: the harness does that."""
    method, images = case.small.done.method.eval(), case.small.images()
    with torch.no_grad():
        method(images)
        with watched() as predicting:
            method(images)
    touched = [*case.small.touched, *predicting]
    assert not touched, f"{len(touched)} times: {', '.join(touched[:5])}"


def check_hidden_labels_change_no_digit(case: MethodRunCase) -> None:
    """Trained from files twice, the second time with other labels in the files of the unlabeled cases, weights and buffers
    are the same to the last digit."""
    from semibench.conformance.hidden import trained, write_files

    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "files", Path(folder) / "cache"
        first = trained(case.small, write_files(case.small, root, turned=False), cache)
        second = trained(case.small, write_files(case.small, root, turned=True), cache)
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"labels of unlabeled cases leak into {different[:5]}"


def check_predicts_odd_sizes(case: MethodRunCase) -> None:
    """Every predictor gives probabilities of the image's size for odd sides, through the harness's inference."""
    from semibench.evaluation.inference import Network, predict

    method, small = case.small.build().eval(), case.small
    divisor = max((getattr(module, "divisor", 1) for module in method.modules()), default=1)
    size = tuple(side + 5 for side in PATCH[small.dims])
    generator = torch.Generator().manual_seed(derive_seed(0, "odd"))
    image = torch.randn((small.channels, *size), generator=generator)
    network = Network(small.dims, PATCH[small.dims], divisor)
    for name, predictor in method.predictors().items():
        with torch.no_grad():
            found = predict(predictor, image, Inference(overlap=0.25), network)
        assert tuple(found.shape) == (small.classes, *size), f"predictor {name!r}: {tuple(found.shape)} for {size}"
        assert found.isfinite().all(), f"predictor {name!r} returns NaN or infinity for sides {size}"


def check_a_short_run_on_a_phantom(case: MethodRunCase) -> None:
    """`bench run` with the recipe `smoke` trains and scores."""
    run = case.short
    assert run is None or not run.error, run and run.error
    assert run is None or run.dice, "the run has no Dice"


def check_writes_only_into_the_run_folder(case: MethodRunCase) -> None:
    """In that run nothing is written beside the run folder and the cache of decoded cases."""
    run = case.short
    assert run is None or not run.strange, f"written beside the run folder: {', '.join(run.strange[:5]) if run else ''}"


METHOD_RUN_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
