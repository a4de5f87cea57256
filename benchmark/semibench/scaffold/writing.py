"""Write a plug-in package of a given kind and name.

A template is a text file with placeholders such as `${module}`; `templates/any` is for every kind. The package appears at
once: it is written to a temporary folder and renamed.
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
"""Names that the templates import; a class must not be called so."""

SCAFFOLDS: Mapping[str, str] = {
    "method": "methods",
    "backbone": "backbones",
    "dataset": "datasets",
    "protocol": "protocols",
    "generator": "generators",
    "convention": "conventions",
    "split": "splits",
    "recipe": "recipes",
}
"""What can be written -> kind in the registry."""

TRIES: Mapping[str, str] = {
    "method": "bench run --protocol self --dataset tus --method ${name} --recipe smoke",
    "backbone": "bench run --protocol self --dataset tus --method mean-teacher --backbone ${name} --recipe smoke",
    "dataset": "bench run --protocol self --dataset ${name} --method mean-teacher --recipe smoke",
    "protocol": "bench run --protocol ${name} --dataset tus --method mean-teacher --recipe smoke",
    "generator": "bench run --protocol synthetic --dataset tus --method mean-teacher --recipe smoke "
    "--set protocol.generator=${name}",
    "convention": "bench run --protocol self --dataset tus --method mean-teacher --recipe smoke --convention ${name}",
    "split": "bench show split ${name}",  # phantoms have no published splits
    "recipe": "bench run --protocol self --dataset tus --method mean-teacher --recipe ${name}",
}
"""The command that tries the new plug-in, on phantom data where it can."""


@dataclass(frozen=True)
class Scaffold:
    """A written package. command: tries it."""

    folder: Path
    distribution: str
    files: tuple[Path, ...]
    command: str


def check_name(kind: str, name: str, taken: Iterable[str] = ()) -> None:
    """Raise UnknownNameError for a kind without a template, UsageError for an invalid or taken name.

    The message suggests a valid name.
    """
    if kind not in SCAFFOLDS:
        raise UnknownNameError("scaffold", kind, SCAFFOLDS)
    if not NAME.match(name):
        near = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-")
        near = near if NAME.match(near) else f"my-{near or kind}"
        raise UsageError(
            f"{name!r} cannot be the name of a {kind}: expected lower case letters, digits and single dashes, starting "
            f"with a letter. Did you mean {near!r}?"
        )
    if name in set(taken):
        raise UsageError(f"a {kind} called {name!r} is already installed. Did you mean {f'my-{name}'!r}?")
    module = _module(name)
    if importlib.util.find_spec(module) is not None:
        raise UsageError(
            f"the package would be called {module!r}, but a module of this name is already installed. "
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
    """Write the package `directory/name`. Nothing is ever overwritten.

    Args:
        kind: a key of `SCAFFOLDS`.
        name: name of the plug-in.
        directory: where to create the folder.
        taken: names of installed plug-ins of this kind.

    Raises:
        UsageError: for an invalid or taken name, a missing directory, or an existing folder.
    """
    check_name(kind, name, taken)
    if not directory.is_dir():
        raise UsageError(f"the folder {directory} does not exist; create it, or choose another with --dir")
    folder = directory / name
    if folder.exists():
        raise UsageError(
            f"{folder} already exists and is not changed; choose another name, or another folder with --dir"
        )
    values = _values(kind, name)
    templates = resources.files(__package__) / "templates"
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=directory))
    try:
        rendered = [_render(Path(str(templates)) / part, draft, values) for part in ("any", kind)]
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    files = tuple(sorted(folder / path for paths in rendered for path in paths))
    return Scaffold(folder, values["distribution"], files, values["command"])


def _render(source: Path, target: Path, values: Mapping[str, str]) -> list[Path]:
    """Render every template below `source` into `target`; return the paths relative to it.

    The suffix `.txt`, which is removed, keeps tools from treating a template as code; `dot-` becomes a leading dot.
    """
    paths = []
    for template in sorted(source.rglob("*.txt")):
        relative = string.Template(str(template.relative_to(source))[: -len(".txt")].replace("dot-", ".")).substitute(
            values
        )
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(string.Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
        paths.append(Path(relative))
    return paths
