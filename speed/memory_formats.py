"""Times an iteration of the bare loop with contiguous memory and with channels last, in turns, on small images and volumes.

    python speed/memory_formats.py --turns 20 --norm instance    # as the recipe `quick` trains
    python speed/memory_formats.py --turns 20                    # with the networks' own norm, batch norm in most
    python speed/memory_formats.py --turns 20 --passes           # forward passes, as inference makes them, in place of iterations

The sizes are those of the recipe `quick`: 4 + 4 images of 64 x 64, 2 + 2 volumes of 32 x 32 x 32, its widths. Figures are medians
of CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from timed_loops import SMALL, medians, small_loop

from semibench.training.device import set_threads, tune_allocator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--norm", choices=["batch", "instance", "group"], help="of networks that have a choice")
    parser.add_argument("--passes", action="store_true", help="forward passes in place of iterations")
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    print("| method | network | dims | contiguous | channels last | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for setting in SMALL:
        with tempfile.TemporaryDirectory() as folder:
            loops = {
                str(last): small_loop(
                    setting, args.turns, Path(folder) / str(last), args.norm, passes=args.passes, channels_last=last
                )
                for last in (False, True)
            }
            found = medians(loops, args.turns)
        plain, last = found["False"] * 1e3, found["True"] * 1e3
        name, network, dims, _ = setting
        print(f"| `{name}` | `{network}` | {dims} | {plain:.0f} ms | {last:.0f} ms | {last / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
