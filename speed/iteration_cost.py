"""Compares the cost of an iteration in the harness with a bare loop: same network and losses, on preloaded tensors.

    python speed/iteration_cost.py                                  # this CPU, reduced size, both cases
    python speed/iteration_cost.py --case mgcc --recipe paper       # the weak policy of the paper, not the default
    python speed/iteration_cost.py --device cuda --paper-size --iterations 200 --precision bf16
    python speed/iteration_cost.py --method all --out speed/method_costs.json     # every method: see method_costs.py

Cases: `mgcc` (MGCC on mgcc-net, paper size 256 x 256, batch 4 + 4) and `vnet` (mean teacher on vnet, 112 x 112 x 80,
batch 2 + 2). The harness side is `semibench.training.loop.train` on `TrainingData` over a case store: it draws and augments
batches and handles seeds, weights, NaN checks, figures and the schedule. The bare side runs forward, losses, backward, step
and teacher on eight prepared batches. Both run in one process, in turns of --block iterations (CPU: 1, else 20, because
reading the clock waits for the device). Reports the medians per iteration, their ratio, iterations per second, and each
side's peak memory, measured in separate processes. Exits with 1 if the ratio is above --at-most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from balls import training_data
from method_costs import compare_all, measured
from torch import Tensor

from semibench import (
    Backbone,
    Batch,
    Clock,
    Method,
    Recipe,
    Samples,
    Task,
)
from semibench.data.training import TrainingData
from semibench.reporting import Reporter
from semibench.training import seeding
from semibench.training.device import (
    PeakMemory,
    choose,
    describe,
    set_deterministic,
    set_threads,
    synchronize,
    tune_allocator,
)
from semibench.training.loop import train
from semibench.training.precision import DTYPES
from semibench_plugins.backbones.mgcc_net import MGCCNet
from semibench_plugins.backbones.vnet import VNet
from semibench_plugins.methods.consistency.mean_teacher import MeanTeacher
from semibench_plugins.methods.systems.mgcc import MGCC

WARM = 3
"""Warm-up turns, which aren't counted."""
PRELOADED = 8
PAPER_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": (0.0, 0.0)}
VALUES: Mapping[str, dict[str, Any]] = {
    "mgcc": {"dims": 2, "patch": (256, 256), "labeled_batch": 4, "unlabeled_batch": 4},
    "vnet": {"dims": 3, "patch": (112, 112, 80), "labeled_batch": 2, "unlabeled_batch": 2},
}
REDUCED: Mapping[str, dict[str, Any]] = {
    "mgcc": {"patch": (96, 96)},
    "vnet": {"patch": (48, 48, 32)},
}
WIDTHS: Mapping[str, float] = {"mgcc": 0.125, "vnet": 0.5}


def width_of(args: argparse.Namespace) -> float:
    return 1.0 if args.paper_size else WIDTHS[args.case]


