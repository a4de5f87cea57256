"""Times an iteration of every method beside a bare loop and beside `supervised`: `python speed/iteration_cost.py --method all`.

For each method and its dims, three loops take turns in one process: the harness (`semibench.training.loop.train`), the bare loop of
the same method (the method's step on batches in memory: no drawing of samples, seeds, checks, figures), and the bare loop of
`supervised` on the same network. Figures are of CPU time, which a busy machine disturbs least; the median
of the turns of a stage counts. Peak memory is that of a process of its own. The network is the method's default one at a quarter of
its width.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timed_loops import Bare, Turns, built, training_data

from semibench import Method, Recipe, UnsupportedError
from semibench.discovery.registry import registry
from semibench.reporting import Reporter
from semibench.run.defaults import default_backbone
from semibench.training.device import PeakMemory, choose, set_deterministic, set_threads, tune_allocator
from semibench.training.loop import train
from semibench.training.schedules import StagePlan, plan_stages

WARM = 2
"""Turns at the start of a stage that aren't counted."""
LONGEST = 100
"""Most iterations; a stage of a fixed, small number of steps isn't counted."""

WIDTH = 0.25
REFERENCE = "supervised"
AT_MOST = 1.10
"""Goal of harness / bare loop."""

SIZES: Mapping[int, dict[str, Any]] = {
    2: {"patch": (64, 64), "labeled_batch": 4, "unlabeled_batch": 4},
    3: {"patch": (32, 32, 32), "labeled_batch": 2, "unlabeled_batch": 2},
}
FILE = Path(__file__).with_name("method_costs.json")
"""What docs/methods.md shows."""

HEADER = """| method | dims | network | harness / bare | time / supervised | memory / supervised |
| --- | --- | --- | --- | --- | --- |"""
Figures = dict[str, Any]


def recipe_of(dims: int, iterations: int) -> Recipe:
    return Recipe(
        name="cost", dims=dims, iterations=iterations, evaluate_every=0, checkpoint_every=0, **SIZES[dims]
    )  # fmt: skip


def typical(turns: Turns, name: str, plans: Sequence[StagePlan]) -> float:
    """Returns CPU seconds of an iteration: the median of each stage, weighted by the share of the run that the stage has.

    The first turns of each stage aren't counted, nor is the last one, in which the harness writes a checkpoint.
    """
    total, weight = 0.0, 0
    for plan in plans:
        counted = range(plan.offset + WARM, plan.offset + plan.steps - 1)
        if counted:
            total += plan.steps * statistics.median(turns.times[name][number].work for number in counted)
            weight += plan.steps
    return total / weight


def enough(method: Method, iterations: int) -> int:
    """Returns as many iterations, or more (up to LONGEST), so that some turns of each stage are counted."""
    while iterations < LONGEST and min(plan.steps for plan in plan_stages(method, iterations)) < 3 * WARM:
        iterations += 5
    return iterations


def networks() -> list[tuple[str, int, str]]:
    """Returns (method, dims, default network) of all methods that train a network."""
    plugins = registry()
    return [
        (
            item.name,
            dims,
            default_backbone(plugins, item, dims=dims, recipe="cost", protocol="ssmis", dataset="balls").name,
        )
        for item in sorted(plugins.cards("methods"), key=lambda item: item.name)
        for dims in item.card.dims
        if item.distribution == "semibench" and item.card.reference != "no image"
    ]


def times(name: str, dims: int, network: str, args: Namespace) -> Figures:
    """Returns the CPU milliseconds of an iteration of the three loops, and the trained parameters."""
    device, plugins = choose(args.device), registry()
    kind, reference_kind = (plugins.get("methods", one).resolve() for one in (name, REFERENCE))
    with tempfile.TemporaryDirectory() as folder:
        cache, recipe = Path(folder) / "cache", recipe_of(dims, args.iterations)
        data = training_data(recipe, kind.streams, device, cache)
        recipe = recipe_of(dims, enough(built(name, network, data.task, device, WIDTH), args.iterations))
        data, reference_data = (training_data(recipe, one.streams, device, cache) for one in (kind, reference_kind))
        loops = {
            "bare": Bare(built(name, network, data.task, device, WIDTH), recipe, data, device),
            REFERENCE: Bare(built(REFERENCE, network, data.task, device, WIDTH), recipe, reference_data, device),
        }
        method, turns = built(name, network, data.task, device, WIDTH), Turns(data, loops, 1, device)
        train(
            method, turns, recipe, seed=0, device=device, folder=Path(folder) / "run", validate=None, reporter=Reporter()
        )  # fmt: skip
        plans = loops["bare"].plan
        figures: Figures = {side: round(1e3 * typical(turns, side, plans), 2) for side in turns.times}
        return figures | {"parameters": sum(p.numel() for p in method.parameters() if p.requires_grad)}


