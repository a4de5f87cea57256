"""Which code decoded the cases: a digest of the source that makes a data set, so that changed code reads again."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path

from semibench.contracts.identity import canonical, sha256

BLOCKS = "semibench.blocks"
"""The public parts, of which plug-ins' readers and phantoms are made."""


def code_revision(made: type) -> str:
    """Digest of the modules that define a class and its bases, and of all that they import from their own top-level package
    and from `semibench.blocks`, comments and formatting apart. The rest of the harness is left out, except for what it
    defines the class in."""
    modules: set[str] = set()
    for base in made.__mro__:
        if base.__module__ not in ("builtins", "abc") and not base.__module__.startswith("semibench.contracts"):
            modules |= _reached(base.__module__)
    return sha256(canonical(sorted((name, _source(name)) for name in modules)))


@cache
def _reached(start: str) -> frozenset[str]:
    """The module, and all modules of its package and of the blocks that it imports, directly or not."""
    package = BLOCKS if _within(start, BLOCKS) else start.partition(".")[0]
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        text = _text(name)
        if text is not None:
            todo += [
                module
                for module in _imports(text, name)
                if module != BLOCKS and (_within(module, package) or _within(module, BLOCKS)) and _file(module)
            ]
    return frozenset(seen)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _imports(text: str, module: str) -> set[str]:
    package = module if (file := _file(module)) and file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
            if base == BLOCKS:
                found |= {_home(alias.name) for alias in node.names}
    return found


@cache
def _home(name: str) -> str:
    """The module that defines a name of the blocks, which are imported on first use."""
    import semibench.blocks

    return str(getattr(getattr(semibench.blocks, name, None), "__module__", BLOCKS))


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
    """The syntax tree without positions; equal for texts that differ in comments and layout only."""
    text = _text(module)
    return "unknown" if text is None else sha256(ast.dump(ast.parse(text)))