def recipe_of(args: argparse.Namespace) -> Recipe:
    values = VALUES[args.case] | ({} if args.paper_size else REDUCED[args.case])
    if args.recipe == "paper":
        values["weak"] = PAPER_WEAK
    return Recipe(
        name="cost",
        iterations=args.block * (args.iterations // args.block + WARM),
        precision=args.precision,
        channels_last=args.channels_last,
        evaluate_every=0,
        checkpoint_every=0,
        **values,
    )


def data_of(recipe: Recipe, method: type[Method], device: torch.device, folder: Path) -> TrainingData:
    return training_data(recipe, method.streams, device, folder)


def method_of(case: str, task: Task, width: float, device: torch.device) -> Method:
    net, kind = (MGCCNet, MGCC) if case == "mgcc" else (VNet, MeanTeacher)

    def backbones(name: str | None = None, **options: Any) -> Backbone:
        channels, outputs = options.pop("channels", None), options.pop("outputs", None)
        net_options = net.Options(width=width, **options)
        return net(
            dims=task.dims,
            channels=channels or task.channels,
            outputs=outputs or len(task.classes),
            patch=task.patch,
            options=net_options,
        )

    seeding.seed_construction(0)
    method: Method = kind(task, backbones, kind.Options())
    return method.to(device)


class Bare:
    """The loop a researcher would write: training and nothing else."""

    def __init__(self, method: Method, recipe: Recipe, batches: list[Batch], device: torch.device) -> None:
        self.method, self.recipe, self.batches, self.device = method, recipe, batches, device
        if recipe.channels_last:
            layout = torch.channels_last if recipe.dims == 2 else torch.channels_last_3d
            method.to(memory_format=layout)  # type: ignore[call-overload]
            for batch in batches:
                for samples in batch.values():
                    samples.image = samples.image.to(memory_format=layout)
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(self.parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.dtype = DTYPES.get(recipe.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.done = 0
        method.train()

    def run(self, iterations: int) -> None:
        """Runs `iterations` iterations; term weights follow the same ramp as in the harness."""
        for _ in range(iterations):
            batch = self.batches[self.done % len(self.batches)]
            clock = Clock("train", self.done, self.recipe.iterations, {})
            for group in self.optimiser.param_groups:
                group["lr"] = 0.01 * (1 - clock.progress) ** 0.9
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
                losses = self.method.losses(batch, clock)
                total: Tensor = sum(  # type: ignore[assignment]
                    self.method.weight(name, clock) * loss for name, loss in losses.items()
                )
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(total).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.method.after_step(clock)
            self.done += 1


class Times(NamedTuple):
    """Seconds of wall time and of this process's CPU time (steadier on a shared machine)."""

    wall: float
    work: float

    def since(self, start: Times, count: int) -> Times:
        return Times((self.wall - start.wall) / count, (self.work - start.work) / count)


class Turns:
    """The harness's data; runs the bare loop between the harness's blocks of iterations and times both."""

    def __init__(self, data: TrainingData, bare: Bare | None, block: int, device: torch.device) -> None:
        self.data, self.bare, self.block, self.device = data, bare, block, device
        self.task, self.pools = data.task, data.pools
        self.harness_times: list[Times] = []
        self.bare_times: list[Times] = []
        self.mark: Times | None = None

    def now(self) -> Times:
        synchronize(self.device)
        return Times(time.perf_counter(), time.process_time())

    def close(self) -> None:
        """Ends the harness's block and stores its time."""
        if self.mark is not None:
            self.harness_times.append(self.now().since(self.mark, self.block))
            self.mark = None

    def passes(self, iteration: int) -> dict[str, float]:
        if iteration % self.block == 0:
            self.close()
            if self.bare is not None:
                start = self.now()
                self.bare.run(self.block)
                self.bare_times.append(self.now().since(start, self.block))
            self.mark = self.now()
        return self.data.passes(iteration)

    def batch(self, iteration: int) -> dict[str, Samples]:
        return self.data.batch(iteration)


def run(args: argparse.Namespace, side: str) -> dict[str, float]:
    """Runs one process: side "both" compares; "harness" or "bare" runs alone to measure its peak memory (MB)."""
    tune_allocator()
    set_threads(args.threads)
    device = choose(args.device)
    set_deterministic(device)
    recipe = recipe_of(args)
    kind = MGCC if args.case == "mgcc" else MeanTeacher
    with tempfile.TemporaryDirectory() as folder:
        data = data_of(recipe, kind, device, Path(folder) / "cache")
        method = method_of(args.case, data.task, width_of(args), device) if side != "bare" else None
        other = method_of(args.case, data.task, width_of(args), device) if side != "harness" else None
        bare = None
        if other is not None:
            bare = Bare(other, recipe, [data.batch(i) for i in range(PRELOADED)], device)
        memory = PeakMemory(device)
        if method is None:
            if bare is not None:
                bare.run(recipe.iterations)
            return {"peak": memory.megabytes}
        turns = Turns(data, bare, args.block, device)
        train(
            method, turns, recipe, seed=0, device=device, folder=Path(folder) / "run", validate=None,
            reporter=Reporter(),
        )  # fmt: skip
        if side == "harness":
            return {"peak": memory.megabytes}
        # The harness's last block is left out: it ends with a checkpoint, which isn't part of an iteration.
        ours, theirs = turns.harness_times[WARM:], turns.bare_times[WARM : WARM + len(turns.harness_times[WARM:])]
        return {
            "harness": statistics.median(t.wall for t in ours),
            "bare": statistics.median(t.wall for t in theirs),
            "paired": statistics.median(a.wall / b.wall for a, b in zip(ours, theirs, strict=True)),
            "total": sum(t.wall for t in ours) / sum(t.wall for t in theirs),
            "work": statistics.median(t.work for t in ours) / statistics.median(t.work for t in theirs),
            "parameters": float(sum(p.numel() for p in method.parameters() if p.requires_grad)),
        }


def alone(args: argparse.Namespace, side: str) -> float:
    """Returns the peak memory of one side, measured in a separate process."""
    few = min(args.iterations, 2 * args.block)
    command = [sys.executable, __file__, *sys.argv[1:], "--case", args.case, "--only", side, "--iterations", str(few)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["peak"])


def compare(args: argparse.Namespace) -> bool:
    """Prints a case's figures; returns whether the ratio is small enough."""
    figures = run(args, "both")
    recipe = recipe_of(args)
    size = " x ".join(map(str, recipe.patch))
    layout = ", channels last" if recipe.channels_last else ""
    print(f"{args.case}: {figures['parameters'] / 1e6:.2f} M trained parameters, {size}, {recipe.labeled_batch} + "
          f"{recipe.unlabeled_batch} samples, {recipe.precision}{layout}")  # fmt: skip
    for side in ("bare", "harness"):
        peak = f", peak memory {alone(args, side):8.0f} MB" if args.memory else ""
        print(f"  {side:8} {figures[side] * 1e3:9.1f} ms  {1 / figures[side]:8.2f} iterations/s{peak}")
    print(f"  ratio of medians {figures['harness'] / figures['bare']:.3f}, median of paired ratios {figures['paired']:.3f}, "
          f"of totals {figures['total']:.3f}, of CPU time {figures['work']:.3f}; at most {args.at_most}")  # fmt: skip
    return figures["harness"] / figures["bare"] <= args.at_most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["mgcc", "vnet", "both"], default="both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--paper-size", action="store_true", help="use the papers' sizes instead of reduced ones")
    parser.add_argument("--recipe", choices=["default", "paper"], default="default", help="weak policy of the harness")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--block", type=int, help="iterations per turn (CPU: 1, else 20)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--at-most", type=float, default=1.10)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--method", metavar="NAME", help="a method or `all`: beside a bare loop and `supervised`")
    parser.add_argument("--dims", type=int, choices=[2, 3], help="with --method: only these dims")
    parser.add_argument("--out", type=Path, help="with --method: a file of JSON that gets the figures")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["harness", "bare"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.block = args.block or (1 if choose(args.device).type == "cpu" else 20)
    if args.one:
        what, name, dims, network = args.one
        print(json.dumps(measured(what, name, int(dims), network, args)))
        return 0
    if args.method:
        return 0 if compare_all(args) else 1
    if args.only:
        print(json.dumps(run(args, args.only)))
        return 0
    print(f"device {describe(choose(args.device))}, threads {set_threads(args.threads)}, torch {torch.__version__}, "
          f"turns of {args.block}, {args.iterations} iterations each")  # fmt: skip
    cases = ["mgcc", "vnet"] if args.case == "both" else [args.case]
    fine = [compare(argparse.Namespace(**{**vars(args), "case": case})) for case in cases]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
