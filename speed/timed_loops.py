"""What the scripts share that time iterations: bright balls as training data, the bare loop around a method, and turns between it
and the harness."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from semibench import (
    Backbone,
    Batch,
    Case,
    CaseRef,
    Clock,
    Dataset,
    DatasetCard,
    DatasetOptions,
    Frame,
    Losses,
    Method,
    Recipe,
    Samples,
    Split,
    Stream,
    Task,
    Truth,
    UnsupportedError,
)
from semibench.data.cache import CaseStore
from semibench.data.training import TrainingData
from semibench.discovery.registry import registry
from semibench.training import seeding
from semibench.training.device import synchronize
from semibench.training.precision import DTYPES, batch_channels_last, weights_channels_last
from semibench.training.schedules import Driver, build_drivers, plan_stages

DOMAINS = ("a", "b", "c")
PRELOADED = 8
"""Batches that the bare loop keeps in memory."""


class Balls(Dataset):
    """Bright balls on noise, of three domains. Volumes are a fifth larger than the patch, so that crops are drawn."""

    card: ClassVar[DatasetCard] = DatasetCard(
        name="balls", title="Balls", load="none:Balls", dims=2, modality="none", domains=DOMAINS
    )

    def __init__(self, dims: int, patch: Sequence[int], count: int) -> None:
        super().__init__(None, DatasetOptions())
        shape = patch if dims == 2 else [round(side * 1.2) for side in patch]
        self.shape, self.count = tuple(shape), count
        self.card = Balls.card.model_copy(update={"dims": dims, "slice_axis": dims - 1 if dims == 3 else None})  # type: ignore[misc]
        self.fingerprint = f"balls {self.shape} {count}"

    def index(self) -> list[CaseRef]:
        return [CaseRef("balls", f"{n:03}", f"{n:03}", DOMAINS[n % 3], True) for n in range(self.count)]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def read(self, ref: CaseRef) -> Case:
        generator = torch.Generator().manual_seed(int(ref.id))
        axes = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in self.shape], indexing="ij")
        centre = torch.rand(len(axes), generator=generator) - 0.5
        label = torch.stack([(axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)]).sum(0) < 0.15
        image = label.float() + 0.3 * torch.randn(self.shape, generator=generator)
        return Case(ref, image[None], label.to(torch.uint8), None, Frame(self.shape))

    def truth(self, ref: CaseRef) -> Truth | None:
        label = self.read(ref).label
        return None if label is None else Truth(label, None)


def training_data(recipe: Recipe, streams: Mapping[str, Stream], device: torch.device, folder: Path) -> TrainingData:
    """Returns batches of 6 labeled and 10 unlabeled cases, decoded into a folder."""
    dataset = Balls(recipe.dims, recipe.patch, 16)
    refs = dataset.index()
    store = CaseStore.build({"balls": dataset}, refs, folder)
    split = Split(tuple(refs[:6]), tuple(refs[6:]), (), ())
    return TrainingData(
        split, store, card=dataset.card, recipe=recipe, dims=recipe.dims, streams=streams, seed=0, device=device
    )


def built(method: str, network: str, task: Task, device: torch.device, width: float, norm: str | None = None) -> Method:
    """Returns a method with its default options on a network. width: a factor on its channels. norm: of networks that have a
    choice; None: their own.

    Raises:
        UnsupportedError: with the method's reason, if it can't learn this task.
    """
    plugins = registry()
    item, other = plugins.get("methods", method), plugins.get("backbones", network)
    kind: type[Method] = item.resolve()
    options = kind.Options()
    reason = kind.unsupported(task, options)
    if reason:
        raise UnsupportedError(reason)

    def backbones(name: str | None = None, **given: Any) -> Backbone:
        net: type[Backbone] = (other if name is None else plugins.get("backbones", name)).resolve()
        channels, outputs = given.pop("channels", None), given.pop("outputs", None)
        asked = {"width": width} | ({} if norm is None else {"norm": norm})
        scaled = {key: value for key, value in asked.items() if key in net.Options.model_fields}
        return net(
            dims=task.dims, channels=channels or task.channels, outputs=outputs or len(task.classes), patch=task.patch,
            options=net.Options(**(scaled | given)),
        )  # fmt: skip

    seeding.seed_construction(0)
    return kind(task, backbones, options).to(device)


class Bare:
    """The loop that a researcher would write around a method: its step and optimisers on batches in memory, nothing else."""

    def __init__(self, method: Method, recipe: Recipe, data: TrainingData, device: torch.device) -> None:
        self.method, self.recipe, self.data, self.device = method, recipe, data, device
        self.batches: list[Batch] = [data.batch(number) for number in range(PRELOADED)]
        if recipe.channels_last:
            weights_channels_last(method)
            self.batches = [batch_channels_last(batch) for batch in self.batches]
        self.plan = plan_stages(method, recipe.iterations)
        self.drivers: dict[str, Driver] = {}
        self.dtype = DTYPES.get(recipe.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.clock = Clock("train", 0, 1, {})
        self.done = 0
        method.train()

    def optimise(self, losses: Losses, *, on: Sequence[str] = (), step: bool = True) -> bool:
        """Sends the weighted sum of the losses to the parameters of the optimisers."""
        drivers = [self.drivers[name] for name in (on or self.drivers)]
        weighted = [(self.method.weight(name, self.clock), loss) for name, loss in losses.items()]
        total: Tensor | float = sum(weight * loss for weight, loss in weighted if weight)
        if isinstance(total, Tensor) and total.requires_grad:
            parameters = list(dict.fromkeys(p for driver in drivers for p in driver.parameters))
            torch.autograd.backward(self.scaler.scale(total), inputs=parameters)
        if step:
            for driver in drivers:
                self.scaler.step(driver.optimiser)
                driver.optimiser.zero_grad(set_to_none=True)
        return step

    def run(self, iterations: int) -> None:
        """Runs so many more iterations."""
        for _ in range(iterations):
            self._iterate(self.done)
            self.done += 1

    def _iterate(self, iteration: int) -> None:
        stage = next(plan for plan in reversed(self.plan) if iteration >= plan.offset)
        if iteration == stage.offset:
            self.method.begin(stage.name, self.data.pools)
            self.drivers = build_drivers(self.method, self.recipe)
        self.clock = Clock(stage.name, iteration - stage.offset, stage.steps, self.data.passes(iteration))
        for driver in self.drivers.values():
            driver.set_rate(self.clock.step, self.clock.steps)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            self.method.step(self.batches[iteration % PRELOADED], self.clock, self.optimise)
        self.scaler.update()
        with torch.no_grad():
            self.method.after_step(self.clock)
        self.method.notes.clear()


WARM = 2
"""Turns at the start that `medians` doesn't count."""


