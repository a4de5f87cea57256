"""Compares the harness's sliding window with MONAI's `SlidingWindowInferer`: time for a volume, agreement, and memory.

    python speed/window_inference.py                               # small sizes, minutes on one busy core
    python speed/window_inference.py --patch 96 96 96 --volume 150 150 100 --width 1 --turns 5
    python speed/window_inference.py --network vnet --window-batch 4

Both sides have the same network, windows, overlap and Gaussian weights, and average softmax outputs. They take turns in one process
on the same volumes; a figure is the median of the turns. The harness predicts as scoring does: windows pass in batches, those of
several volumes together, and the weights are laid out as `score_run` lays them out. MONAI gets the weights as they were built, and
runs twice: with batches of one window, its default, and with batches as large as the harness's.

Memory is the peak of a process of its own that predicts 2 or 20 volumes, above what it had before the first one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from timed_loops import built
from torch import Tensor, nn

from semibench import Case, CaseRef, Frame, Inference, Method, Task
from semibench.evaluation.inference import resolve
from semibench.evaluation.network import Network
from semibench.evaluation.predictions import predictions
from semibench.evaluation.scoring import evaluating
from semibench.evaluation.weight_layout import lay_out
from semibench.training.device import PeakMemory, set_deterministic, set_threads, tune_allocator

CPU = torch.device("cpu")
CLASSES = ("background", "organ")
MEMORY = (2, 20)
"""Numbers of volumes whose peak memory is compared."""


def method_of(args: argparse.Namespace) -> Method:
    task = Task(3, 1, CLASSES, tuple(args.patch), ("a",), {})
    return built("supervised", args.network, task, CPU, args.width).eval()


def volume(number: int, sides: Sequence[int]) -> Tensor:
    """Returns a volume (1, *sides) of random numbers."""
    return torch.randn(1, *sides, generator=torch.Generator().manual_seed(number))


def harness(method: Method, args: argparse.Namespace, count: int) -> Iterator[Tensor]:
    """Yields the probabilities (K, *sides) of so many volumes, which are made one by one."""
    network = Network(3, tuple(args.patch), 1, batch=args.window_batch)
    plan = resolve(Inference(overlap=args.overlap), dims=3, case_dims=3)
    lay_out(method, method.predictors(), network, 1)

    def cases() -> Iterator[tuple[Case, None]]:
        for number in range(count):
            image = volume(number, args.volume)
            yield (
                Case(CaseRef("noise", str(number), "", "a", False), image, None, None, Frame(tuple(args.volume))),
                None,
            )

    with evaluating(method):
        found = predictions(method.predictors(), cases(), lambda case: [plan], len(CLASSES), network, method)
        yield from (probabilities for *_, probabilities in found)


def monai(method: nn.Module, args: argparse.Namespace, count: int, batch: int) -> Iterator[Tensor]:
    """Yields the same from MONAI."""
    from monai.inferers import SlidingWindowInferer

    # MONAI's standard deviation is a share of the window, as the harness's
    inferer = SlidingWindowInferer(args.patch, batch, args.overlap, mode="gaussian", sigma_scale=0.125)
    with torch.no_grad():
        for number in range(count):
            yield inferer(volume(number, args.volume)[None], lambda images: method(images).softmax(1))[0]


def timed(call: Callable[[], Iterator[Tensor]], count: int) -> tuple[float, list[Tensor]]:
    """Returns the CPU seconds for a volume, and the results."""
    start = time.process_time()
    results = list(call())
    return (time.process_time() - start) / count, results


def compare(args: argparse.Namespace) -> int:
    """Lets the sides take turns and prints a table; returns the exit status."""
    method, plain = method_of(args), method_of(args)
    plain.load_state_dict(method.state_dict())
    sides: dict[str, Callable[[], Iterator[Tensor]]] = {
        "harness": lambda: harness(method, args, args.volumes),
        "MONAI, batches of 1": lambda: monai(plain, args, args.volumes, 1),
        f"MONAI, batches of {args.window_batch}": lambda: monai(plain, args, args.volumes, args.window_batch),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, list[Tensor]] = {}
    for _ in range(1 + args.turns):
        for name, call in sides.items():
            seconds, results[name] = timed(call, args.volumes)
            times[name].append(seconds)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    print(
        f"{args.network} at {args.width:g} of its width, {args.volumes} volumes of {args.volume}, windows of {args.patch}, overlap "
        f"{args.overlap:g}, Gaussian weights, {torch.get_num_threads()} threads, {args.turns} turns, CPU time"
    )
    print("| | seconds for a volume | harness / it | largest difference of probabilities |\n| --- | --- | --- | --- |")
    for name, seconds in medians.items():
        differences = [(a - b).abs().max() for a, b in zip(results["harness"], results[name], strict=True)]
        shown = "" if name == "harness" else f"{medians['harness'] / seconds:.2f}"
        print(f"| {name} | {seconds:.3f} | {shown} | {float(max(differences)):.1e} |")
    peaks = [float(own_process(args, count)) for count in MEMORY]
    print(
        f"\nPeak memory above the start: {peaks[0]:.0f} MB for {MEMORY[0]} volumes, {peaks[1]:.0f} MB for {MEMORY[1]}"
    )
    return int(medians["harness"] > args.at_most * max(list(medians.values())[1:]))


def own_process(args: argparse.Namespace, count: int) -> float:
    """Returns the peak memory in MB of a process that predicts so many volumes."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--peak-of", str(count)], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout))


def peak(args: argparse.Namespace) -> float:
    method = method_of(args)
    memory = PeakMemory(CPU)
    before = memory.megabytes
    for _ in harness(method, args, args.peak_of):
        memory.sample()
    return memory.megabytes - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--patch", type=int, nargs=3, default=[32, 32, 32])
    parser.add_argument("--volume", type=int, nargs=3, default=[64, 56, 48])
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--window-batch", type=int, default=2, help="windows in a batch; the harness has 2")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--at-most", type=float, default=0.7, help="greatest ratio to MONAI's default that counts as reached"
    )
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    tune_allocator()
    set_deterministic(CPU)
    set_threads(args.threads)
    if args.peak_of:
        print(json.dumps(peak(args)))
        return 0
    return compare(args)


if __name__ == "__main__":
    sys.exit(main())
