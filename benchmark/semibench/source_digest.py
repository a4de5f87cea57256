"""Digest of the code behind a module or a class: comments, docstrings and layout don't count, what it imports does."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from semibench.contracts.identity import canonical, sha256


def bare(source: str) -> str:
    """Source without comments, docstrings and layout: what can change a result, and nothing else."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def _imports(module: ModuleType, source: str) -> set[str]:
    """Names of modules that a module takes from, resolved through lazy packages to where a thing is really defined."""
    found: set[str] = set()
    package = module.__package__ or ""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module
            )
            if not base:
                continue
            found.add(base)
            parent = _package(base) if base.split(".")[0] in (package.split(".")[0], "semibench") else None
            for alias in node.names:
                home = getattr(getattr(parent, alias.name, None), "__module__", None)
                found.add(home if isinstance(home, str) else f"{base}.{alias.name}")
    return found


def _package(name: str) -> ModuleType | None:
    """The module, imported: what is found must not depend on what else this process has loaded."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@functools.cache
def source_digest(module_name: str) -> str:
    """sha256 over a module and what it imports, directly or not, from its own top-level package or from `semibench.blocks`.

    Of the harness itself only `semibench.blocks`, `semibench.protocols` and the module asked for count. "unknown" where there
    is no source.
    """
    top = module_name.split(".")[0]
    todo, seen = [module_name], {}
    while todo:
        name = todo.pop()
        if name in seen or not (name.split(".")[0] == top or name.startswith("semibench.blocks.")):
            continue
        harness = top == "semibench" and not name.startswith(("semibench.blocks", "semibench.protocols"))
        if harness and name != module_name:  # else every plug-in would change with every line of the harness
            continue
        try:
            module = importlib.import_module(name)
            source = Path(getattr(module, "__file__", None) or "").read_text(encoding="utf-8")
            seen[name] = sha256(bare(source))
        except (ImportError, OSError, TypeError, ValueError, SyntaxError):  # no module, or not of Python source
            continue
        todo += sorted(_imports(module, source))
    return sha256(canonical(seen)) if seen else "unknown"


def class_digest(cls: type) -> str:
    """sha256 over the source of the modules that define a class and its bases, each as `source_digest` reads it; the
    contracts of the harness don't count."""
    modules = {base.__module__ for base in cls.__mro__} - {"builtins", "abc"}
    return sha256(
        canonical({name: source_digest(name) for name in modules if not name.startswith("semibench.contracts")})
    )
