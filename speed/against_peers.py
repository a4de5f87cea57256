"""Times an iteration of the harness beside the loop that scripts of the field have, and beside the limit of the machine.

    python speed/against_peers.py                          # this CPU, reduced sizes, all three settings
    python speed/against_peers.py --setting mean-teacher --paper-size
    python speed/against_peers.py --setting mean-teacher --paper-patch    # the paper's patch and batch; not mgcc in 24 GB
    python speed/against_peers.py --setting ua-mt --profile          # the limit by operator, and its share of the peak
    python speed/against_peers.py --device cuda --paper-size --turns 50

Settings: `mean-teacher` (U-Net of 1.8 M parameters, 12 + 12 slices of 256 x 256), `ua-mt` (V-Net, 2 + 2 volumes of
112 x 112 x 80) and `mgcc` (mgcc-net, 4 + 4 images of 256 x 256). Four processes take turns, each an iteration at a time while
the others wait:

- `field`: the loop of field_loops.py. Its loader's worker processes may fill their queues while the others run, so its wall time
  flatters it; its CPU time counts them.
- `harness`: `semibench.training.loop.train`, which is the training part of `bench run`, with channels last as in the recipe
  `quick`.
- `contiguous`, `channels last`: the bare loop of the method (timed_loops.Bare) on batches in memory, with the harness's
  setting of the allocator. The faster one is the limit.

All have the same network, losses and sizes of batches. A time is the median of the turns; a ratio is the median of the turns'
ratios, which a machine that slows down between two turns disturbs less. Goal: harness / limit at most 1.05 of CPU time (on an
accelerator: of wall time). The table has CPU time on a CPU, since others may use the machine; its last column is how many
processes wanted the processor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import psutil
import torch
from field_loops import FieldLoop, MeanTeacherLoop, MGCCLoop, UAMTLoop, loader
from timed_loops import Balls, Bare, built, training_data
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from semibench import Method, Recipe, Samples, Task
from semibench.data.training import TrainingData
from semibench.discovery.registry import registry
from semibench.reporting import Reporter
from semibench.training.device import choose, describe, set_deterministic, set_threads, synchronize, tune_allocator
from semibench.training.loop import train

WARM = 2
"""Turns at the start that aren't counted."""
SIDES = ("field", "harness", "contiguous", "channels last")


class Setting(NamedTuple):
    """A method with its network, sizes and field loop. reduced: what is smaller unless --paper-size."""

    method: str
    network: str
    patch: tuple[int, ...]
    batch: tuple[int, int]
    loop: type[FieldLoop]
    reduced: Mapping[str, Any]


SETTINGS = {
    "mean-teacher": Setting(
        "mean-teacher", "unet", (256, 256), (12, 12), MeanTeacherLoop, {"patch": (128, 128), "batch": (4, 4)}
    ),
    "ua-mt": Setting("ua-mt", "vnet", (112, 112, 80), (2, 2), UAMTLoop, {"patch": (48, 48, 32), "width": 0.5}),
    "mgcc": Setting("mgcc", "mgcc-net", (256, 256), (4, 4), MGCCLoop, {"patch": (96, 96), "width": 0.25}),
}


class Sizes(NamedTuple):
    """What a setting is run with."""

    patch: tuple[int, ...]
    batch: tuple[int, int]
    width: float

    @classmethod
    def of(cls, setting: Setting, args: argparse.Namespace) -> Sizes:
        values = {"patch": setting.patch, "batch": setting.batch, "width": 1.0}
        reduced = {} if args.paper_size else setting.reduced
        kept = ("width",) if args.paper_patch else tuple(reduced)
        return cls(**values | {name: reduced[name] for name in kept if name in reduced})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=[*SETTINGS, "all"], default="all")
    parser.add_argument("--paper-size", action="store_true", help="use the papers' sizes instead of reduced ones")
    parser.add_argument("--paper-patch", action="store_true", help="use their patches and batches; widths stay reduced")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True,
                        help="what the harness trains with: as in the recipe `quick`, or contiguous")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the field's loader")
    parser.add_argument("--at-most", type=float, default=1.05, help="greatest harness / limit that counts as reached")
    parser.add_argument("--profile", action="store_true", help="print where the limit's time goes instead of comparing")
    parser.add_argument("--out", type=Path, help="a file of JSON that gets the figures")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        take_turns(args)
        return 0
    print(f"device {describe(choose(args.device))}, threads {set_threads(args.threads)}, torch {torch.__version__}\n")
    names = list(SETTINGS) if args.setting == "all" else [args.setting]
    if args.profile:
        tune_allocator()
        for name in names:
            print_profile(name, args)
        return 0
    print(HEADER, flush=True)
    figures = {name: compare(name, args) for name in names}
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(any(found["harness / limit"] > args.at_most for found in figures.values()))


