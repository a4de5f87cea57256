"""Compares what the scoring of a trained run costs with the bare forward passes that it needs, in CPU time.

    python speed/scoring_cost.py                                   # 6 volumes of 10 x 128 x 128, minutes on one busy core
    python speed/scoring_cost.py --full                            # 40 volumes of 10 x 256 x 256
    python speed/scoring_cost.py --method cps --patch 96           # three predictors of two networks; slices are resized
    python speed/scoring_cost.py --same-weights                    # the best weights are the last ones

The cases are phantoms of ACDC, scored by slices under all conventions that apply, as after `bench run`, for two checkpoints. The
method isn't trained. Its label maps are made, but replaced by the references, moved by two voxels, before they are compared with
the references: an untrained network finds other outlines than those of a segmentation, and surface distances depend on them.

Bare forward passes: each network that a predictor calls sees each slice once for each checkpoint (and once more if a convention
resizes slices in another way), in memory, without gradients, in the fastest of several sizes of batches and memory formats. Both
sides take turns in one process; medians of CPU time. The table ends with the parts of the harness's side.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from timed_loops import built
from torch import Tensor, nn

from semibench import Backbone, Method, PhantomOptions, Task
from semibench.data.cache import CaseStore
from semibench.discovery.registry import registry
from semibench.evaluation import scoring
from semibench.evaluation.geometry import resize
from semibench.evaluation.network import Network
from semibench.evaluation.run_scores import conventions_for, divisor_of, score_run
from semibench.reporting import Reporter
from semibench.training.device import set_deterministic, set_threads, tune_allocator
from semibench.training.precision import weights_channels_last

DEPTH, SPACING = 10, 10.0
"""Slices of a volume and the distance between them in mm, as in ACDC."""
WIDE = 360.0
"""Field of view in mm."""
BATCHES = (4, 8, 16, 32)
CPU = torch.device("cpu")
EVALUATION = "semibench.evaluation"
PARTS: Mapping[str, tuple[str, ...]] = {
    "forward passes, softmax": (f"{EVALUATION}.stream:probabilities",),
    "label maps": (f"{EVALUATION}.scoring:native_labels", f"{EVALUATION}.scoring:working_labels"),
    "metrics": (f"{EVALUATION}.scoring:_rows",),
    "reading": ("semibench.data.cache:CaseStore.case", f"{EVALUATION}.run_scores:Truths.__getitem__"),
    "tables": tuple(
        f"{EVALUATION}.run_scores:{name}" for name in ("lengthen", "summarise", "summary_records", "check_table")
    ),
}
"""What the harness's side does, and the functions that do it. None of them calls another one."""
REST = "batches, sums, the rest"


def volumes(cases: int, side: int) -> Any:
    """Returns a phantom of ACDC with thin stacks of slices, as the real volumes are."""
    kind = registry().get("datasets", "acdc").resolve()
    phantom = kind.phantom(kind.Options(), PhantomOptions(cases=cases))
    shape, spacing = (DEPTH, side, side), (SPACING, WIDE / side, WIDE / side)
    phantom.spec = replace(phantom.spec, shape=shape, spacing=spacing, vary=(2, 0, 0))
    phantom.fingerprint = f"{phantom.fingerprint} {shape} {spacing}"
    return phantom


def built_with_checkpoints(args: argparse.Namespace, phantom: Any) -> tuple[Method, dict[str, Any]]:
    """Returns a method and the weights of its two checkpoints."""
    card = phantom.card
    task = Task(2, card.channels, card.classes, (args.patch, args.patch), card.domains, {})
    method = built(args.method, "unet", task, CPU, args.width).eval()
    if args.channels_last:
        weights_channels_last(method)
    states = {}
    for name in ("best", "last"):
        states[name] = {key: value.clone() for key, value in method.state_dict().items()}
        if not args.same_weights:
            with torch.no_grad():
                for parameter in method.parameters():
                    parameter.mul_(1.01)
    return method, states


@contextmanager
def good_predictions() -> Iterator[None]:
    """Scores the references, moved by two voxels, in place of what the untrained network predicted, while the context lasts."""
    moved: dict[str, Any] = {}
    rows = scoring._rows

    def with_moved(case: Any, truth: Any, prediction: Any, *others: Any) -> Any:
        if case.ref.key not in moved:
            moved[case.ref.key] = np.roll(truth.label.numpy(), (0, 1, 2), (0, 1, 2))
        return rows(case, truth, moved[case.ref.key], *others)

    with patch.object(scoring, "_rows", with_moved):
        yield


def called(method: Method, images: Tensor) -> list[nn.Module]:
    """Returns the networks that the predictors of a method call."""
    found: dict[int, nn.Module] = {}
    networks = [module for module in method.modules() if isinstance(module, Backbone)]
    hooks = [
        part.register_forward_pre_hook(lambda _, __, net=net: found.update({id(net): net}))
        for net in networks
        for part in (net, net.decoder)
    ]
    with torch.no_grad():
        for predictor in method.predictors().values():
            predictor(images)
    for hook in hooks:
        hook.remove()
    return list(found.values())


