"""Times torch's dropout beside other ways to draw the same masks, forward and backward, in turns.

    python speed/dropout_masks.py --turns 30

The maps are those of the U-Net at its published width on 8 images of 128 x 128, channels last, with its rates. The ways:

- `torch`: `torch.nn.functional.dropout`: a mask of floats, drawn, divided by the share that is kept, multiplied.
- `drawn only`: the drawing of torch's mask alone, `bernoulli_` on fresh floats.
- `floats kept`: the same mask in a buffer that is kept between the steps.
- `bytes kept`: `bernoulli_` on kept bytes, then the product with the map and the factor.
- `uniform`: uniform numbers compared with the rate.
- `16 bits`: four positions from one number of 64 bits. Its rate is rounded to a multiple of 1 / 65536.

All others have the same distribution; `same` names those that keep the same positions as torch from the same seed. Figures are
medians of CPU time of one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from semibench.training.device import set_threads, tune_allocator

WARM = 2
"""Turns at the start that aren't counted."""
MAPS = (
    ((8, 16, 128, 128), 0.05),
    ((8, 32, 64, 64), 0.1),
    ((8, 64, 32, 32), 0.2),
    ((8, 128, 16, 16), 0.3),
    ((8, 256, 8, 8), 0.5),
)
"""Shape of a map, share that is dropped."""


def ways(like: Tensor, rate: float) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Returns functions from a map to the map with dropped positions. like: a map, for the buffers."""
    kept, factor = 1.0 - rate, 1.0 / (1.0 - rate)
    floats, small = torch.empty_like(like), torch.empty_like(like, dtype=torch.uint8)
    bits = torch.empty_like(like, dtype=torch.int16)
    # a view of the buffer as it lies in memory, since a number of 64 bits is four neighbours there
    wide = bits.as_strided((bits.numel(),), (1,)).view(torch.int64)
    lowest = round(rate * 65536) - 32768

    def from_bits(x: Tensor) -> Tensor:
        wide.random_(-(2**63), None)
        return x * (bits >= lowest) * factor

    return {
        "torch": lambda x: F.dropout(x, rate, training=True),
        "drawn only": lambda x: torch.empty_like(x).bernoulli_(kept),
        "floats kept": lambda x: x * floats.bernoulli_(kept).mul_(factor),
        "bytes kept": lambda x: x * small.bernoulli_(kept) * factor,
        "uniform": lambda x: torch.where(torch.rand_like(x) >= rate, x * factor, 0.0),
        "16 bits": from_bits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    names = list(ways(torch.zeros(4), 0.5))
    print("| map | rate | " + " | ".join(names) + " | same | load |\n" + "| --- " * (len(names) + 4) + "|")
    total = dict.fromkeys(names, 0.0)
    for shape, rate in MAPS:
        x = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
        gradient = torch.randn(shape).to(memory_format=torch.channels_last)
        spent: dict[str, list[float]] = {name: [] for name in names}
        positions: dict[str, Tensor] = {}
        for _ in range(WARM + args.turns):
            for name, way in ways(x.detach(), rate).items():
                torch.manual_seed(0)
                start = time.process_time()
                y = way(x)
                if y.requires_grad:
                    y.backward(gradient)
                spent[name].append(time.process_time() - start)
                positions[name], x.grad = y.detach() != 0, None
        middle = {name: statistics.median(values[WARM:]) * 1e3 for name, values in spent.items()}
        total = {name: total[name] + middle[name] for name in names}
        same = ", ".join(name for name in names[1:] if torch.equal(positions[name], positions["torch"])) or "none"
        print(f"| {' x '.join(map(str, shape))} | {rate} | " + " | ".join(f"{middle[name]:.2f} ms" for name in names)
              + f" | {same} | {os.getloadavg()[0]:.0f} |", flush=True)  # fmt: skip
    print("| all | | " + " | ".join(f"{total[name]:.2f} ms" for name in names) + " | | |")


if __name__ == "__main__":
    main()
