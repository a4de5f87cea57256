"""Small methods and data for tests of training; their only state is (seed, iteration)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks.seeds import derive_seed
from semibench.contracts.method import Batch, Losses, Method, Optimise, Optimiser, Samples, Task
from semibench.contracts.recipe import Recipe
from semibench.contracts.schedule import Clock, Ramp, Stage, Term
from semibench.reporting import Reporter
from semibench.training import seeding
from semibench.training.loop import TrainingResult, train

TASK = Task(2, 1, ("background", "disk"), (12, 12), ("a",), {"labeled": 6, "unlabeled": 10, "all": 16})


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "toy", "dims": 2, "iterations": 12, "labeled_batch": 2, "unlabeled_batch": 2, "patch": (12, 12), "lr": 0.05,
        "evaluate_every": 3, "checkpoint_every": 4,
    }  # fmt: skip
    return Recipe(**(values | changes))


class ToyPools:
    """A toy's images, in order."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def batches(self, pool: str) -> Iterator[Samples]:
        n = TASK.cases["labeled"]
        yield samples(self.images[:n], self.labels[:n] if pool == "labeled" else None, torch.arange(n))

    def class_voxels(self) -> Tensor:
        return self.labels[: TASK.cases["labeled"]].flatten().bincount(minlength=2).double()


def samples(image: Tensor, label: Tensor | None, index: Tensor) -> Samples:
    valid = torch.ones((len(image), *image.shape[2:]), dtype=torch.bool)
    return Samples(image, (), label, valid, torch.zeros(len(image), dtype=torch.int64), index)


class ToyData:
    """Disks on noise; a batch is a pure function of (seed, iteration)."""

    def __init__(self, seed: int = 0, broken: int | None = None) -> None:
        generator = torch.Generator().manual_seed(7)
        radius = torch.linspace(2, 5, 16)
        y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
        self.labels = (((y - 6) ** 2 + (x - 6) ** 2)[None] < radius[:, None, None] ** 2).long()
        noise = 0.5 * torch.randn((16, 1, 12, 12), generator=generator)
        self.images = self.labels[:, None].float() + noise
        self.seed, self.broken = seed, broken
        self.task = TASK
        self.pools = ToyPools(self.images, self.labels)

    def batch(self, iteration: int) -> Mapping[str, Samples]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "toy", iteration))
        first = torch.randperm(6, generator=generator)[:2]
        second = torch.randperm(10, generator=generator)[:2]
        image = self.images[first].clone()
        if iteration == self.broken:
            image[0, 0, 0, 0] = torch.nan
        return {
            "labeled": samples(image, self.labels[first], first),
            "unlabeled": samples(self.images[6 + second], None, second),
        }

    def passes(self, iteration: int) -> dict[str, float]:
        return {"labeled": iteration * 2 / 6, "unlabeled": iteration * 2 / 10}


def net(inputs: int = 1, outputs: int = 2, width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout2d(0.25),
        nn.Conv2d(width, outputs, 1),
    )  # fmt: skip


def no_backbones(name: str | None = None, **options: Any) -> Any:
    raise AssertionError("toys bring their own networks")


