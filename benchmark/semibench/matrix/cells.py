"""A cell of a matrix: one run by names, before anything is resolved. Light: no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator

from semibench.contracts.identity import SHORT, canonical, sha256

if TYPE_CHECKING:
    from semibench.run.resolve import Request


class Cell(BaseModel, frozen=True, extra="forbid"):
    """What `bench run` is given for one run; the fields are those of `Request` that say what is run (not where or how)."""

    protocol: str
    dataset: str
    method: str | None = None
    backbone: str | None = None
    recipe: str = "quick"
    preset: str | None = None
    dims: int | None = None
    draw: int = 0
    fold: int | None = None
    seed: int = 0
    settings: tuple[str, ...] = ()
    phantom: str = "auto"
    weights: Path | None = None
    data_root: Path | None = None
    conventions: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Short and readable: "self/tus/mgcc seed 0", then what isn't a default: "preset=code term.cutmix=0.5"."""
        who = "/".join(part for part in (self.protocol, self.dataset, self.method or "default", self.backbone) if part)
        replicate = [f"draw {self.draw}"] if self.draw else []
        replicate += [f"fold {self.fold}"] if self.fold is not None else []
        given = {"recipe": self.recipe, "preset": self.preset, "dims": self.dims}
        chosen = [f"{name}={value}" for name, value in given.items() if value != type(self).model_fields[name].default]
        return " ".join([who, *replicate, f"seed {self.seed}", *chosen, *self.settings])

    @property
    def digest(self) -> str:
        """Names the cell itself, where a run key can't be had (a plug-in that doesn't load)."""
        return sha256(canonical(self.model_dump(mode="json")))[:SHORT]

    def changed(self, settings: Iterable[str]) -> Cell:
        """The cell with settings laid over its own: one of the same name takes the other's place."""
        found = {text.partition("=")[0].strip(): text for text in (*self.settings, *settings)}
        return self.model_copy(update={"settings": tuple(found.values())})

    def request(self, **execution: Any) -> Request:
        """The request of the harness; execution: where and how (`runs`, `device`, `threads`, `force` ...)."""
        from semibench.run.resolve import Request

        return Request(**self.model_dump(), **execution)

    def command(self) -> str:
        """The `bench run` line that does the same by hand."""
        words = ["bench", "run", "--protocol", self.protocol, "--dataset", self.dataset]
        for name in ("method", "backbone", "recipe", "preset", "dims", "fold", "weights", "data_root"):
            value = getattr(self, name)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        words += ["--draw", str(self.draw), "--seed", str(self.seed)]
        for text in self.settings:
            words += ["--set", text]
        for name in self.conventions:
            words += ["--convention", name]
        words += {"always": ["--phantom"], "never": ["--no-phantom"]}.get(self.phantom, [])
        return shlex.join(words)


def _several(value: Any) -> Any:
    """A single value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def numbers(value: Any) -> Any:
    """ "0-2" -> [0, 1, 2]; "0,3,5" -> [0, 3, 5]; a number or a list of numbers as they are. Raises ValueError otherwise."""
    found: list[int | None] = []
    for part in _several(value):
        if part is None or (isinstance(part, int) and not isinstance(part, bool)):
            found.append(part)
            continue
        if not isinstance(part, str):
            raise ValueError("expected numbers as 0-2, 0,3,5 or a list")
        for piece in part.split(","):
            low, dash, high = piece.strip().partition("-")
            if not low.isdigit() or (dash and not high.isdigit()) or (dash and int(high) < int(low)):
                raise ValueError(f"expected numbers as 0-2 or 0,3,5, found {part!r}")
            found += range(int(low), int(high if dash else low) + 1)
    return list(dict.fromkeys(found))


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
OptionalNames = Annotated[tuple[str | None, ...], BeforeValidator(_several)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(numbers)]
OptionalNumbers = Annotated[tuple[int | None, ...], BeforeValidator(numbers)]


class Group(BaseModel, frozen=True, extra="forbid"):
    """A product of names and numbers: every combination is a cell.

    protocols, datasets, methods, backbones, recipes: one name or several; a left-out method or backbone is the protocol's or
    method's default. draws, folds, seeds: numbers, a list, or "0-2". set: settings as for `--set`, by name, the same for all
    cells.
    """

    protocols: Names
    datasets: Names
    methods: OptionalNames = (None,)
    backbones: OptionalNames = (None,)
    recipes: Names = ("quick",)
    preset: str | None = None
    dims: int | None = None
    draws: Numbers = (0,)
    folds: OptionalNumbers = (None,)
    seeds: Numbers = (0,)
    set: dict[str, Any] = {}
    phantom: str = "auto"
    weights: Path | None = None
    data_root: Path | None = None
    conventions: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()

    def cells(self) -> list[Cell]:
        """All combinations; seeds vary fastest, so that rows fill one after the other."""
        settings = tuple(f"{name}={_text(value)}" for name, value in self.set.items())
        axes = (
            self.protocols,
            self.datasets,
            self.methods,
            self.backbones,
            self.recipes,
            self.draws,
            self.folds,
            self.seeds,
        )
        return [
            Cell(
                protocol=protocol, dataset=dataset, method=method, backbone=backbone, recipe=recipe, preset=self.preset,
                dims=self.dims, draw=draw, fold=fold, seed=seed, settings=settings, phantom=self.phantom,
                weights=self.weights, data_root=self.data_root, conventions=self.conventions,
            )
            for protocol, dataset, method, backbone, recipe, draw, fold, seed in product(*axes)
        ]  # fmt: skip


def _text(value: Any) -> str:
    """A value as `--set` reads it (YAML in one line)."""
    import yaml

    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("\n").removesuffix("...").strip()
    )


class MatrixFile(BaseModel, frozen=True, extra="forbid"):
    """A matrix as YAML: a list of groups, each a product. title, note: for people."""

    title: str = ""
    note: str = ""
    cells: tuple[Group, ...]

    def expand(self) -> list[Cell]:
        """The cells of all groups in order, each once."""
        return list(dict.fromkeys(cell for group in self.cells for cell in group.cells()))
