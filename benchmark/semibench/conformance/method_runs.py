"""Checks of methods within the harness: inference on odd sizes, a whole run on toy data, no access to files.

A check raises AssertionError with a message that says what is wrong.
"""

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
from semibench.conformance.subject import PATCH, MethodSubject
from semibench.conformance.toy import toys
from semibench.conformance.watching import watched
from semibench.contracts.errors import SemibenchError
from semibench.contracts.metric import Inference
from semibench.discovery.registry import Registered

STEPS = 2
"""Iterations of the short run per stage of the method."""

PROTOCOLS = ("self", "umda", "semi-mdg", "similar", "ssmis")
"""Protocols for the short run, in order of preference; the first one that suits the method is used."""


@dataclass(frozen=True)
class ShortRun:
    """The outcome of a run. error: why it failed, or empty. dice: mean values. stray_files: files it wrote outside its run folder
    and the cache."""

    error: str
    dice: tuple[float, ...]
    stray_files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MethodRunSubject:
    """A method in one of its dims. small: the subject of the other checks. item: the registered plug-in, if there is one."""

    small: MethodSubject
    item: Registered | None = None

    @property
    def dims(self) -> int:
        return self.small.dims

    @cached_property
    def short(self) -> ShortRun | None:
        """A run with the recipe `smoke`, executed once; None for a method that isn't registered."""
        return None if self.item is None else _short_run(self.item, self.dims, STEPS * len(self.small.build().stages()))


Check = Callable[[MethodRunSubject], None]


def _short_run(item: Registered, dims: int, iterations: int) -> ShortRun:
    from semibench.run.execute import execute
    from semibench.run.prepare import prepare
    from semibench.run.request import Request

    suitable = item.card.protocols or PROTOCOLS
    protocol = next((name for name in PROTOCOLS if name in suitable), suitable[0])
    patch = ", ".join(map(str, PATCH[dims]))
    settings = (f"iterations={iterations}", f"evaluate_every={iterations}", f"patch=[{patch}]", "labeled_batch=2",
                "unlabeled_batch=2")  # fmt: skip
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        caches = {"SEMIBENCH_CACHE": "", "MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
        variables = {name: str(folder / "cache" / part) for name, part in caches.items()}
        stack.enter_context(mock.patch.dict(os.environ, variables))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(toys())
        request = Request(
            protocol=protocol, dataset=f"blobs-a-{dims}d", method=item.reference, recipe="smoke", dims=dims,
            settings=settings, phantom="always", runs=folder / "runs", device="cpu",
            threads=1, track=False, keep_predictions=False, pictures=False,
        )  # fmt: skip
        error, dice = "", tuple[float, ...]()
        with watched() as events:
            try:
                result = execute(prepare(request, estimate=False))
            except SemibenchError as problem:
                error = f"{protocol} on blobs: {problem}"
        if not error:
            dice = tuple(s.mean for s in result.record.scores if s.metric == "dice" and s.mean is not None)
        return ShortRun(error, dice, tuple(dict.fromkeys(_stray_files(events, folder))))


def _stray_files(events: Sequence[str], folder: Path) -> Iterator[str]:
    """Yields files and folders written outside the run folder and the cache, except for Python's bytecode caches."""
    allowed = (str(folder / "runs"), str(folder / "cache"))
    for line in events:
        event, _, path = line.partition(" ")
        if event in ("socket.connect", "subprocess.Popen"):
            continue
        target = os.path.realpath(path)
        if not target.startswith(allowed) and target != str(folder) and "__pycache__" not in target:
            yield path


def check_touches_no_file_and_no_network(subject: MethodRunSubject) -> None:
    """Training and predicting write no files, open no connections and start no processes; that is the harness's job."""
    method, images = subject.small.done.method.eval(), subject.small.images()
    with torch.no_grad():
        method(images)
        with watched() as predicting:
            method(images)
    touched = [*subject.small.touched, *predicting]
    assert not touched, f"{len(touched)} times: {', '.join(touched[:5])}"


def check_hidden_labels_change_no_digit(subject: MethodRunSubject) -> None:
    """Two trainings from files end with identical weights and buffers, although the labels in the files of the unlabeled cases
    differ."""
    from semibench.conformance.hidden import trained, write_files

    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "files", Path(folder) / "cache"
        first = trained(subject.small, write_files(subject.small, root, turned=False), cache)
        second = trained(subject.small, write_files(subject.small, root, turned=True), cache)
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"labels of unlabeled cases leak into {different[:5]}"


def check_predicts_odd_sizes(subject: MethodRunSubject) -> None:
    """For images with odd sides, every predictor gives finite probabilities of the image's size through the harness's inference."""
    from semibench.evaluation.inference import predict
    from semibench.evaluation.network import Network

    method, small = subject.small.build().eval(), subject.small
    divisor = max((getattr(module, "divisor", 1) for module in method.modules()), default=1)
    size = tuple(side + 5 for side in PATCH[small.dims])
    generator = torch.Generator().manual_seed(derive_seed(0, "odd"))
    image = torch.randn((small.channels, *size), generator=generator)
    network = Network(small.dims, PATCH[small.dims], divisor, whole_cases=method.whole_cases)
    for name, predictor in method.predictors().items():
        with torch.no_grad():
            probabilities = predict(predictor, image, Inference(overlap=0.25), network)
        assert tuple(probabilities.shape) == (small.classes, *size), (
            f"predictor {name!r}: {tuple(probabilities.shape)} for {size}"
        )
        assert probabilities.isfinite().all(), f"predictor {name!r} returns NaN or infinity for sides {size}"


def check_a_short_run_on_a_phantom(subject: MethodRunSubject) -> None:
    """`bench run` with the recipe `smoke` trains and scores."""
    run = subject.short
    assert run is None or not run.error, run and run.error
    assert run is None or run.dice, "the run has no Dice"


def check_writes_only_into_the_run_folder(subject: MethodRunSubject) -> None:
    """The short run writes only into its run folder and the cache of decoded cases."""
    run = subject.short
    stray = run.stray_files if run is not None else ()
    assert not stray, f"written outside the run folder: {', '.join(stray[:5])}"


METHOD_RUN_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of methods within the harness, by name."""
