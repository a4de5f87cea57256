"""Compares semibench's single pass for HD95 and ASD of a pair of volumes with medpy's two calls, in one process.

    python speed/surface_distances.py                  # 112 x 112 x 80, atrium-like blobs
    python speed/surface_distances.py --shape 256 256 --repeats 20

Prints the medians, their ratio and the largest difference; exits with 1 if the ratio is below --at-least.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from medpy.metric import binary
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from semibench.blocks.distances import surface_distances


def blob(shape: Sequence[int], rng: np.random.Generator, share: float, shift: float = 0.0) -> NDArray[np.bool_]:
    """Returns a smooth central object with an irregular outline that fills about `share` of the grid."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((g - shift * 0.1) ** 2 for g in grid))
    bumps = gaussian_filter(rng.standard_normal(tuple(shape)), 6)
    height = radius + 0.25 * bumps / np.abs(bumps).max()
    return height <= np.quantile(height, share)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Returns the median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs="+", default=[112, 112, 80])
    parser.add_argument("--share", type=float, default=0.10, help="share of the grid that the object fills")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spacing", type=float, nargs="+", default=None)
    parser.add_argument("--at-least", type=float, default=8.0, help="smallest ratio that passes")
    options = parser.parse_args(argv)

    rng = np.random.default_rng(options.seed)
    prediction = blob(options.shape, rng, options.share, shift=0.5)
    reference = blob(options.shape, rng, options.share)
    spacing = tuple(options.spacing) if options.spacing else None

    def ours() -> tuple[float, float]:
        distances = surface_distances(prediction, reference, spacing)
        return distances.hd95(), distances.asd()

    def theirs() -> tuple[float, float]:
        return binary.hd95(prediction, reference, spacing), binary.asd(prediction, reference, spacing)

    difference = max(abs(a - b) for a, b in zip(ours(), theirs(), strict=True))
    fast, slow = median_seconds(ours, options.repeats), median_seconds(theirs, options.repeats)
    ratio = slow / fast
    shape = "x".join(str(n) for n in options.shape)
    sys.stdout.write(f"{shape}, object fills {prediction.mean():.1%}, hd95 {ours()[0]:.3f}, asd {ours()[1]:.3f}\n")
    times = f"medpy {slow * 1e3:.1f} ms, semibench {fast * 1e3:.1f} ms"
    sys.stdout.write(f"{times}, ratio {ratio:.1f}, difference {difference:.1e}\n")
    return 0 if ratio >= options.at_least and difference < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
