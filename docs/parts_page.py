"""The page of `semibench.blocks`: mkdocs calls this while it builds.

The page comes from the stub that lists the public names and from their docstrings, so it is complete as soon as a name is
exported: a table of all names with an example each, then the reference of each module with arguments and shapes.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semibench import blocks

PAGE = "blocks.md"
START = """# Parts: `semibench.blocks`

Parts to build plug-ins with. They work in 2D and 3D: `*spatial` stands for (H, W) or (D, H, W), B for the batch, C for the
channels of images and K for the classes. All names are imported from `semibench.blocks`; what a plug-in *is* (the contracts,
cards and errors) comes from [`semibench`](contracts.md), and only these modules are [public](compatibility.md).

The examples on this page run with

```python
from pathlib import Path

import h5py
import nibabel
import numpy as np
import SimpleITK
import torch
from PIL import Image
from semibench import CaseRef, DatasetCard, DatasetOptions, PhantomOptions, StrongPolicy, WeakPolicy
from semibench.blocks import *

card = DatasetCard(name="clinic", title="Clinic", load="clinic:Clinic", dims=2, modality="ultrasound")
```

and `folder`, the `pathlib.Path` of an empty folder.
"""


def names_by_module() -> Mapping[str, list[str]]:
    """The exported names by the module of `semibench.blocks` that defines them, in the order of the stub."""
    stub = Path(blocks.__file__).with_suffix(".pyi")
    return {
        f"semibench.blocks.{node.module}": [alias.name for alias in node.names]
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
    }


def is_value(thing: Any) -> bool:
    """Whether a name stands for a constant or the type of an option, which has no docstring of its own."""
    return not (inspect.isclass(thing) or inspect.isroutine(thing))


def examples(name: str) -> list[doctest.Example]:
    """The examples in the docstring of a class or function; none for a value, whose docstring is that of its type."""
    thing = getattr(blocks, name)
    return [] if is_value(thing) else doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")


def summary(name: str) -> str:
    """The first paragraph of a docstring, or the value of a constant."""
    thing = getattr(blocks, name)
    if is_value(thing):
        return f"`{thing!r}`".replace("typing.", "").replace("|", "\\|")
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()).replace("|", "\\|")


def returned(name: str) -> str:
    """What a function returns, with its shape: the `Returns` section of its docstring."""
    _, _, rest = (inspect.getdoc(getattr(blocks, name)) or "").partition("\nReturns:\n")
    return " ".join(rest.split("\n\n")[0].split()).replace("|", "\\|")


def overview(module: str, names: list[str]) -> str:
    """A table of names: what they are, what they return, and the last line of their example."""
    rows = ["| name | what it is | returns | example |", "| --- | --- | --- | --- |"]
    for name in names:
        shown = examples(name)
        example = f"`{shown[-1].source.strip()}`" if shown else ""
        rows.append(f"| [`{name}`][{module}.{name}] | {summary(name)} | {returned(name)} | {example} |")
    return "\n".join(rows)


def reference(module: str, names: list[str]) -> str:
    """The heading and docstring of a module, its overview, and the full reference of its names."""
    about = (inspect.getdoc(importlib.import_module(module)) or "").strip()
    title = module.rsplit(".", 1)[1].replace("_", " ").capitalize()
    details = "\n\n".join(f"::: {module}.{name}\n    options: {{heading_level: 3}}" for name in names)
    return f"## {title}\n\n{about}\n\n{overview(module, names)}\n\n{details}"


def page() -> str:
    """The whole page."""
    return "\n\n".join([START, *(reference(module, names) for module, names in names_by_module().items())]) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Adds the page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