HEADER = """| setting | size | field | harness | bare, contiguous | bare, channels last | harness / limit | field / harness | load |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def compare(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Lets the four processes of a setting take turns; prints a row, and returns medians (seconds) and ratios of the turns."""
    command = [sys.executable, __file__, *sys.argv[1:], "--setting", name]
    processes = {
        side: subprocess.Popen([*command, "--side", side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in SIDES
    }
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    try:
        for _ in range(WARM + args.turns):
            for side, process in processes.items():
                times[side].append(turn(side, process))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    found: dict[str, float] = {}
    for number, kind in enumerate(("wall", "CPU")):
        spent = {side: [both[number] for both in taken[WARM:]] for side, taken in times.items()}
        middle = {side: statistics.median(values) for side, values in spent.items()}
        limit = min("contiguous", "channels last", key=lambda side: middle[side])
        found |= {f"{side}, {kind}": value for side, value in middle.items()}
        found[f"harness / limit, {kind}"] = paired(spent["harness"], spent[limit])
        found[f"field / harness, {kind}"] = paired(spent["field"], spent["harness"])
    counted = "CPU" if args.device == "cpu" else "wall"
    found["harness / limit"] = found[f"harness / limit, {counted}"]
    shown = " | ".join(f"{found[f'{side}, {counted}'] * 1e3:.0f} ms" for side in SIDES)
    print(f"| `{name}` | {size_of(name, args)} | {shown} | {found['harness / limit']:.3f} | "
          f"{found[f'field / harness, {counted}']:.2f} | {psutil.getloadavg()[0]:.0f} |", flush=True)  # fmt: skip
    return found


def paired(ours: list[float], theirs: list[float]) -> float:
    """Returns the median of the turns' ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def size_of(name: str, args: argparse.Namespace) -> str:
    """Returns network, width, batch and patch of a setting as text."""
    sizes = Sizes.of(SETTINGS[name], args)
    patch = " x ".join(map(str, sizes.patch))
    return f"{SETTINGS[name].network} at {sizes.width:g} of its width, {sizes.batch[0]} + {sizes.batch[1]} of {patch}"


# ---- where the limit's time goes -----------------------------------------------------------------------------------------

SHOWN = 8
"""Operators in a profile."""


def print_profile(name: str, args: argparse.Namespace) -> None:
    """Prints the operators of the limit that take the most time, and how far from the processor's peak it is.

    The peak is what a product of two large matrices reaches here, in operations of a second of CPU time.
    """
    device = choose(args.device)
    set_deterministic(device)
    setting, sizes = SETTINGS[name], Sizes.of(SETTINGS[name], args)
    recipe = recipe_of(sizes, args.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        method_type: type[Method] = registry().get("methods", setting.method).resolve()
        data = training_data(recipe, method_type.streams, device, Path(folder))
        loop = Bare(built(setting.method, setting.network, data.task, device, sizes.width), recipe, data, device)
    loop.run(WARM)
    with FlopCounterMode(display=False) as counter:
        loop.run(1)
    operations, reached, peak = counter.get_total_flops(), [], []
    for _ in range(args.turns):  # in turns, so that a busy machine slows both
        reached.append(operations / spent_by(lambda: loop.run(1), device))
        peak.append(peak_of(device))
    kinds = [ProfilerActivity.CPU] if device.type == "cpu" else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=kinds) as measured:
        loop.run(args.turns)
    by_operator = {
        event.key: event.self_cpu_time_total if device.type == "cpu" else event.self_device_time_total
        for event in measured.key_averages()
    }
    total = sum(by_operator.values())
    print(f"`{name}`, {size_of(name, args)}, {'channels last' if args.channels_last else 'contiguous'}: "
          f"{operations / 1e9:.2f} GFLOP an iteration at {statistics.median(reached) / 1e9:.0f} GFLOP/s, "
          f"{paired(reached, peak):.0%} of what a matrix product reaches here "
          f"({statistics.median(peak) / 1e9:.0f} GFLOP/s)\n")  # fmt: skip
    print("| operator | share of the time |\n| --- | --- |")
    for operator, spent in sorted(by_operator.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"| `{operator}` | {spent / total:.1%} |")
    print(flush=True)


def spent_by(action: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that something takes: CPU time of this process on a CPU, else wall time."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    action()
    synchronize(device)
    return clock() - start


def peak_of(device: torch.device, side: int = 1536) -> float:
    """Returns the floating-point operations a second of a product of two square matrices."""
    a, b = (torch.ones(side, side, device=device) for _ in range(2))
    return 2 * side**3 / spent_by(lambda: a @ b, device)


# ---- the sides -----------------------------------------------------------------------------------------------------------


def recipe_of(sizes: Sizes, channels_last: bool) -> Recipe:
    return Recipe(
        name="peers", dims=len(sizes.patch), patch=sizes.patch, labeled_batch=sizes.batch[0], unlabeled_batch=sizes.batch[1],
        iterations=10**6, optimiser="sgd", channels_last=channels_last, evaluate_every=0, checkpoint_every=0,
    )  # fmt: skip


def turn(side: str, process: subprocess.Popen[str]) -> tuple[float, float]:
    """Lets a process run an iteration; returns seconds of wall and of CPU time.

    Raises:
        SystemExit: if the process has ended; its error stands on the terminal.
    """
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise SystemExit(f"the process of {side!r} has ended") from None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the process of {side!r} has ended")
    wall, work = json.loads(line)
    return wall, work


def take_turns(args: argparse.Namespace) -> None:
    """Runs one side: waits for a line, runs an iteration, prints its seconds, and so on."""
    setting, device = SETTINGS[args.setting], choose(args.device)
    sizes = Sizes.of(setting, args)
    if args.side != "field":
        tune_allocator()
    set_threads(args.threads)
    set_deterministic(device)
    channels_last = args.channels_last if args.side == "harness" else args.side == "channels last"
    recipe = recipe_of(sizes, channels_last)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if args.side == "field":
            run_field(setting, sizes, place, args.workers, device)
            return
        method_type: type[Method] = registry().get("methods", setting.method).resolve()
        data = training_data(recipe, method_type.streams, device, place / "cache")
        method = built(setting.method, setting.network, data.task, device, sizes.width)
        if args.side == "harness":
            paced = Paced(data, Pace(device))
            train(
                method, paced, recipe, seed=0, device=device, folder=place / "run", validate=None, reporter=Reporter()
            )
        else:
            in_turns(Bare(method, recipe, data, device), Pace(device))


def in_turns(loop: Bare | FieldLoop, pace: Pace) -> None:
    """Runs a loop one iteration at a time, for ever."""
    while True:
        pace.wait()
        loop.run(1)


def run_field(setting: Setting, sizes: Sizes, folder: Path, workers: int, device: torch.device) -> None:
    """Writes the cases to HDF5 files and runs the field's loop on them."""
    balls = Balls(len(sizes.patch), sizes.patch, 16)
    files = []
    for ref in balls.index():
        case = balls.read(ref)
        assert case.label is not None
        files.append(folder / f"{ref.id}.h5")
        with h5py.File(files[-1], "w") as file:
            file.create_dataset("image", data=case.image[0].numpy(), compression="gzip")
            file.create_dataset("label", data=case.label.numpy(), compression="gzip")
    task = Task(
        dims=len(sizes.patch), channels=1, classes=("background", "ball"), patch=sizes.patch, domains=(), cases={}
    )
    method = built(setting.method, setting.network, task, device, sizes.width)
    model = method if setting.loop is MGCCLoop else method.get_submodule("student")
    batches = loader(files, 6, sizes.patch, sizes.batch, workers)
    in_turns(setting.loop(model, batches, sizes.batch[0]), Pace(device))


class Pace:
    """Times what happens between two calls of `wait`, and prints it when the next one comes."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.began = device, 0.0
        self.process, self.work = psutil.Process(), 0.0

    def wait(self) -> None:
        """Prints the seconds since the last line came (CPU time: since the last print, worker processes included), then waits for
        the next line. Ends the process when there are no more."""
        synchronize(self.device)
        if self.began:
            wall, before = time.perf_counter() - self.began, self.work
            self.work = self._work()
            print(json.dumps([wall, self.work - before]), flush=True)
        else:
            self.work = self._work()
        if not sys.stdin.readline():
            raise SystemExit
        self.began = time.perf_counter()

    def _work(self) -> float:
        """Returns the seconds of CPU of this process and its children so far. The system counts a child's in hundredths."""
        children = [process.cpu_times() for process in self.process.children(recursive=True)]
        return time.process_time() + sum(used.user + used.system for used in children)


class Paced:
    """Training data that wait for a line before each iteration."""

    def __init__(self, data: TrainingData, pace: Pace) -> None:
        self.data, self.pace = data, pace
        self.task, self.pools = data.task, data.pools

    def passes(self, iteration: int) -> dict[str, float]:
        self.pace.wait()
        return self.data.passes(iteration)

    def batch(self, iteration: int) -> dict[str, Samples]:
        return self.data.batch(iteration)


if __name__ == "__main__":
    sys.exit(main())
