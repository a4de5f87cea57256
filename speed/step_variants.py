"""Times ways to compute parts of a step beside the way that the harness and its methods take, in turns.

    python speed/step_variants.py --turns 30
    python speed/step_variants.py --turns 10 --compile        # also whole steps with networks that torch.compile compiled
    python speed/step_variants.py --device cuda --compile

Ways, at the sizes of the recipe `quick`:

- one pass: labeled and unlabeled images go through the network together; the other way is a pass of each.
- teacher: its pass under `torch.no_grad`; the other way is `torch.inference_mode`.
- weak views: the pass that makes pseudo-labels, without gradient; the other way keeps its graph and detaches the result.
- Dice: `semibench.blocks.soft_dice` writes the labels as one-hot maps; the other way gathers the probability of each label.
- compile: a whole step of the bare loop; the other way is the same loop with the networks compiled, after its compilation.

Figures are medians of CPU time of one thread (on a GPU: of wall time). `difference`: the largest difference of what both ways
return, in units of the largest value.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from timed_loops import SMALL, WARM, medians, small_loop
from torch import Tensor, nn

from semibench.blocks import soft_dice
from semibench.discovery.registry import registry
from semibench.training.device import choose, set_threads, synchronize, tune_allocator
from semibench.training.precision import compiled

COMPILED = ("supervised", "fixmatch", "mgcc")
"""Methods of the settings in `SMALL` whose steps are compared with compiled ones."""
Way = Callable[[], Tensor]


class Pair(NamedTuple):
    """Two ways to compute the same. ours: the harness's. other: the other way. Both return what is to be equal."""

    name: str
    ours: Way
    other: Way


def network(dims: int, device: torch.device, classes: int = 2) -> nn.Module:
    """Returns the U-Net of `quick`: instance norm, no dropout."""
    kind = registry().get("backbones", "unet").resolve()
    patch = (64, 64) if dims == 2 else (32, 32, 32)
    options = kind.Options(width=0.5, norm="instance", dropout=(0.0,) * 5)
    built: nn.Module = kind(dims=dims, channels=1, outputs=classes, patch=patch, options=options)
    return built.to(device).train()


def logits_of(net: nn.Module, images: Tensor) -> Tensor:
    """Returns the network's logits."""
    given = net(images)
    logits: Tensor = given if isinstance(given, Tensor) else given[0]
    return logits


def gathered_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The Dice loss of `soft_dice` without one-hot maps: sums of gathered probabilities by class."""
    classes = logits.shape[1]
    p = logits.softmax(1)
    flat = target.flatten()
    of_label = p.gather(1, target.unsqueeze(1)).flatten()
    common = torch.zeros(classes, device=p.device).index_add(0, flat, of_label)
    count = torch.bincount(flat, minlength=classes).to(p.dtype)
    size = p.square().sum((0, *range(2, p.ndim)))
    return (1.0 - (2.0 * common + 1e-5) / (size + count + 1e-5)).mean()


def with_gradient(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """Returns the gradient of a loss by the logits."""
    leaf = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, target), leaf)
    return gradient


def pairs(device: torch.device) -> Iterator[Pair]:
    """Yields what is compared."""
    for dims, shape in ((2, (4, 1, 64, 64)), (3, (2, 1, 32, 32, 32))):
        net = network(dims, device)
        labeled, unlabeled = torch.randn(shape, device=device), torch.randn(shape, device=device)
        both = torch.cat([labeled, unlabeled])
        first = next(net.parameters())

        def together(net: nn.Module = net, both: Tensor = both, first: nn.Parameter = first) -> Tensor:
            return torch.autograd.grad(logits_of(net, both).square().mean(), [first])[0]

        def apart(
            net: nn.Module = net, parts: tuple[Tensor, ...] = (labeled, unlabeled), first: nn.Parameter = first
        ) -> Tensor:
            logits = torch.cat([logits_of(net, part) for part in parts])
            return torch.autograd.grad(logits.square().mean(), [first])[0]

        yield Pair(f"one pass, {dims}D", together, apart)

        def quiet(net: nn.Module = net, images: Tensor = unlabeled) -> Tensor:
            with torch.no_grad():
                return logits_of(net, images)

        def inferred(net: nn.Module = net, images: Tensor = unlabeled) -> Tensor:
            with torch.inference_mode():
                return logits_of(net, images)

        def detached(net: nn.Module = net, images: Tensor = unlabeled) -> Tensor:
            return logits_of(net, images).detach()

        yield Pair(f"teacher, {dims}D", quiet, inferred)
        yield Pair(f"weak views, {dims}D", quiet, detached)
    for classes, grid in ((2, (8, 64, 64)), (9, (8, 64, 64)), (16, (4, 32, 32, 32))):
        logits = torch.randn((grid[0], classes, *grid[1:]), device=device)
        target = torch.randint(classes, grid, device=device)

        def hot(logits: Tensor = logits, target: Tensor = target) -> Tensor:
            return with_gradient(soft_dice, logits, target)

        def gathered(logits: Tensor = logits, target: Tensor = target) -> Tensor:
            return with_gradient(gathered_dice, logits, target)

        yield Pair(f"Dice, {classes} classes, {' x '.join(map(str, grid))}", hot, gathered)


def timed(pair: Pair, turns: int, device: torch.device) -> tuple[float, float, float]:
    """Returns the median seconds of both ways in turns, and the largest difference of what they return."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    spent: tuple[list[float], list[float]] = ([], [])
    results = [pair.ours(), pair.other()]
    for _ in range(turns + WARM):
        for number, way in enumerate((pair.ours, pair.other)):
            synchronize(device)
            start = clock()
            results[number] = way()
            synchronize(device)
            spent[number].append(clock() - start)
    ours, other = (result.float() for result in results)
    difference = float((ours - other).abs().max() / ours.abs().max().clamp(min=1e-12))
    first, second = (statistics.median(seconds[WARM:]) for seconds in spent)
    return first, second, difference


def compare_compiled(turns: int) -> None:
    """Prints whole steps, plain and compiled."""
    print("\n| method | network | dims | plain | compiled | ratio | load |\n" + "| --- " * 7 + "|")
    for setting in (setting for setting in SMALL if setting[0] in COMPILED):
        name, backbone, dims, _ = setting
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            loops = {
                kind: small_loop(setting, turns, Path(folder) / kind, "instance", channels_last=dims == 3)
                for kind in ("plain", "compiled")
            }
            stack.enter_context(compiled(loops["compiled"].method, True))
            found = medians(loops, turns)
        plain, other = found["plain"] * 1e3, found["compiled"] * 1e3
        print(
            f"| `{name}` | `{backbone}` | {dims} | {plain:.0f} ms | {other:.0f} ms | {other / plain:.2f} | "
            f"{os.getloadavg()[0]:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--compile", action="store_true", help="also compare compiled steps (on the CPU; takes minutes)"
    )
    args = parser.parse_args()
    tune_allocator()
    set_threads(1)
    device = choose(args.device)
    torch.manual_seed(0)
    print("| part | harness | other way | other / harness | difference | load |\n" + "| --- " * 6 + "|")
    for pair in pairs(device):
        ours, other, difference = timed(pair, args.turns, device)
        print(
            f"| {pair.name} | {ours * 1e3:.2f} ms | {other * 1e3:.2f} ms | {other / ours:.2f} | {difference:.0e} | "
            f"{os.getloadavg()[0]:.0f} |",
            flush=True,
        )
    if args.compile:
        compare_compiled(args.turns)


if __name__ == "__main__":
    main()
