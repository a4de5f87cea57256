"""Times an iteration of every method beside a bare loop and beside `supervised`: `python speed/iteration_cost.py --method all`.

For each method and its dims, three loops take turns in one process: the harness (`semibench.training.loop.train`), the bare loop of
the same method (the method's step on batches in memory: no drawing of samples, seeds, checks, figures), and the bare loop of
`supervised` on the same network. Figures are of CPU time, which a busy machine disturbs least; the median of the turns counts.
Peak memory is that of a process of its own. The network is the method's default one at a quarter of its width.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from balls import training_data
from torch import Tensor

from semibench import Backbone, Batch, Clock, Losses, Method, Recipe, Samples, Task, UnsupportedError
from semibench.data.training import TrainingData
from semibench.discovery.registry import registry
from semibench.reporting import Reporter
from semibench.run.defaults import default_backbone
from semibench.training import seeding
from semibench.training.device import PeakMemory, choose, set_deterministic, set_threads, tune_allocator
from semibench.training.loop import train
from semibench.training.schedules import Driver, StagePlan, build_drivers, plan_stages

WARM = 2
"""Turns at the start of a stage that aren't counted."""
PRELOADED = 4
WIDTH = 0.25
REFERENCE = "supervised"
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


def built(name: str, network: str, task: Task, device: torch.device) -> Method:
    """Returns a method with its default options on a network.

    Raises:
        UnsupportedError: with the method's reason, if it can't learn this task.
    """
    plugins = registry()
    item, other = plugins.get("methods", name), plugins.get("backbones", network)
    kind: type[Method] = item.resolve()
    options = kind.Options()
    reason = kind.unsupported(task, options)
    if reason:
        raise UnsupportedError(reason)

    def backbones(wanted: str | None = None, **given: Any) -> Backbone:
        net: type[Backbone] = (other if wanted is None else plugins.get("backbones", wanted)).resolve()
        channels, outputs = given.pop("channels", None), given.pop("outputs", None)
        width = {"width": WIDTH} if "width" in net.Options.model_fields else {}
        return net(
            dims=task.dims, channels=channels or task.channels, outputs=outputs or len(task.classes), patch=task.patch,
            options=net.Options(**(width | given)),
        )  # fmt: skip

    seeding.seed_construction(0)
    return kind(task, backbones, options).to(device)


class Bare:
    """The loop that a researcher would write around a method: its step and optimisers, nothing else. One call is one iteration."""

    def __init__(self, method: Method, recipe: Recipe, data: TrainingData) -> None:
        self.method, self.recipe, self.data = method, recipe, data
        self.batches: list[Batch] = [data.batch(number) for number in range(PRELOADED)]
        self.plan = plan_stages(method, recipe.iterations)
        self.drivers: dict[str, Driver] = {}
        self.clock = Clock("train", 0, 1, {})
        method.train()

    def optimise(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
        """Sends the weighted sum of the losses to the parameters of the optimisers."""
        drivers = [self.drivers[name] for name in (on or self.drivers)]
        weighted = [(self.method.weight(name, self.clock), loss) for name, loss in losses.items()]
        total: Tensor | float = sum(weight * loss for weight, loss in weighted if weight)
        if isinstance(total, Tensor) and total.requires_grad:
            parameters = list(dict.fromkeys(p for driver in drivers for p in driver.parameters))
            torch.autograd.backward(total, inputs=parameters)
        if step:
            for driver in drivers:
                driver.optimiser.step()
                driver.optimiser.zero_grad(set_to_none=True)
        return step

    def run(self, iteration: int) -> None:
        stage = next(plan for plan in reversed(self.plan) if iteration >= plan.offset)
        if iteration == stage.offset:
            self.method.begin(stage.name, self.data.pools)
            self.drivers = build_drivers(self.method, self.recipe)
        self.clock = Clock(stage.name, iteration - stage.offset, stage.steps, self.data.passes(iteration))
        for driver in self.drivers.values():
            driver.set_rate(self.clock.step, self.clock.steps)
        self.method.step(self.batches[iteration % PRELOADED], self.clock, self.optimise)
        with torch.no_grad():
            self.method.after_step(self.clock)
        self.method.notes.clear()


class Turns:
    """The harness's data. Before each iteration of the harness it runs one of each bare loop, and times all."""

    def __init__(self, data: TrainingData, loops: Mapping[str, Bare]) -> None:
        self.data, self.loops = data, loops
        self.task, self.pools = data.task, data.pools
        self.seconds: dict[str, list[float]] = {name: [] for name in (*loops, "harness")}
        self.started: float | None = None

    def passes(self, iteration: int) -> dict[str, float]:
        if self.started is not None:
            self.seconds["harness"].append(time.process_time() - self.started)
        for name, loop in self.loops.items():
            start = time.process_time()
            loop.run(iteration)
            self.seconds[name].append(time.process_time() - start)
        self.started = time.process_time()
        return self.data.passes(iteration)

    def batch(self, iteration: int) -> dict[str, Samples]:
        return self.data.batch(iteration)

    def median(self, name: str, plans: Sequence[StagePlan]) -> float:
        """Returns the median without the first turns of each stage and the harness's last one, which saves a checkpoint."""
        count = len(self.seconds["harness"])
        counted = [n for plan in plans for n in range(plan.offset + WARM, plan.offset + plan.steps) if n < count]
        return statistics.median(self.seconds[name][number] for number in counted)


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
    """Returns the medians of CPU milliseconds of the three loops, and the trained parameters."""
    device, recipe = choose(args.device), recipe_of(dims, args.iterations)
    with tempfile.TemporaryDirectory() as folder:
        kind: type[Method] = registry().get("methods", name).resolve()
        data = training_data(recipe, kind.streams, device, Path(folder) / "cache")
        reference_kind: type[Method] = registry().get("methods", REFERENCE).resolve()
        reference_data = training_data(recipe, reference_kind.streams, device, Path(folder) / "cache")
        loops = {
            "bare": Bare(built(name, network, data.task, device), recipe, data),
            REFERENCE: Bare(built(REFERENCE, network, data.task, device), recipe, reference_data),
        }
        method, turns = built(name, network, data.task, device), Turns(data, loops)
        train(
            method, turns, recipe, seed=0, device=device, folder=Path(folder) / "run", validate=None, reporter=Reporter()
        )  # fmt: skip
        plans = loops["bare"].plan
        figures: Figures = {side: round(1e3 * turns.median(side, plans), 2) for side in turns.seconds}
        return figures | {"parameters": sum(p.numel() for p in method.parameters() if p.requires_grad)}


def peak(name: str, dims: int, network: str, args: Namespace) -> float:
    """Trains a few iterations in this process and returns its peak memory in MB."""
    device, recipe = choose(args.device), recipe_of(dims, 6)
    with tempfile.TemporaryDirectory() as folder:
        kind: type[Method] = registry().get("methods", name).resolve()
        data = training_data(recipe, kind.streams, device, Path(folder) / "cache")
        method, memory = built(name, network, data.task, device), PeakMemory(device)
        loop = Bare(method, recipe, data)
        for iteration in range(recipe.iterations):
            loop.run(iteration)
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
