"""From a kind and a name to a package on disk.

A template is a text file in which `${module}` and the like stand for what differs; `templates/any` is for every kind. The
package appears as a whole: it is written beside its place and moved there.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from semibench import __all__ as PUBLIC
from semibench import __version__
from semibench.contracts.cards import API
from semibench.contracts.errors import UnknownNameError, UsageError

NAME = re.compile(r"^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$")
TAKEN_CLASSES = {
    *PUBLIC, "Any", "ClassVar", "Drawing", "Field", "Image", "ImageDataset", "ImageEntry", "Iterable", "Mapping", "Path",
    "PhantomDataset", "Sequence", "Tensor",
}  # fmt: skip
"""Class names that the templates import."""

SCAFFOLDS: Mapping[str, str] = {
    "method": "methods",
    "backbone": "backbones",
    "dataset": "datasets",
    "protocol": "protocols",
    "generator": "generators",
}
"""What can be written, and the kind of the registry it becomes."""

TRIES: Mapping[str, str] = {
    "method": "bench run --protocol self --dataset tus --method ${name} --recipe smoke",
    "backbone": "bench run --protocol self --dataset tus --method mean-teacher --backbone ${name} --recipe smoke",
    "dataset": "bench run --protocol self --dataset ${name} --method mean-teacher --recipe smoke",
    "protocol": "bench run --protocol ${name} --dataset tus --method mean-teacher --recipe smoke",
    "generator": "bench run --protocol synthetic --dataset tus --method mean-teacher --recipe smoke "
    "--set protocol.generator=${name}",
}
"""The command that tries the new plug-in on embedded data."""


@dataclass(frozen=True)
class Scaffold:
    """A written package. command: what tries it out."""

    folder: Path
    distribution: str
    files: tuple[Path, ...]
    command: str


def check_name(kind: str, name: str, taken: Iterable[str] = ()) -> None:
    """Raises UnknownNameError for a kind that has no template, UsageError for a name that can't be a plug-in's or that is
    taken; the message proposes what can be typed instead."""
    if kind not in SCAFFOLDS:
        raise UnknownNameError("scaffold", kind, SCAFFOLDS)
    if not NAME.match(name):
        near = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-")
        near = near if NAME.match(near) else f"my-{near or kind}"
        raise UsageError(
            f"{name!r} can't be the name of a {kind}: expected lower case letters, digits and single dashes, a letter "
            f"first. Did you mean {near!r}?"
        )
    if name in set(taken):
        raise UsageError(f"a {kind} called {name!r} is installed already. Did you mean {f'my-{name}'!r}?")
    module = _module(name)
    if importlib.util.find_spec(module) is not None:
        raise UsageError(
            f"the package would be called {module!r}, and a module of this name is installed already. "
            f"Did you mean {f'my-{name}'!r}?"
        )


def _module(name: str) -> str:
    return f"semibench_{name.replace('-', '_')}"


def _values(kind: str, name: str) -> dict[str, str]:
    title = " ".join(part.capitalize() for part in name.split("-"))
    cls = title.replace(" ", "")
    if cls in TAKEN_CLASSES or keyword.iskeyword(cls):
        cls += kind.capitalize()
    values = {
        "kind": kind,
        "kinds": SCAFFOLDS[kind],
        "name": name,
        "title": title,
        "cls": cls,
        "module": _module(name),
        "distribution": f"semibench-{name}",
        "semibench": __version__,
        "api": str(API),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    values["command"] = string.Template(TRIES[kind]).substitute(values)
    return values


def write(kind: str, name: str, directory: Path, *, taken: Iterable[str] = ()) -> Scaffold:
    """Writes the package `directory/name`. taken: names of installed plug-ins of this kind.

    Raises UsageError for a bad or taken name, a missing directory, and a folder that exists already (nothing is
    overwritten)."""
    check_name(kind, name, taken)
    if not directory.is_dir():
        raise UsageError(f"there is no folder {directory}; make it, or name another with --dir")
    folder = directory / name
    if folder.exists():
        raise UsageError(
            f"{folder} exists already and stays as it is; choose another name, or another place with --dir"
        )
    values = _values(kind, name)
    templates = resources.files(__package__) / "templates"
    waiting = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=directory))
    try:
        made = [_render(Path(str(templates)) / part, waiting, values) for part in ("any", kind)]
        waiting.chmod(0o755)
        waiting.rename(folder)
    except BaseException:
        shutil.rmtree(waiting, ignore_errors=True)
        raise
    files = tuple(sorted(folder / path for paths in made for path in paths))
    return Scaffold(folder, values["distribution"], files, values["command"])


def _render(source: Path, target: Path, values: Mapping[str, str]) -> list[Path]:
    """Every template below `source` into `target`; returns the paths relative to it. A name ends in `.txt`, which goes, so
    that no tool takes a template for code; `dot-` stands for a leading dot."""
    made = []
    for template in sorted(source.rglob("*.txt")):
        place = string.Template(str(template.relative_to(source))[: -len(".txt")].replace("dot-", ".")).substitute(
            values
        )
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(string.Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
        made.append(Path(place))
    return made