def passes(networks: Sequence[nn.Module], batches: Sequence[Tensor]) -> float:
    """Returns the CPU seconds in which the networks see the batches."""
    start = time.process_time()
    with torch.no_grad():
        for images in batches:
            for network in networks:
                network(images)
    return time.process_time() - start


@contextmanager
def parts_timed(seconds: dict[str, float]) -> Iterator[None]:
    """Adds the CPU seconds of PARTS to a record while the context lasts."""

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **keywords)
            finally:
                seconds[part] += time.process_time() - start

        return call

    with ExitStack() as stack:
        for part, places in PARTS.items():
            for place in places:
                module, _, names = place.partition(":")
                owner: Any = importlib.import_module(module)
                *path, name = names.split(".")
                for step in path:
                    owner = getattr(owner, step)
                stack.enter_context(patch.object(owner, name, timed(part, getattr(owner, name))))
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="mean-teacher")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--side", type=int, default=128, help="voxels of a slice along both axes")
    parser.add_argument("--patch", type=int, help="what slices are resized to; the side by default")
    parser.add_argument("--full", action="store_true", help="40 volumes of 256 x 256")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True,
                        help="the memory format of the weights, as the recipe `quick` trains them")  # fmt: skip
    parser.add_argument("--same-weights", action="store_true")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--at-most", type=float, default=2.0, help="greatest ratio that counts as reached")
    args = parser.parse_args()
    if args.full:
        args.cases, args.side = 40, 256
    args.patch = args.patch or args.side
    tune_allocator()
    set_deterministic(CPU)
    threads = set_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        return compare(args, Path(folder), threads)


def compare(args: argparse.Namespace, folder: Path, threads: int) -> int:
    """Lets the two sides take turns and prints a table; returns the exit status."""
    phantom = volumes(args.cases, args.side)
    refs = phantom.index()
    store = CaseStore.build({"acdc": phantom}, refs, folder)
    method, states = built_with_checkpoints(args, phantom)
    network = Network(2, (args.patch, args.patch), divisor_of(method), phantom.card.slice_axis, batch=8)
    conventions, _ = conventions_for(registry(), (), dims=2, case_dims=3, dataset="acdc")

    def score() -> Any:
        return score_run(
            method, lambda name: bool(method.load_state_dict(states[name])), store, {"acdc": phantom}, refs,
            classes=phantom.card.classes, network=network, conventions=conventions, reporter=Reporter(), predictions=None,
        )[0]  # fmt: skip

    with good_predictions():
        table = score()  # draws the references, warms both sides
    slices = torch.cat([store.case(ref).image[0] for ref in refs])[:, None]
    ways = (
        {convention.inference.resize for convention in conventions.values()} if args.patch != args.side else {"linear"}
    )
    inputs = [resize(slices, network.patch, way) for way in sorted(ways)]
    networks = called(method, inputs[0][:2])
    checkpoints = 1 if args.same_weights else 2
    formats: dict[tuple[str, int], list[float]] = {}
    harness: list[float] = []
    seconds = dict.fromkeys(PARTS, 0.0)
    for _ in range(args.turns):
        with good_predictions(), parts_timed(seconds):
            start = time.process_time()
            score()
            harness.append(time.process_time() - start)
        # `score` loads weights into the tensors that are there, so that their memory format is put back by hand
        strides = [(tensor, tensor.data) for tensor in (*method.parameters(), *method.buffers())]
        for kind in ("as trained", "channels last"):
            if kind == "channels last":
                weights_channels_last(method)
            for size in BATCHES:
                batches = [batch for stack in inputs for batch in stack.split(size)]
                formats.setdefault((kind, size), []).append(checkpoints * passes(networks, batches))
        for tensor, data in strides:
            tensor.data = data
    medians = {key: statistics.median(times) for key, times in formats.items()}
    best = min(medians, key=lambda key: medians[key])
    bare, own = medians[best], statistics.median(harness)
    dice = table[(table["metric"] == "dice") & (table["convention"] == "semibench-1") & (table["checkpoint"] == "last")]
    print(
        f"{args.method}, unet at {args.width:g} of its width, {args.cases} volumes, {len(slices)} slices of {args.side} x "
        f"{args.side}, patch {args.patch} x {args.patch}; {', '.join(method.predictors())}: {len(networks)} networks; "
        f"{', '.join(conventions)}; {checkpoints} different checkpoints; {threads} threads; mean Dice "
        f"{dice['value'].mean():.2f}; fastest bare passes: {best[0]}, batches of {best[1]}"
    )
    print("| | CPU seconds | / bare passes |\n| --- | --- | --- |")
    print(f"| bare forward passes | {bare:.2f} | 1 |\n| **scoring** | {own:.2f} | **{own / bare:.2f}** |")
    mean = {part: total / args.turns for part, total in seconds.items()}
    mean[REST] = sum(harness) / args.turns - sum(mean.values())
    for part, value in mean.items():
        print(f"| of it {part} | {value:.2f} | {value / bare:.2f} |")
    return int(own / bare > args.at_most)


if __name__ == "__main__":
    sys.exit(main())
