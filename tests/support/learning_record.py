"""Results of the last training of each method in the learning check: the file `battery/learning_record.json`. A method whose
code digest is in the record isn't trained again; a change of the code that decides the outcome changes the digest."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from semibench.conformance import MethodSubject
from semibench.files import write_atomically
from semibench.source_digest import bare
from support.places import TESTS

RECORD = TESTS / "battery" / "learning_record.json"

DECIDING = (
    "semibench.blocks",
    "semibench.conformance",
    "semibench.contracts",
    "semibench.training",
    "semibench_plugins",
)
"""Packages whose code decides an outcome, if a module that a test names imports it directly or indirectly."""

FACES = ("semibench", "semibench.blocks", "semibench.conformance")
"""Packages that only re-export names."""

Figures = dict[str, Any]
"""Numbers by name; for the predictors of a method, mappings of them."""


def read() -> dict[str, dict[str, Any]]:
    """Returns name -> {"code": digest, and the figures}."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def known(name: str, code: str) -> Figures | None:
    """Returns the recorded figures, or None if there are none for this code."""
    entry = read().get(name, {})
    return {key: value for key, value in entry.items() if key != "code"} if entry.get("code") == code else None


def write(name: str, code: str, figures: Figures, among: Collection[str]) -> None:
    """Records figures and removes names that aren't in `among`. Several processes may write at once."""
    with FileLock(Path(tempfile.gettempdir()) / "semibench-learning-record.lock"):
        record = {key: entry for key, entry in read().items() if key in among} | {
            name: {"code": code, **_rounded(figures)}
        }
        text = json.dumps(dict(sorted(record.items())), indent=1) + "\n"
        write_atomically(RECORD, lambda draft: draft.write_text(text, encoding="utf-8"))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def code_of(subject: MethodSubject) -> str:
    """Digest of everything that decides whether the method of a subject learns."""
    return code_digest([subject.method.__module__, subject.backbone.__module__, "semibench.conformance.learning"])


def code_digest(modules: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Digest of these modules, of everything they import, and of these files. It ignores comments, docstrings, layout and module
    names, so that a module may move."""
    todo = list(modules)
    reached: set[str] = set()
    contents = {_digest(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
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
    """Returns a digest of a module's code, and the modules that it imports from."""
    module = importlib.import_module(name)
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    taken = set(_taken(module, tree))
    constants = sorted(text for text in taken if text.startswith("="))
    return _digest(tree, *constants), tuple(sorted(taken - set(constants)))


def _digest(tree: ast.Module, *more: str) -> str:
    kept = ast.fix_missing_locations(_WithoutImports().visit(tree))
    return hashlib.sha256("".join([bare(ast.unparse(kept)), *more]).encode()).hexdigest()


def _taken(module: ModuleType, tree: ast.Module) -> Iterator[str]:
    """Returns modules by name. Names from a re-exporting package are traced to their module; a constant gives "=its value"."""
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
    """Removes import statements; an otherwise empty block becomes `pass`."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for part in ("body", "orelse", "finalbody"):
            block = getattr(node, part, None)
            if isinstance(block, list) and any(isinstance(each, ast.Import | ast.ImportFrom) for each in block):
                kept = [each for each in block if not isinstance(each, ast.Import | ast.ImportFrom)]
                setattr(node, part, kept or ([ast.Pass()] if part == "body" else []))
        return node