def peak(name: str, dims: int, network: str, args: Namespace) -> float:
    """Trains a few iterations in this process and returns its peak memory in MB."""
    device, recipe = choose(args.device), recipe_of(dims, 6)
    with tempfile.TemporaryDirectory() as folder:
        kind: type[Method] = registry().get("methods", name).resolve()
        data = training_data(recipe, kind.streams, device, Path(folder) / "cache")
        method, memory = built(name, network, data.task, device, WIDTH), PeakMemory(device)
        Bare(method, recipe, data, device).run(recipe.iterations)
        return memory.megabytes


def in_own_process(what: str, name: str, dims: int, network: str, args: Namespace) -> Any:
    """Returns what `measured` prints in a new process."""
    command = [sys.executable, str(Path(__file__).with_name("iteration_cost.py")), "--device", args.device,
               "--iterations", str(args.iterations), "--one", what, name, str(dims), network]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return {"error": lines[-1]}
    return json.loads(done.stdout)


def measured(what: str, name: str, dims: int, network: str, args: Namespace) -> Any:
    """Times or weighs one method in this process."""
    tune_allocator()
    set_threads(args.threads or 1)
    set_deterministic(choose(args.device))
    try:
        return (times if what == "times" else peak)(name, dims, network, args)
    except UnsupportedError as reason:
        return {"unsupported": str(reason)}


def compare_all(args: Namespace) -> bool:
    """Prints a table of the chosen methods, merges their figures into `args.out`; returns whether the ratios are small enough."""
    chosen = [one for one in networks() if args.method in ("all", one[0]) and args.dims in (None, one[1])]
    if not chosen:
        raise SystemExit(f"no method {args.method!r}; known: all, {', '.join(sorted({one[0] for one in networks()}))}")
    weights: dict[tuple[int, str], float] = {}
    found: dict[str, Figures] = {}
    print(HEADER)
    for name, dims, network in chosen:
        figures = in_own_process("times", name, dims, network, args)
        reason = figures.get("error") or figures.get("unsupported")
        if reason:
            print(f"| {name} | {dims}D | {network} | not measured: {reason} | | |", flush=True)
            continue
        if args.memory:
            if (dims, network) not in weights:
                weights[dims, network] = in_own_process("memory", REFERENCE, dims, network, args)
            figures["memory"] = round(in_own_process("memory", name, dims, network, args) / weights[dims, network], 3)
        found[f"{name} {dims}D"] = figures | {"network": network}
        if args.out:
            known = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
            args.out.write_text(json.dumps(dict(sorted((known | found).items())), indent=1) + "\n", encoding="utf-8")
        print(f"| {name} | {dims}D | {network} | {figures['harness'] / figures['bare']:.3f} | "
              f"{figures['bare'] / figures[REFERENCE]:.2f} | {figures.get('memory', '')} |", flush=True)  # fmt: skip
    return all(one["harness"] / one["bare"] <= args.at_most for one in found.values()) and len(found) > 0


def main() -> None:
    """Prints what the file of figures says in the whole."""
    found: dict[str, Figures] = json.loads(FILE.read_text(encoding="utf-8"))
    ratios = {name: one["harness"] / one["bare"] for name, one in found.items()}
    slow = {name: ratio for name, ratio in sorted(ratios.items(), key=lambda pair: -pair[1]) if ratio > AT_MOST}
    print(f"harness / bare loop: median {statistics.median(ratios.values()):.3f} of {len(ratios)}")
    listed = ", ".join(f"{name} {ratio:.2f} ({found[name]['bare']:.0f} ms)" for name, ratio in slow.items())
    print(f"above {AT_MOST} (in brackets the bare loop): {listed or 'none'}")
    for dims in SIZES:
        added = [one["harness"] - one["bare"] for name, one in found.items() if name.endswith(f" {dims}D")]
        print(f"harness − bare loop in {dims}D: median {statistics.median(added):.1f} ms")
    times = {name: one["bare"] / one[REFERENCE] for name, one in found.items()}
    weights = {name: one["memory"] for name, one in found.items() if "memory" in one}
    for what, values in (("time", times), ("memory", weights)):
        most = ", ".join(f"{name} {values[name]:.1f}" for name in sorted(values, key=lambda name: -values[name])[:5])
        print(f"{what} / {REFERENCE}: median {statistics.median(values.values()):.2f}; most: {most}")


if __name__ == "__main__":
    main()
