"""What was found when the built-in methods were last trained to see whether they learn. A method whose code is in the record isn't
trained again; any change of the code that decides the outcome is another digest, and trains it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from semibench.conformance.learning import LearningCase
from semibench.files import write_atomically
from semibench.runfolder.provenance import bare
from support.places import TESTS

RECORD = TESTS / "battery" / "learning_record.json"
FIGURES = ("own", "reference", "chance")
"""Of a `LearningCase`: mean Dice of the method, of its network on the labels alone, of calling everything foreground."""

DECIDING = (
    "semibench.blocks",
    "semibench.conformance",
    "semibench.contracts",
    "semibench.training",
    "semibench_plugins",
)
"""Packages whose code decides the outcome, as far as it is reached from the method, its network or the check."""

FACES = ("semibench", "semibench.blocks", "semibench.conformance")
"""Packages that only pass names on."""


def read() -> dict[str, dict[str, Any]]:
    """Method -> {"code": digest, and the figures}."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def use(name: str, case: LearningCase) -> bool:
    """Gives the case the recorded figures, where the record has them for the code at hand."""
    entry = read().get(name, {})
    if entry.get("code") != code_digest(case):
        return False
    case.__dict__.update({figure: entry[figure] for figure in FIGURES if entry[figure] is not None})
    return True


def write(name: str, case: LearningCase) -> None:
    """Records what the case found; several processes may write at once."""
    found = {figure: round(case.__dict__[figure], 6) if figure in case.__dict__ else None for figure in FIGURES}
    with FileLock(RECORD.with_suffix(".lock")):
        record = {**read(), name: {"code": code_digest(case), **found}}
        text = json.dumps(dict(sorted(record.items())), indent=1) + "\n"
        write_atomically(RECORD, lambda draft: draft.write_text(text, encoding="utf-8"))


def drop_others(names: set[str]) -> None:
    """Forgets methods that are no longer there."""
    with FileLock(RECORD.with_suffix(".lock")):
        kept = {name: entry for name, entry in read().items() if name in names}
        text = json.dumps(kept, indent=1) + "\n"
        write_atomically(RECORD, lambda draft: draft.write_text(text, encoding="utf-8"))


def code_digest(case: LearningCase) -> str:
    """Of the code of a method, its network and the check. Comments, docstrings, layout and the names of modules are left out, so
    that a module may move."""
    todo = [case.small.method.__module__, case.small.backbone.__module__, LearningCase.__module__]
    reached: set[str] = set()
    contents: set[str] = set()
    while todo:
        name = todo.pop()
        if name in reached or name in FACES or not name.startswith(DECIDING):
            continue
        reached.add(name)
        content, more = substance(name)
        contents.add(content)
        todo += more
    return hashlib.sha256("".join(sorted(contents)).encode()).hexdigest()[:16]


@functools.cache
def substance(name: str) -> tuple[str, tuple[str, ...]]:
    """Digest of what a module does, and the modules that it takes something from."""
    module = importlib.import_module(name)
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    tree = ast.parse(source)
    taken = list(_taken(module, tree))
    constants = sorted(text for text in taken if text.startswith("="))
    kept = _WithoutImports().visit(tree)
    text = bare(ast.unparse(ast.fix_missing_locations(kept))) + "".join(constants)
    return hashlib.sha256(text.encode()).hexdigest(), tuple(sorted(set(taken) - set(constants)))


def _taken(module: ModuleType, tree: ast.Module) -> Iterator[str]:
    """Modules by name; what comes through a face is followed home, and a constant from there is given as "=its value"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(relative, module.__package__) if node.level else relative
            if not base.startswith("semibench"):
                continue
            yield base
            for alias in node.names:
                value = getattr(importlib.import_module(base), alias.name, None)
                home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
                if isinstance(home, str):
                    yield home
                elif base in FACES:
                    yield f"={value!r}"


class _WithoutImports(ast.NodeTransformer):
    """Leaves out import statements; a block that held nothing else passes."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for part in ("body", "orelse", "finalbody"):
            block = getattr(node, part, None)
            if isinstance(block, list) and any(isinstance(each, ast.Import | ast.ImportFrom) for each in block):
                kept = [each for each in block if not isinstance(each, ast.Import | ast.ImportFrom)]
                setattr(node, part, kept or ([ast.Pass()] if part == "body" else []))
        return node
