"""What FixMatch keeps as pseudo-labels in a short run: the share of foreground among positions above the threshold.

    python speed/kept_labels.py                                                              # recipe quick
    python speed/kept_labels.py recipe.unlabeled_ramp=0 recipe.highest_confidence=1          # as published

Trains FixMatch on the phantom of `tus` (protocol self, seed 0) and prints, for every 50 iterations, the share of positions that
are kept, the share of foreground among them, and the share of foreground among all pseudo-labels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from semibench.reporting import Reporter
from semibench.run.assembly import assemble
from semibench.run.prepare import prepare
from semibench.run.request import Request
from semibench.training.loop import train
from semibench_plugins.methods.pseudo_labels import fixmatch

WINDOW = 50


def shares(settings: tuple[str, ...]) -> Tensor:
    """Trains once and returns the three shares of every iteration, (iterations, 3)."""
    seen: list[tuple[float, float, float]] = []
    loss = fixmatch.dice_between

    def watched(logits: Tensor, target: Tensor, confident: Tensor) -> Tensor:
        foreground = target.argmax(1) > 0
        kept = float((foreground & confident).sum() / confident.sum().clamp_min(1))
        seen.append((float(confident.float().mean()), kept, float(foreground.float().mean())))
        return loss(logits, target, confident)

    fixmatch.dice_between = watched  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        request = Request(
            protocol="self", dataset="tus", method="fixmatch", phantom="always", settings=settings, runs=folder,
            track=False, threads=1,
        )  # fmt: skip
        plan = prepare(request, estimate=False)
        resolved, reporter = plan.resolved, Reporter()
        parts = assemble(
            resolved, plan.split, folder, device=plan.device, machine=plan.record.machine, reporter=reporter
        )
        train(
            parts.method, parts.data, resolved.options.recipe, seed=resolved.spec.replicate.seed, device=plan.device, folder=folder,
            validate=None, reporter=reporter, resume=False, key=plan.key,
        )  # fmt: skip
    return torch.tensor(seen)


def main() -> None:
    """Prints the table."""
    found = shares(tuple(sys.argv[1:]))
    print("iterations  kept   foreground among them  foreground of all")
    for start in range(0, len(found), WINDOW):
        kept, among, every = found[start : start + WINDOW].mean(0).tolist()
        print(f"{start:>4}-{start + WINDOW - 1:<4}   {kept:.3f}  {among:.4f}                 {every:.4f}")


if __name__ == "__main__":
    main()
