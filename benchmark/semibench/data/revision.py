"""A digest of the code that decodes a data set, so that changed code reads the cases again."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path

from semibench.contracts.identity import canonical, sha256


def code_revision(dataset_class: type) -> str:
    """Digest the modules that define a class and its bases, and everything they import from their own top-level package.

    Comments and formatting do not count. The contracts do not count either.
    """
    modules: set[str] = set()
    for base in dataset_class.__mro__:
        if base.__module__ not in ("builtins", "abc") and not base.__module__.startswith("semibench.contracts"):
            modules |= _reached(base.__module__)
    return sha256(canonical(sorted((name, _source(name)) for name in modules)))


@cache
def _reached(start: str) -> frozenset[str]:
    """Return the module and all modules of its top-level package that it imports, directly or indirectly."""
    top = start.partition(".")[0]
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        text = _text(name)
        if text is not None:
            todo += [other for other in _imports(text, name) if other.partition(".")[0] == top and _file(other)]
    return frozenset(seen)


def _imports(text: str, module: str) -> set[str]:
    package = module if (file := _file(module)) and file.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


@cache
def _file(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        try:
            source = inspect.getsourcefile(loaded)
        except TypeError:  # built in, or a namespace package
            source = None
        return Path(source) if source else None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a class or function, not a module
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _text(module: str) -> str | None:
    file = _file(module)
    return file.read_text(encoding="utf-8") if file is not None and file.is_file() else None


@cache
def _source(module: str) -> str:
    """Digest the syntax tree without positions, which is equal for texts that differ only in comments and layout."""
    text = _text(module)
    return "unknown" if text is None else sha256(ast.dump(ast.parse(text)))