class Passes(Bare):
    """Forward passes of the first predictor on a batch in memory, as inference makes them, in place of iterations."""

    def __init__(self, method: Method, recipe: Recipe, data: TrainingData, device: torch.device) -> None:
        super().__init__(method, recipe, data, device)
        method.eval()
        self.predictor = next(iter(method.predictors().values()))
        images = torch.rand(recipe.labeled_batch + recipe.unlabeled_batch, data.task.channels, *recipe.patch)
        last = torch.channels_last if recipe.dims == 2 else torch.channels_last_3d
        self.images = images.to(memory_format=last) if recipe.channels_last else images

    def run(self, iterations: int) -> None:
        """Makes so many passes."""
        with torch.inference_mode():
            for _ in range(iterations):
                self.predictor(self.images)


SMALL: tuple[tuple[str, str, int, float], ...] = (
    ("supervised", "unet", 2, 0.5),
    ("fixmatch", "unet", 2, 0.5),
    ("mgcc", "mgcc-net", 2, 0.125),
    ("supervised", "deeplabv3plus", 2, 0.25),
    ("supervised", "diff-vnet", 2, 0.25),
    ("supervised", "unet", 3, 0.5),
    ("supervised", "vnet", 3, 0.5),
    ("supervised", "diff-vnet", 3, 0.125),
)
"""Method, network, dims and width of small settings, for comparisons of what a recipe may say."""


def small_loop(
    setting: tuple[str, str, int, float],
    turns: int,
    folder: Path,
    norm: str | None = None,
    *,
    passes: bool = False,
    **values: Any,
) -> Bare:
    """Returns the bare loop of a small setting on the CPU, with the sizes of the recipe `quick`: 4 + 4 images of 64 x 64, 2 + 2
    volumes of 32 x 32 x 32. passes: forward passes in place of iterations. values: of the recipe."""
    (name, network, dims, width), device = setting, torch.device("cpu")
    method: type[Method] = registry().get("methods", name).resolve()
    patch, batch = ((64, 64), 4) if dims == 2 else ((32, 32, 32), 2)
    recipe = Recipe(
        name="small",
        dims=dims,
        patch=patch,
        labeled_batch=batch,
        unlabeled_batch=batch,
        iterations=turns + WARM,
        **values,
    )
    data = training_data(recipe, method.streams, device, folder)
    return (Passes if passes else Bare)(built(name, network, data.task, device, width, norm), recipe, data, device)


def medians(loops: Mapping[str, Bare], turns: int) -> dict[str, float]:
    """Lets loops take turns of an iteration; returns the median seconds of CPU time of each."""
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(turns + WARM):
        for name, loop in loops.items():
            start = time.process_time()
            loop.run(1)
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(found[WARM:]) for name, found in spent.items()}


class Times(NamedTuple):
    """Seconds of wall time and of this process's CPU time (steadier on a shared machine)."""

    wall: float
    work: float

    def since(self, start: Times, count: int) -> Times:
        return Times((self.wall - start.wall) / count, (self.work - start.work) / count)


class Turns:
    """The harness's data. Between the harness's blocks of iterations it runs a block of each bare loop, and times all."""

    def __init__(self, data: TrainingData, loops: Mapping[str, Bare], block: int, device: torch.device) -> None:
        self.data, self.loops, self.block, self.device = data, loops, block, device
        self.task, self.pools = data.task, data.pools
        self.times: dict[str, list[Times]] = {name: [] for name in (*loops, "harness")}
        self.mark: Times | None = None

    def now(self) -> Times:
        synchronize(self.device)
        return Times(time.perf_counter(), time.process_time())

    def passes(self, iteration: int) -> dict[str, float]:
        if iteration % self.block == 0:
            if self.mark is not None:
                self.times["harness"].append(self.now().since(self.mark, self.block))
            for name, loop in self.loops.items():
                start = self.now()
                loop.run(self.block)
                self.times[name].append(self.now().since(start, self.block))
            self.mark = self.now()
        return self.data.passes(iteration)

    def batch(self, iteration: int) -> dict[str, Samples]:
        return self.data.batch(iteration)
