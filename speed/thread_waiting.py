"""Measures the cost of spinning threads: a convolution step with torch's default and with OMP_WAIT_POLICY=passive.

Each variant runs in its own process, in turn, `--rounds` times; with `--busy` another process loads one core at the same
time. Prints median milliseconds and the ratio default / passive.

    python speed/thread_waiting.py --busy
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

VARIANTS = {"default": {}, "passive": {"OMP_WAIT_POLICY": "passive"}}


def step(threads: int, seconds: float) -> float:
    """Returns milliseconds per forward and backward pass of a 32-channel convolution on 8 images of 96 x 96."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layer, images = nn.Conv2d(32, 32, 3, padding=1), torch.rand(8, 32, 96, 96)
    for _ in range(3):
        layer(images).sum().backward()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        layer(images).sum().backward()
        count += 1
    return 1000 * (time.perf_counter() - start) / count


def measure(environment: dict[str, str], threads: int, seconds: float) -> float:
    """Runs `step` in a fresh process."""
    command = [sys.executable, __file__, "--child", "--threads", str(threads), "--seconds", str(seconds)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="load one core with another process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(step(options.threads, options.seconds)))
        return
    load = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if options.busy else None
    try:
        times: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for _ in range(options.rounds):
            for name, environment in VARIANTS.items():
                times[name].append(measure(environment, options.threads, options.seconds))
    finally:
        if load is not None:
            load.kill()
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        sys.stdout.write(f"{name:8} {value:7.1f} ms\n")
    sys.stdout.write(f"default / passive: {medians['default'] / medians['passive']:.2f}\n")


if __name__ == "__main__":
    main()
