"""Compares the cost of an iteration in the harness with a bare loop: same network and losses, on preloaded tensors.

    python speed/iteration_cost.py                                  # this CPU, reduced size, both cases
    python speed/iteration_cost.py --case mgcc --recipe paper       # the weak policy of the paper, not the default
    python speed/iteration_cost.py --case all --device cuda --paper-size --iterations 200 --precision bf16
    python speed/iteration_cost.py --case all --device cuda --paper-size --iterations 200 --compile cuda-graphs
    python speed/iteration_cost.py --method all --out speed/method_costs.json     # every method: see method_costs.py

Cases: `mgcc` (MGCC on mgcc-net, paper size 256 x 256, batch 4 + 4), `vnet` (mean teacher on vnet, 112 x 112 x 80,
batch 2 + 2), and, with `--case all` or by name, `unet` (mean teacher on unet, 256 x 256, 12 + 12), `ua-mt` (on vnet, as above)
and `dtlp-net` (on diff-vnet, as above).

The harness side is `semibench.training.loop.train` on `TrainingData` over a case store: it draws and augments
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from method_costs import compare_all, measured
from timed_loops import Bare, Turns, built, training_data

from semibench import (
    Recipe,
)
from semibench.discovery.registry import registry
from semibench.reporting import Reporter
from semibench.training.device import (
    PeakMemory,
    choose,
    describe,
    set_deterministic,
    set_threads,
    tune_allocator,
)
from semibench.training.loop import train

WARM = 3
"""Warm-up turns, which aren't counted."""
CASES: Mapping[str, tuple[str, str]] = {
    "mgcc": ("mgcc", "mgcc-net"), "vnet": ("mean-teacher", "vnet"), "unet": ("mean-teacher", "unet"),
    "ua-mt": ("ua-mt", "vnet"), "dtlp-net": ("dtlp-net", "diff-vnet"),
}  # fmt: skip
"""Method and network of each case."""
COMPILE: Mapping[str, bool | Literal["cuda-graphs"]] = {"no": False, "true": True, "cuda-graphs": "cuda-graphs"}
PAPER_WEAK = {"flip": 0.5, "rotate90": 0.5, "rotate": (0.0, 0.0)}
VOLUMES = {"dims": 3, "patch": (112, 112, 80), "labeled_batch": 2, "unlabeled_batch": 2}
VALUES: Mapping[str, dict[str, Any]] = {
    "mgcc": {"dims": 2, "patch": (256, 256), "labeled_batch": 4, "unlabeled_batch": 4},
    "unet": {"dims": 2, "patch": (256, 256), "labeled_batch": 12, "unlabeled_batch": 12},
    "vnet": VOLUMES, "ua-mt": VOLUMES, "dtlp-net": VOLUMES,
}  # fmt: skip
SMALL_VOLUMES = {"patch": (48, 48, 32)}
REDUCED: Mapping[str, dict[str, Any]] = {
    "mgcc": {"patch": (96, 96)},
    "unet": {"patch": (128, 128), "labeled_batch": 4, "unlabeled_batch": 4},
    "vnet": SMALL_VOLUMES, "ua-mt": SMALL_VOLUMES, "dtlp-net": SMALL_VOLUMES,
}  # fmt: skip
WIDTHS: Mapping[str, float] = {"mgcc": 0.125, "unet": 0.5, "vnet": 0.5, "ua-mt": 0.5, "dtlp-net": 0.25}


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
        compile=COMPILE[args.compile],
        evaluate_every=0,
        checkpoint_every=0,
        **values,
    )


def run(args: argparse.Namespace, side: str) -> dict[str, float]:
    """Runs one process: side "both" compares; "harness" or "bare" runs alone to measure its peak memory (MB)."""
    tune_allocator()
    set_threads(args.threads)
    device = choose(args.device)
    set_deterministic(device)
    recipe, (name, network) = recipe_of(args), CASES[args.case]
    with tempfile.TemporaryDirectory() as folder:
        data = training_data(recipe, registry().get("methods", name).resolve().streams, device, Path(folder) / "cache")
        method, other = (
            built(name, network, data.task, device, width_of(args)) if side in ("both", one) else None
            for one in ("harness", "bare")
        )
        loops = {} if other is None else {"bare": Bare(other, recipe, data, device)}
        memory = PeakMemory(device)
        if method is None:
            loops["bare"].run(recipe.iterations)
            return {"peak": memory.megabytes}
        turns = Turns(data, loops, args.block, device)
        train(
            method, turns, recipe, seed=0, device=device, folder=Path(folder) / "run", validate=None,
            reporter=Reporter(),
        )  # fmt: skip
        if side == "harness":
            return {"peak": memory.megabytes}
        # The harness's last block is left out: it ends with a checkpoint, which isn't part of an iteration.
        ours = turns.times["harness"][WARM:]
        theirs = turns.times["bare"][WARM : WARM + len(ours)]
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
    parser.add_argument("--case", choices=[*CASES, "both", "all"], default="both", help="both: mgcc and vnet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--paper-size", action="store_true", help="use the papers' sizes instead of reduced ones")
    parser.add_argument("--recipe", choices=["default", "paper"], default="default", help="weak policy of the harness")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument(
        "--compile", choices=list(COMPILE), default="no", help="of the harness; the bare loop stays plain"
    )
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
    cases = {"both": ["mgcc", "vnet"], "all": list(CASES)}.get(args.case, [args.case])
    fine = [compare(argparse.Namespace(**{**vars(args), "case": case})) for case in cases]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
