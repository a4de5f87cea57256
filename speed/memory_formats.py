"""Times an iteration of the bare loop with contiguous memory and with channels last, in turns, on small images and volumes.

    python speed/memory_formats.py --turns 20

The sizes are those of the recipe `quick`: 4 + 4 images of 64 x 64, 2 + 2 volumes of 32 x 32 x 32, its widths. Figures are medians
of CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from timed_loops import Bare, built, training_data

from semibench import Method, Recipe
from semibench.discovery.registry import registry
from semibench.training.device import set_threads, tune_allocator

WARM = 2
"""Turns at the start that aren't counted."""
SETTINGS = (
    ("supervised", "unet", 2, 0.5),
    ("fixmatch", "unet", 2, 0.5),
    ("mgcc", "mgcc-net", 2, 0.125),
    ("supervised", "deeplabv3plus", 2, 0.25),
    ("supervised", "diff-vnet", 2, 0.25),
    ("supervised", "unet", 3, 0.5),
    ("supervised", "vnet", 3, 0.5),
    ("supervised", "diff-vnet", 3, 0.125),
)
"""Method, network, dims, width."""


def seconds(name: str, network: str, dims: int, width: float, turns: int) -> dict[bool, float]:
    """Returns the median seconds of CPU of an iteration. True: channels last."""
    device, loops = torch.device("cpu"), {}
    method_type: type[Method] = registry().get("methods", name).resolve()
    with tempfile.TemporaryDirectory() as folder:
        for channels_last in (False, True):
            patch, batch = ((64, 64), 4) if dims == 2 else ((32, 32, 32), 2)
            recipe = Recipe(
                name="formats", dims=dims, patch=patch, labeled_batch=batch, unlabeled_batch=batch, iterations=turns + WARM,
                channels_last=channels_last,
            )  # fmt: skip
            data = training_data(recipe, method_type.streams, device, Path(folder) / str(channels_last))
            loops[channels_last] = Bare(built(name, network, data.task, device, width), recipe, data, device)
        spent: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(turns + WARM):
            for channels_last, loop in loops.items():
                start = time.process_time()
                loop.run(1)
                spent[channels_last].append(time.process_time() - start)
    return {channels_last: statistics.median(found[WARM:]) for channels_last, found in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    print("| method | network | dims | contiguous | channels last | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for name, network, dims, width in SETTINGS:
        found = seconds(name, network, dims, width, args.turns)
        plain, last = found[False] * 1e3, found[True] * 1e3
        print(f"| `{name}` | `{network}` | {dims} | {plain:.0f} ms | {last:.0f} ms | {last / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