class Supervised(Method):
    terms = {"sup": Term()}

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = net()

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        return {"sup": F.cross_entropy(self.net(batch["labeled"].image), batch["labeled"].target)}

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class Staged(Method):
    """A mean teacher with noise and dropout in two stages; `begin` copies, freezes and inspects the pools."""

    terms = {"sup": Term(), "consistency": Term(0.5, Ramp("sigmoid"))}

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.student = net()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.stem = nn.Conv2d(1, 1, 1)
        self.register_buffer("seen", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("begun", torch.zeros((), dtype=torch.int64))

    def stages(self) -> Sequence[Stage]:
        return Stage("pretrain", 0.4), Stage("train", 0.6, start="best")

    def begin(self, stage: str, pools: Any) -> None:
        self.begun += 1
        self.seen += pools.class_voxels()
        if stage == "train":
            self.stem.requires_grad_(False)
            with torch.no_grad():
                self.student[0].weight += 0.01 * torch.randn_like(self.student[0].weight)
        self.teacher.load_state_dict(self.student.state_dict())

    def losses(self, batch: Batch, clock: Clock) -> Losses:
        x, u = self.stem(batch["labeled"].image), self.stem(batch["unlabeled"].image)
        self.notes["mean"] = x.detach().mean()
        losses = {"sup": F.cross_entropy(self.student(x), batch["labeled"].target)}
        if clock.stage == "train":
            target = self.teacher(u + 0.1 * torch.randn_like(u)).softmax(1)
            losses["consistency"] = F.mse_loss(self.student(u).softmax(1), target)
        return losses

    def after_step(self, clock: Clock) -> None:
        for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.student(self.stem(images))


class Adversarial(Method):
    """A network and a critic, each with its own optimiser (a small AdaptSegNet)."""

    terms = {"sup": Term(), "adv": Term(0.01), "critic": Term()}

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net, self.critic = net(), nn.Conv2d(2, 1, 3, stride=2)

    def optimisers(self) -> Mapping[str, Optimiser]:
        critic = Optimiser((self.critic,), "adam", lr=1e-3, settings={"betas": (0.9, 0.99), "weight_decay": 0.0})
        return {"net": Optimiser((self.net,)), "critic": critic}

    def judge(self, logits: Tensor, domain: float) -> Tensor:
        verdict = self.critic(logits.softmax(1))
        return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, domain))

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        source, target = self.net(batch["labeled"].image), self.net(batch["unlabeled"].image)
        sup = F.cross_entropy(source, batch["labeled"].target)
        optimise({"sup": sup, "adv": self.judge(target, 0.0)}, on=["net"])
        critic = (self.judge(source.detach(), 0.0) + self.judge(target.detach(), 1.0)) / 2
        optimise({"critic": critic}, on=["critic"])

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class Meta(Method):
    """An inner loop and two optimisers over one network (a small SAML)."""

    terms = {"inner": Term(), "outer": Term(), "metric": Term(0.1)}

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
        self.head = nn.Linear(2, 1)

    def optimisers(self) -> Mapping[str, Optimiser]:
        outer: dict[str, Any] = {"kind": "adam", "lr": 1e-3, "settings": {"clip_norm": 10}}
        return {
            "inner": Optimiser((self.net,), "adam", lr=1e-3),
            "outer": Optimiser((self.net,), **outer),
            "metric": Optimiser((self.head,), **outer),
        }

    def step(self, batch: Batch, clock: Clock, optimise: Optimise) -> None:
        x, y = batch["labeled"].image, batch["labeled"].target
        inner = F.cross_entropy(self.net(x[:1]), y[:1])
        named = dict(self.net.named_parameters())
        gradients = torch.autograd.grad(inner, list(named.values()), retain_graph=True)
        moved = {name: p - 0.1 * g for (name, p), g in zip(named.items(), gradients, strict=True)}
        z = torch.func.functional_call(self.net, moved, (x[1:],))
        optimise({"inner": inner}, on=["inner"])
        losses = {"outer": F.cross_entropy(z, y[1:]), "metric": self.head(z.mean((2, 3))).square().mean()}
        optimise(losses, on=["outer", "metric"])

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


METHODS: dict[str, type[Method]] = {
    "supervised": Supervised, "staged": Staged, "adversarial": Adversarial, "meta": Meta,
}  # fmt: skip


def build(kind: type[Method], seed: int = 0) -> Any:
    seeding.seed_construction(seed)
    return kind(TASK, no_backbones, kind.Options())


def dice(data: ToyData) -> Any:
    """Returns a validation: mean foreground Dice on two held-out images."""

    def validate(method: Method) -> float:
        prediction, truth = method(data.images[6:]).argmax(1), data.labels[6:]
        return float(2 * (prediction * truth).sum() / (prediction.sum() + truth.sum()))

    return validate


class Collecting(Reporter):
    """Records everything that it is called with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.phases: list[tuple[str, int]] = []
        self.progress: list[tuple[int, dict[str, float]]] = []
        self.ended = 0

    def phase(self, name: str, total: int) -> None:
        self.phases.append((name, total))

    def advance(self, done: int, values: Mapping[str, float] | None = None) -> None:
        self.progress.append((done, dict(values or {})))

    def end(self) -> None:
        self.ended += 1

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def run(method: Method, folder: Path, data: Any = None, **changes: Any) -> TrainingResult:
    """Trains a toy on the CPU in one thread."""
    torch.set_num_threads(1)
    data = data or ToyData()
    options: dict[str, Any] = {
        "seed": 3,
        "validate": dice(data),
        "reporter": Collecting(),
        "resume": False,
        "key": None,
    }
    options |= {name: changes.pop(name) for name in tuple(changes) if name in options}
    return train(method, data, recipe(**changes), device=torch.device("cpu"), folder=folder, **options)


def state_of(method: Method) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Asserts that two states are equal bit for bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, f"these differ: {different}"
