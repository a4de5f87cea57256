"""Times an iteration of the bare loop in fp32 and in a lower precision, in turns, on small images and volumes (`quick`'s sizes).

    python speed/precisions.py --turns 10
    python speed/precisions.py --low fp16 --settings 2
    ONEDNN_MAX_CPU_ISA=AVX512_CORE python speed/precisions.py    # as on a processor without AVX512-BF16
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python speed/precisions.py    # as on one without AVX-512

Channels last, one thread; figures are medians of CPU time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from timed_loops import SMALL, medians, small_loop

from semibench.training.device import set_threads, tune_allocator
from semibench.training.low_precision import FAST, capabilities

LOW = ("bf16", "fp16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--low", choices=LOW, default="bf16", help="the precision beside fp32")
    parser.add_argument("--settings", type=int, default=len(SMALL), help="only so many of the settings")
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    has = [name for names in FAST.values() for name in names if capabilities().get(name)]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    print(f"instructions: {', '.join(has) or 'none'}; limited to: {limit}\n")
    print(f"| method | network | dims | fp32 | {args.low} | ratio | load |\n" + "| --- " * 7 + "|")
    for setting in SMALL[: args.settings]:
        with tempfile.TemporaryDirectory() as folder:
            loops = {
                kind: small_loop(setting, args.turns, Path(folder) / kind, channels_last=True, precision=kind)
                for kind in ("fp32", args.low)
            }
            found = medians(loops, args.turns)
        name, network, dims, _ = setting
        full, low = found["fp32"] * 1e3, found[args.low] * 1e3
        load = os.getloadavg()[0]
        print(
            f"| `{name}` | `{network}` | {dims} | {full:.0f} ms | {low:.0f} ms | {low / full:.2f} | {load:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
