"""A toy problem for which four labels aren't enough, so that a semi-supervised method must learn from unlabeled samples."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semibench import Batch, Method, Recipe, Task
from semibench.blocks.seeds import derive_seed
from semibench.conformance import MethodCase
from semibench.reporting import Reporter
from semibench.training.loop import train
from semibench_plugins.backbones.unet import UNet
from semibench_plugins.methods.baselines.supervised import Supervised
from semibench_plugins.methods.consistency.mean_teacher import MeanTeacher
from semibench_plugins.methods.pseudo_labels.bcp import BCP
from support.methods_support import samples

SIDE, LABELED, UNLABELED, TEST = 32, 4, 60, 60
ITERATIONS = 200


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bright ellipses (the target) and thin bright bars (not the target) on noise whose level and gain vary."""
    g = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return torch.empty((count, 1, 1)).uniform_(low, high, generator=g)

    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    angle = draw(0, 3.1416)
    u, v = x - draw(-0.5, 0.5), y - draw(-0.5, 0.5)
    along, across = u * angle.cos() + v * angle.sin(), v * angle.cos() - u * angle.sin()
    label = ((along / draw(0.3, 0.5)) ** 2 + (across / draw(0.2, 0.4)) ** 2 < 1).long()
    turn = draw(0, 3.1416)
    bar = (((x - draw(-0.7, 0.7)) * turn.cos() + (y - draw(-0.7, 0.7)) * turn.sin()).abs() < 0.05).float()
    clean = torch.maximum(0.8 * label, bar) * draw(0.5, 1.5) + draw(-0.5, 0.5)
    noise = draw(0.2, 0.7) * torch.randn((count, SIDE, SIDE), generator=g)
    return (clean + noise)[:, None], label


class Scenes:
    """A training source that flips each batch and rotates it by right angles."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.task = Task(
            2, 1, ("background", "ellipse"), (SIDE, SIDE), ("a",), {"labeled": LABELED, "unlabeled": UNLABELED}
        )
        self.labeled, self.unlabeled = scenes(LABELED, 1000 + seed), scenes(UNLABELED, 2000 + seed)
        self.pools: Any = None

    def batch(self, iteration: int) -> Batch:
        g = torch.Generator().manual_seed(derive_seed(self.seed, "scenes", iteration))
        (x, y), (u, _) = self.labeled, self.unlabeled
        first, second = torch.randperm(LABELED, generator=g), torch.randperm(UNLABELED, generator=g)[:4]
        turns, flip = torch.randint(4, (2,), generator=g).tolist(), bool(torch.randint(2, (), generator=g))

        def view(values: Tensor, turn: int) -> Tensor:
            turned = torch.rot90(values, turn, (-2, -1))
            return turned.flip(-1) if flip else turned

        return {
            "labeled": samples(view(x[first], turns[0]), view(y[first], turns[0])),
            "unlabeled": samples(view(u[second], turns[1])),
        }

    def passes(self, iteration: int) -> dict[str, float]:
        return {"labeled": float(iteration), "unlabeled": iteration * 4 / UNLABELED}


def dice(method: Method) -> float:
    """Returns the student's mean Dice on test scenes."""
    images, labels = scenes(TEST, 1)
    method.eval()
    with torch.no_grad():
        found = method(images).argmax(1)
    common = (found * labels).flatten(1).sum(1)
    return float((2 * common / (found + labels).flatten(1).sum(1)).mean())


def learned(method: type[Method], seed: int, **options: Any) -> float:
    torch.set_num_threads(1)
    data = Scenes(seed)
    case = MethodCase(method, UNet, options=options, domains=1, backbone_options={"width": 0.25})
    built = case.build(seed)
    recipe = Recipe(
        name="toy", dims=2, iterations=ITERATIONS, labeled_batch=4, unlabeled_batch=4, patch=(SIDE, SIDE), lr=0.02,
        evaluate_every=0, checkpoint_every=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train(built, data, recipe, seed=seed, device=torch.device("cpu"), folder=Path(folder), validate=None,
              reporter=Reporter())  # fmt: skip
    return dice(built)


METHODS = {"supervised": Supervised, "mean-teacher": MeanTeacher, "bcp": BCP}


def modules() -> list[str]:
    """Where the methods and their network are defined."""
    return [UNet.__module__, *(method.__module__ for method in METHODS.values())]


def means(seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, float]:
    """Mean Dice over seeds by method."""
    return {name: sum(learned(method, seed) for seed in seeds) / len(seeds) for name, method in METHODS.items()}
