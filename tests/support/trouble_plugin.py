"""A plug-in for tests of the matrix: a data set of tiny discs, and a method that is slow or fails in a chosen way."""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from semibench import (
    IGNORE,
    Case,
    CaseRef,
    Dataset,
    DatasetCard,
    DatasetOptions,
    Frame,
    Losses,
    Method,
    MethodCard,
    MethodOptions,
    PhantomOptions,
    RecipeCard,
    Stream,
    Task,
    Term,
    Truth,
    hookimpl,
)
from support.places import with_tests

SIDE = 16
log = logging.getLogger("semibench")

CARD = DatasetCard(
    name="discs",
    title="Discs",
    load="support.trouble_plugin:Discs",
    dims=2,
    modality="none",
    cases=24,
    tree="nothing: they are procedural",
)


@hookimpl
def semibench_datasets() -> list[DatasetCard]:
    return [CARD]


@hookimpl
def semibench_methods() -> list[MethodCard]:
    return [MethodCard(name="trouble", title="Trouble", load="support.trouble_plugin:Trouble", default_for=())]


@hookimpl
def semibench_recipes() -> list[RecipeCard]:
    values = {
        "iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2, "patch": [SIDE, SIDE], "evaluate_every": 0, "keep_best": False,
        "checkpoint_every": 1, "widths": {"*": 0.125},
    }  # fmt: skip
    return [RecipeCard(name="tiny", dims=2, values=values)]


class Discs(Dataset):
    """A bright disc on noise, fully determined by the case's number."""

    card: ClassVar[DatasetCard] = CARD

    def __init__(self, root: Path | None, options: DatasetOptions, count: int = 24) -> None:
        super().__init__(root, options)
        self.count = count
        self.fingerprint = f"discs {count}"

    @classmethod
    def phantom(cls, options: DatasetOptions, phantom: PhantomOptions) -> Dataset:
        return cls(None, options, phantom.cases or 24)

    def index(self) -> list[CaseRef]:
        return [CaseRef("discs", f"{n:03}", f"g{n}", "default", True) for n in range(self.count)]

    def files(self, ref: CaseRef) -> tuple[Path, ...]:
        return ()

    def label(self, ref: CaseRef) -> torch.Tensor:
        rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        centre = 5 + int(ref.id) % 6
        return ((rows - centre) ** 2 + (columns - 8) ** 2 <= 16).to(torch.uint8)

    def read(self, ref: CaseRef) -> Case:
        label = self.label(ref)
        noise = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(int(ref.id)))
        return Case(ref, label.float()[None] + noise, label, None, Frame((SIDE, SIDE)))

    def truth(self, ref: CaseRef) -> Truth:
        return Truth(self.label(ref), None)


class Trouble(Method):
    """A supervised method that fails as `how` says in its second step (detach: in its first) and sleeps in every step."""

    terms: Mapping[str, Term] = {"sup": Term(search=(0.1, 10.0))}
    streams: ClassVar[Mapping[str, Stream]] = {"labeled": Stream("labeled")}

    class Options(MethodOptions, frozen=True, extra="forbid"):
        """Options of `trouble`."""

        how: str = Field("none", description="none, fail, crash, die, memory, torch-memory, grow, detach or refuse")
        sleep: float = Field(0.0, description="seconds to sleep in each step")
        marker: str = Field("", description="a file; once it exists, the method neither fails nor sleeps")

    @classmethod
    def unsupported(cls, task: Task, options: Any) -> str | None:
        return "it doesn't want to" if options.how == "refuse" else None

    def __init__(self, task: Task, backbones: Any, options: Any) -> None:
        super().__init__(task, backbones, options)
        self.options = options
        self.net = backbones()

    def losses(self, batch: Any, clock: Any) -> Losses:
        if clock.step == 0:
            log.info("sees the GPUs %s", os.environ.get("CUDA_VISIBLE_DEVICES"))
        if not (self.options.marker and Path(self.options.marker).exists()):
            time.sleep(self.options.sleep)
            if clock.step == 1:
                self.act()
        labeled = batch["labeled"]
        loss = torch.nn.functional.cross_entropy(self.net(labeled.image), labeled.target, ignore_index=IGNORE)
        return {"sup": loss.detach() if self.options.how == "detach" else loss}

    def act(self) -> None:
        match self.options.how:
            case "fail":
                raise RuntimeError("the method failed on purpose")
            case "crash":
                ctypes.string_at(0)
            case "die":
                os._exit(7)
            case "memory":
                raise MemoryError("no room")
            case "torch-memory":
                torch.empty(1 << 60, dtype=torch.uint8)
            case "grow":
                blocks = []
                while True:
                    blocks.append(b"x" * 50_000_000)
                    time.sleep(0.02)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)


def install(folder: Path) -> dict[str, str]:
    """Installs this module as a plug-in, a distribution on PYTHONPATH, for processes with the returned environment."""
    info = folder / "trouble-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[semibench]\ntrouble = support.trouble_plugin\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": with_tests(folder), "OMP_NUM_THREADS": "1"}
