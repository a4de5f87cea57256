"""Times torch's three forms of an optimiser step beside each other, and their share of an iteration.

    python speed/optimiser_steps.py                       # U-Net and V-Net of mean teacher, mgcc-net; SGD, Adam, AdamW
    python speed/optimiser_steps.py --optimiser adam --quick --turns 30

The forms: `plain` (tensor by tensor, torch's choice on a CPU), `foreach` (lists of tensors), `fused` (one kernel). Three copies
of a network get the same gradients and take their steps in turns; the bare iteration is timed beside them. `saves` is what a form
saves of the iteration. `digits`: the largest difference from the plain form's weights after all steps, in units of the largest
weight. Figures are medians of CPU time of one thread.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from timed_loops import Bare, built, training_data
from torch import nn

from semibench import Method, Recipe
from semibench.discovery.registry import registry
from semibench.training.device import set_threads, tune_allocator
from semibench.training.schedules import KINDS

WARM = 2
"""Turns at the start that aren't counted."""
FORMS = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
SETTINGS: tuple[tuple[str, str, tuple[int, ...], int, float], ...] = (
    ("mean-teacher", "unet", (128, 128), 4, 1.0),
    ("mean-teacher", "vnet", (48, 48, 32), 2, 0.5),
    ("mgcc", "mgcc-net", (96, 96), 4, 0.25),
)
"""Method, network, patch, batch of each pool, width: those of against_peers.py at its reduced sizes."""
QUICK: tuple[tuple[str, str, tuple[int, ...], int, float], ...] = (
    ("supervised", "unet", (64, 64), 4, 0.5),
    ("mean-teacher", "unet", (64, 64), 4, 0.5),
    ("mgcc", "mgcc-net", (64, 64), 4, 0.125),
    ("supervised", "unet", (32, 32, 32), 2, 0.5),
)
"""The same at the sizes of the recipe `quick`."""


class Found(NamedTuple):
    """Seconds of an iteration, and by form of the optimiser: seconds of a step, relative difference of the weights."""

    iteration: float
    steps: dict[str, float]
    differences: dict[str, float]


def compared(loop: Bare, kind: str, turns: int) -> Found:
    """Lets the loop train for some turns; after each, all forms take a step with the loop's gradients."""
    parameters = [p for p in loop.method.parameters() if p.requires_grad]
    copies = {form: [nn.Parameter(copy.deepcopy(p.detach())) for p in parameters] for form in FORMS}
    optimisers = {form: KINDS[kind][0](copies[form], lr=1e-3, weight_decay=1e-4, **FORMS[form]) for form in FORMS}  # type: ignore[call-arg]
    spent: dict[str, list[float]] = {name: [] for name in ("iteration", *FORMS)}
    for _ in range(WARM + turns):
        spent["iteration"].append(seconds(lambda: loop.run(1)))
        gradients = [torch.randn_like(p) for p in parameters]  # the same for all forms, of the layout of the weights
        for form, optimiser in optimisers.items():
            for mine, gradient in zip(copies[form], gradients, strict=True):
                mine.grad = gradient
            spent[form].append(seconds(optimiser.step))
    largest = max(float(p.detach().abs().max()) for p in copies["plain"])
    differences = {
        form: max(float((a - b).detach().abs().max()) for a, b in zip(mine, copies["plain"], strict=True)) / largest
        for form, mine in copies.items()
    }
    middle = {name: statistics.median(values[WARM:]) for name, values in spent.items()}
    return Found(middle.pop("iteration"), middle, differences)


def seconds(action: Callable[[], object]) -> float:
    """Returns the seconds of CPU time that something takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimiser", choices=["sgd", "adam", "adamw", "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="the sizes of the recipe `quick`")
    parser.add_argument("--turns", type=int, default=8)
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    kinds = ["sgd", "adam", "adamw"] if args.optimiser == "all" else [args.optimiser]
    print(
        "| network | weights | optimiser | iteration | plain | foreach | fused | foreach saves | fused saves | foreach digits | "
        "fused digits | load |\n" + "| --- " * 12 + "|"
    )
    device = torch.device("cpu")
    for name, network, patch, batch, width in QUICK if args.quick else SETTINGS:
        method: type[Method] = registry().get("methods", name).resolve()
        for kind in kinds:
            recipe = Recipe(
                name="steps", dims=len(patch), patch=patch, labeled_batch=batch, unlabeled_batch=batch, iterations=10**6,
                optimiser=kind, channels_last=True,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                data = training_data(recipe, method.streams, device, Path(folder))
                loop = Bare(built(name, network, data.task, device, width), recipe, data, device)
                found = compared(loop, kind, args.turns)
            plain = found.steps["plain"]
            weights = sum(p.numel() for p in loop.method.parameters() if p.requires_grad)
            print(
                f"| `{network}` | {weights / 1e6:.2f} M | {kind} | {found.iteration * 1e3:.0f} ms | "
                + " | ".join(f"{found.steps[form] * 1e3:.1f} ms" for form in FORMS)
                + "".join(f" | {(plain - found.steps[form]) / found.iteration:.1%}" for form in ("foreach", "fused"))
                + "".join(f" | {found.differences[form]:.0e}" for form in ("foreach", "fused"))
                + f" | {os.getloadavg()[0]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
