"""Compares the parallel selective scan of the Mamba layer with the plain recurrence over positions.

    python speed/mamba_scan.py                     # Diff-CL's bottlenecks and longer sequences
    python speed/mamba_scan.py --lengths 245 4096 --turns 9 --device cuda

Runs forward and backward of `semibench.blocks.selective_scan` on the same random tensors (by default batch 2, 64 inner
channels, state 16), in turns. Reports the medians of one thread's CPU time (on a GPU, wall time), their ratio, and the
largest difference of the outputs from the recurrence in float64. Exits with 1 if, for the longest sequence, the parallel
scan isn't at least --at-least times as fast as the recurrence.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from semibench.blocks import selective_scan

LENGTHS = (216, 245, 1024, 4096)
"""216 and 245 are the tokens of Diff-CL's bottleneck for patches of 96^3 and 112 x 112 x 80."""


def tensors(length: int, batch: int, inner: int, state: int, device: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    steps = torch.nn.functional.softplus(normal(batch, length, inner) - 3)
    rates = -torch.arange(1, state + 1, dtype=torch.float32, device=device).repeat(inner, 1)
    return [normal(batch, length, inner), steps, rates, normal(batch, length, state), normal(batch, length, state),
            normal(inner)]  # fmt: skip


def seconds(values: Sequence[Tensor], scan: str) -> float:
    """Times one forward and backward pass: CPU time, because others use the machine too; on a GPU, wall time."""
    leaves = [value.clone().requires_grad_() for value in values]
    cuda = values[0].is_cuda
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    selective_scan(*leaves, scan=scan).sum().backward()  # type: ignore[arg-type]
    if cuda:
        torch.cuda.synchronize()
    return clock() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--inner", type=int, default=64)
    parser.add_argument("--state", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--scan", default="parallel", choices=["parallel", "auto"], help="auto: the kernels of mamba-ssm"
    )
    parser.add_argument("--at-least", type=float, default=1.0, metavar="RATIO")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'length':>8} {'recurrence':>12} {options.scan:>12} {'ratio':>8} {'error':>10}")
    ratio = 0.0
    for length in options.lengths:
        values = tensors(length, options.batch, options.inner, options.state, options.device)
        exact = selective_scan(*[value.double() for value in values], scan="recurrence")
        error = float((selective_scan(*values, scan=options.scan).double() - exact).abs().max())
        seconds(values, options.scan)
        times: dict[str, list[float]] = {"recurrence": [], options.scan: []}
        for _ in range(options.turns):
            for scan, samples in times.items():
                samples.append(seconds(values, scan))
        plain, quick = (statistics.median(samples) * 1e3 for samples in times.values())
        ratio = plain / quick
        print(f"{length:>8} {plain:>9.1f} ms {quick:>9.1f} ms {ratio:>8.1f} {error:>10.1e}", flush=True)
    return int(ratio < options.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
