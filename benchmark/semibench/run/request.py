"""Requests for runs: a `Cell` says what to run, an `Execution` where and how, and a `Request` is both.

Only these records list the fields of a request. The options of `bench run`, `matrix`, `tune` and `split`, the groups of a
matrix file, command lines, and requests rebuilt from a stored spec are all derived from them. Imports neither torch nor YAML.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from semibench.contracts.identity import SHORT, RunSpec, canonical, sha256
from semibench.contracts.recipe import Recipe
from semibench.run.options import Asked, Option
from semibench.run.settings import build, default_options, merge, texts

Phantom = Literal["auto", "always", "never"]
MemoryFormat = Literal["contiguous", "channels_last"]

COMPETITOR, REPLICATES, KEPT = "Who competes, and for how long", "Replicates", "Where, and what is kept"
"""Panels of `bench run --help`."""


MOST = 2**63
"""Seeds, draws and folds are smaller."""


class Cell(Asked, frozen=True, extra="forbid"):
    """What to run, by names. `resolve` fills in what is left out.

    settings: texts "name=value" (see `semibench.run.settings`). phantom: "auto" uses the procedural stand-in if no folder
    for data is named. weights: file with start weights for the backbone. tuned: a study of `bench tune`, by name, folder or file.
    control: use the labeled images as the unlabeled ones, the same as the setting `unlabeled_from=labeled`. conventions: empty
    for all that apply.
    """

    protocol: Annotated[
        str,
        Option("How the split is drawn: `bench list protocols`.", ("--protocol", "-p"), axis="Names with commas."),
    ]
    dataset: Annotated[
        str,
        Option(
            "`bench list datasets`, or a folder of your own: ./mydata.", ("--dataset", "-d"), axis="Names with commas."
        ),
    ]
    method: Annotated[
        str | None,
        Option(
            "`bench list methods`, or a file: ./my_method.py:MyMethod (default: the protocol's).", ("--method", "-m"), COMPETITOR,
            axis="Names with commas (default: the protocol's).",
        ),
    ] = None  # fmt: skip
    backbone: Annotated[
        str | None,
        Option(
            "`bench list backbones`, a file: ./net.py:Net, or monai:NETWORK (default: the method's).",
            ("--backbone", "-b"), COMPETITOR,
            axis="Names with commas (default: the methods').",
        ),
    ] = None  # fmt: skip
    recipe: Annotated[
        str,
        Option(
            "Budget, optimiser and views: smoke, quick, standard, paper, or own, that of the method's preset.",
            ("--recipe", "-r"), COMPETITOR, written=True,
            axis="Names with commas (default: quick).",
        ),
    ] = "quick"  # fmt: skip
    preset: Annotated[
        str | None, Option("A method's published constants: `bench show method NAME`.", panel=COMPETITOR)
    ] = None
    dims: Annotated[
        int | None,
        Field(ge=2, le=3),
        Option("2: a 2D network, on slices of volumes; 3: a 3D one.", panel=COMPETITOR),
    ] = None
    weights: Annotated[Path | None, Option("File with start weights for the backbone.", panel=COMPETITOR)] = None
    tuned: Annotated[
        Path | None,
        Option("Settings found by a study of `bench tune`: its name or folder.", panel=COMPETITOR, metavar="STUDY"),
    ] = None
    control: Annotated[
        bool,
        Option(
            "Run the method's control: its unlabeled images are the labeled ones, all else is the same. The method minus "
            "its control is what the unlabeled images are worth.",
            ("--control/",), COMPETITOR,
        ),
    ] = False  # fmt: skip
    draw: Annotated[
        int, Field(ge=0, lt=MOST), Option("Which random split.", panel=REPLICATES, axis="Random splits.")
    ] = 0
    fold: Annotated[
        int | None,
        Field(ge=0, lt=MOST),
        Option("Which fold of the split.", panel=REPLICATES, axis="Folds of each split."),
    ] = None
    seed: Annotated[
        int,
        Field(ge=0, lt=MOST),
        Option("Training randomness.", panel=REPLICATES, written=True, axis="Training seeds."),
    ] = 0
    settings: Annotated[
        tuple[str, ...],
        Option("Any recipe field, option or weight; repeatable.", ("--set",), metavar="NAME=VALUE"),
    ] = ()
    split: Annotated[
        Path | None,
        Option(
            "A split of your own, JSON or CSV: case or group -> labeled, unlabeled, validation, test.", metavar="FILE"
        ),
    ] = None
    data_root: Annotated[
        Path | None, Option("Folder with one folder per data set (default: SEMIBENCH_DATA, semibench.toml).")
    ] = None
    phantom: Annotated[
        Phantom,
        Option(
            "Force or forbid the procedural stand-in for the data set (default: only where no folder for data is named).",
            ("--phantom/--no-phantom",), switch=("always", "never"),
        ),
    ] = "auto"  # fmt: skip
    conventions: Annotated[
        tuple[str, ...],
        Option(
            "How to score; repeatable (default: all that apply). NAME@OPTION=VALUE sets an option of one.",
            ("--convention", "-c"),
            KEPT,
            metavar="NAME",
        ),
    ] = ()

    @classmethod
    def from_spec(cls, spec: RunSpec, **more: Any) -> Self:
        """Returns the record that resolves to this spec, with nothing left to defaults.

        Args:
            spec: the spec of a run.
            more: fields that a spec doesn't hold.

        Raises:
            UsageError: for a spec that no request can have.
        """
        settings = {
            f"{part}.{name}": value for part, values in parts_of(spec).items() for name, value in values.items()
        }
        fields = {
            "protocol": spec.track.protocol.name,
            "dataset": spec.track.dataset.name,
            "method": spec.entry.method.name,
            "backbone": spec.entry.backbone.name,
            "recipe": spec.recipe.name if spec.track.recipe == "own" else spec.recipe.name.rstrip("*"),
            "dims": spec.entry.backbone.options.get("dims"),
            "control": spec.entry.is_control,
            "draw": spec.replicate.draw or 0,
            "fold": spec.replicate.fold,
            "seed": spec.replicate.seed,
            "settings": texts(settings),
            "phantom": "never" if spec.track.dataset.options.get("phantom") is None else "always",
        }
        return build(cls, f"run {spec.key[:SHORT]}", fields, more)

    @property
    def label(self) -> str:
        """A short, readable name: "self/tus/mgcc seed 0", then what isn't a default: "preset=code term.cutmix=0.5"."""
        who = "/".join(part for part in (self.protocol, self.dataset, self.method or "default", self.backbone) if part)
        replicate = [f"draw {self.draw}"] if self.draw else []
        replicate += [f"fold {self.fold}"] if self.fold is not None else []
        fields = {"recipe": self.recipe, "preset": self.preset, "dims": self.dims}
        changed = [f"{name}={value}" for name, value in fields.items() if value != Cell.model_fields[name].default]
        changed += ["control"] if self.control else []
        return " ".join([who, *replicate, f"seed {self.seed}", *changed, *self.settings])

    @property
    def digest(self) -> str:
        """Identifies the cell when it has no run key, because a plug-in doesn't load."""
        return sha256(canonical(self.model_dump(mode="json")))[:SHORT]

    def changed(self, settings: Iterable[str]) -> Self:
        """Returns the cell with more settings; they override the cell's settings of the same name."""
        return self.model_copy(update={"settings": merge_settings(self.settings, settings)})

    def request(self, **more: Any) -> Request:
        """Returns the request that runs this cell. more: fields of `Execution`, or fields that replace those of the cell."""
        return Request(**{name: getattr(self, name) for name in Cell.model_fields} | more)

    def to_command(self, *, leave_out: Iterable[str] = ()) -> str:
        """Returns the equivalent `bench run` command line, which runs this and nothing beside it."""
        alone = ["--no-compare"] if self.method is None else []
        return shlex.join(["bench", "run", *self.words(leave_out=leave_out), *alone])


