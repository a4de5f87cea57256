"""Measures what it costs to draw and augment a batch, beside the step of a small network on such a batch.

    python speed/batch_cost.py                                       # 2D 64 x 64, 4 + 4 images, the smallest network
    python speed/batch_cost.py --profile 25                          # where the time of the batches goes
    python speed/batch_cost.py --against /tmp/earlier/benchmark      # beside another checkout's semibench, in turns

The step is that of a bare loop (`Bare` in timed_loops.py): forward, losses, backward and optimiser, on batches in memory. Batches
and steps take turns, and both are of one thread and counted in CPU time, which a busy machine disturbs least; the median counts.
Views are those of the recipe `quick` (tilts and scales), of the default policy, and of none. With --against, the batches of both
sides are also compared digit by digit. Exits with 1 if a batch takes more than --at-most of a step.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from timed_loops import Bare, built, training_data

from semibench import Recipe, StrongPolicy, WeakPolicy
from semibench.discovery.registry import registry
from semibench.training.device import choose, set_deterministic, set_threads, tune_allocator

PATCH, BATCH = (64, 64), 4
WARM = 5
STILL: dict[str, Any] = {"flip": 0.0, "rotate90": 0.0, "rotate": (0.0, 0.0)}
VIEWS: Mapping[str, dict[str, Any]] = {
    "quick": {"flip": 0.0, "rotate90": 0.0, "rotate": (0.5, 20.0), "scale": (0.5, 0.8, 1.25)},
    "default": {},
    "none": STILL,
}
METHODS = ("supervised", "mean-teacher", "fixmatch")
"""One stream, two streams, two streams of which one has strong views."""


def recipe_of(view: str, rounds: int) -> Recipe:
    return Recipe(
        name="cost", dims=2, patch=PATCH, iterations=rounds + 2 * WARM, labeled_batch=BATCH, unlabeled_batch=BATCH,
        evaluate_every=0, checkpoint_every=0, weak=WeakPolicy(**VIEWS[view]), strong=StrongPolicy(),
        channels_last=True,
    )  # fmt: skip


def worked(act: Callable[[], object]) -> float:
    """Returns the CPU seconds of a call."""
    start = time.process_time()
    act()
    return time.process_time() - start


def measured(method: str, view: str, args: argparse.Namespace) -> dict[str, float]:
    """Returns the medians of CPU seconds of a batch and of a step."""
    device = choose("cpu")
    recipe = recipe_of(view, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        data = training_data(recipe, registry().get("methods", method).resolve().streams, device, Path(folder))
        bare = Bare(built(method, args.network, data.task, device, args.width), recipe, data, device)
        batches, steps = [], []
        for number in range(args.rounds + WARM):
            batches.append(worked(lambda number=number: data.batch(number)))
            steps.append(worked(lambda: bare.run(1)))
        if args.profile:
            profile = cProfile.Profile()
            profile.enable()
            for number in range(args.rounds):
                data.batch(number)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(args.profile)
    return {"batch": statistics.median(batches[WARM:]), "step": statistics.median(steps[WARM:])}


def drawn(method: str, view: str, rounds: int) -> dict[str, Any]:
    """Returns the CPU seconds of batches alone, and a digest of all their digits."""
    recipe = recipe_of(view, rounds)
    with tempfile.TemporaryDirectory() as folder:
        streams = registry().get("methods", method).resolve().streams
        data = training_data(recipe, streams, torch.device("cpu"), Path(folder))
        seconds, digest = [], sha256()
        for number in range(rounds + WARM):
            start = time.process_time()
            batch = data.batch(number)
            seconds.append(time.process_time() - start)
            for name, samples in batch.items():
                kept = (samples.image, *samples.strong, samples.label, samples.valid, samples.domain, samples.index)
                for part in kept:
                    digest.update(name.encode() if part is None else part.contiguous().numpy().tobytes())
    return {"batch": statistics.median(seconds[WARM:]), "digits": digest.hexdigest()}


def beside(other: Path, method: str, view: str, args: argparse.Namespace) -> None:
    """Prints a row that compares the batches of this checkout with those of another one, in turns of processes."""
    found: dict[str, list[dict[str, Any]]] = {"this": [], "other": []}
    for _ in range(args.turns):
        for side in found:
            paths = os.environ.get("PYTHONPATH", "")
            env = {**os.environ, "PYTHONPATH": paths if side == "this" else os.pathsep.join([str(other), paths])}
            command = [sys.executable, __file__, "--drawn", method, view, "--rounds", str(args.rounds)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    now, then = (min(one["batch"] for one in found[side]) for side in ("this", "other"))
    same = len({one["digits"] for side in found.values() for one in side}) == 1
    print(f"| {method} | {view} | {then * 1e3:.2f} ms | {now * 1e3:.2f} ms | {now / then:.2f} | "
          f"{'equal' if same else 'OTHER'} |", flush=True)  # fmt: skip


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--width", type=float, default=0.25, help="share of the network's published channels")
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--view", choices=list(VIEWS), action="append")
    parser.add_argument("--rounds", type=int, default=60, help="batches and steps of each case")
    parser.add_argument("--turns", type=int, default=3, help="with --against: processes of each side")
    parser.add_argument("--against", type=Path, help="the folder that holds another `semibench`")
    parser.add_argument("--at-most", type=float, default=0.05)
    parser.add_argument("--profile", type=int, help="also print so many lines of a profile")
    parser.add_argument("--drawn", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    set_deterministic(choose("cpu"))
    if args.drawn:
        print(json.dumps(drawn(*args.drawn, args.rounds)))
        return 0
    cases = [(method, view) for method in args.method or METHODS for view in args.view or VIEWS]
    if args.against:
        print("| method | views | batch, other | batch, this | ratio | digits |\n| --- | --- | --- | --- | --- | --- |")
        for case in cases:
            beside(args.against, *case, args)
        return 0
    print(
        f"{args.network} at {args.width:g} of its width, {PATCH[0]} x {PATCH[1]}, {BATCH} + {BATCH} images, one thread"
    )
    print("| method | views | batch | step | batch / step |\n| --- | --- | --- | --- | --- |")
    largest = 0.0
    for method, view in cases:
        found = measured(method, view, args)
        ratio = found["batch"] / found["step"]
        largest = max(largest, ratio)
        print(
            f"| {method} | {view} | {found['batch'] * 1e3:.2f} ms | {found['step'] * 1e3:.2f} ms | {ratio:.3f} |",
            flush=True,
        )
    return 0 if largest <= args.at_most else 1


if __name__ == "__main__":
    sys.exit(main())
