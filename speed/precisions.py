"""Times an iteration of the bare loop in fp32, bf16 and fp16, in turns, on small images and volumes (sizes of the recipe `quick`).

    python speed/precisions.py --turns 10
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

PRECISIONS = ("fp32", "bf16", "fp16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    has = [name for names in FAST.values() for name in names if capabilities().get(name)]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    print(f"instructions: {', '.join(has) or 'none'}; limited to: {limit}\n")
    print("| method | network | dims | fp32 | bf16 | fp16 | bf16 / fp32 | fp16 / fp32 |\n" + "| --- " * 8 + "|")
    for setting in SMALL:
        with tempfile.TemporaryDirectory() as folder:
            loops = {
                kind: small_loop(setting, args.turns, Path(folder) / kind, channels_last=True, precision=kind)
                for kind in PRECISIONS
            }
            found = medians(loops, args.turns)
        name, network, dims, _ = setting
        times = " | ".join(f"{found[kind] * 1e3:.0f} ms" for kind in PRECISIONS)
        ratios = " | ".join(f"{found[kind] / found['fp32']:.2f}" for kind in PRECISIONS[1:])
        print(f"| `{name}` | `{network}` | {dims} | {times} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