class Execution(Asked, frozen=True, extra="forbid"):
    """Where and how to run a cell, and what to keep. None of it is part of the run key."""

    device: Annotated[str, Option("auto, cpu, cuda, cuda:1, mps.", panel=KEPT)] = "auto"
    threads: Annotated[
        int | None,
        Option(
            "CPU threads (default: OMP_NUM_THREADS, else one for small batches, all cores for large ones).", panel=KEPT
        ),
    ] = None
    memory_format: Annotated[
        Literal["recipe", "contiguous", "channels_last", "auto"],
        Option(
            "recipe (its channels_last), contiguous, channels_last, or auto: the faster one by a trial, so that the digits "
            "depend on the machine.",
            panel=KEPT,
        ),
    ] = "recipe"
    runs: Annotated[Path, Option("Folder of the run folders.", panel=KEPT)] = Path("runs")
    resume: Annotated[
        bool, Option("Resume from the last checkpoint, or start again.", ("--resume/--restart",), KEPT)
    ] = True
    force: Annotated[bool, Option("Run again even if it is done.", panel=KEPT)] = False
    keep_predictions: Annotated[
        bool, Option("Keep predicted masks, or not.", ("--predictions/--no-predictions",), KEPT)
    ] = True
    pictures: Annotated[bool, Option("Draw overlays and curves, or not.", ("--pictures/--no-pictures",), KEPT)] = True
    tracking_uri: Annotated[
        str | None, Option("MLflow store (default: MLFLOW_TRACKING_URI, else ./mlflow.db).", panel=KEPT)
    ] = None
    track: Annotated[bool, Option("Mirror the run in MLflow, or not.", ("--track/--no-track",), KEPT)] = True


class Request(Execution, Cell, frozen=True, extra="forbid"):
    """A request for one run: a cell and its execution."""


def parts_of(spec: RunSpec) -> dict[str, Mapping[str, Any]]:
    """Returns all options of a spec, by the part that `--set PART.NAME=VALUE` names.

    A recipe that was stored before a field existed has the field's default, which is how it was trained."""
    protocol, dataset = dict(spec.track.protocol.options), dict(spec.track.dataset.options)
    phantom, generator = dataset.pop("phantom", None), protocol.pop("generator_options", None)
    return {
        "recipe": without(merge(default_options(Recipe), spec.recipe.options), "name", "dims"),
        "method": spec.entry.method.options,
        "term": spec.entry.terms,
        "backbone": without(spec.entry.backbone.options, "dims"),
        "protocol": protocol,
        "dataset": dataset,
        "phantom": phantom or {},
        "generator": generator or {},
    }


def without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Returns the options except those with these names."""
    return {name: value for name, value in options.items() if name not in names}


def merge_settings(*layers: Iterable[str]) -> tuple[str, ...]:
    """Merges settings: later layers override earlier ones of the same name. The order is that of first appearance."""
    by_name = {text.partition("=")[0].strip(): text for layer in layers for text in layer}
    return tuple(by_name.values())
