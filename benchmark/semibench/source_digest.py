"""Digests of the code behind a module or class. They cover its imports and ignore comments, docstrings and layout."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from semibench.contracts.identity import canonical, sha256
from semibench.files import read_cached_json, write_json


def bare(source: str) -> str:
    """Returns source code as an AST dump without comments, docstrings and layout, which can't change a result."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def _imports(module: ModuleType, source: str) -> set[str]:
    """Returns the names of imported modules. Names from lazy packages are resolved to the module that defines them."""
    names: set[str] = set()
    package = module.__package__ or ""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module
            )
            if not base:
                continue
            names.add(base)
            parent = _package(base) if base.split(".")[0] in (package.split(".")[0], "semibench") else None
            for alias in node.names:
                home = getattr(getattr(parent, alias.name, None), "__module__", None)
                names.add(home if isinstance(home, str) else f"{base}.{alias.name}")
    return names


def _package(name: str) -> ModuleType | None:
    """Imports a module, so that the result doesn't depend on what this process has loaded; returns None on ImportError."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@functools.cache
def source_digest(module_name: str) -> str:
    """Returns the sha256 of a module and of what it imports, directly or indirectly, from its own top-level package.

    Modules of `semibench.blocks` always count. For a module of the harness, only it, `semibench.blocks` and
    `semibench.protocols` count.

    Args:
        module_name: the dotted name; the module is imported.

    Returns:
        The digest, or "unknown" if there is no source.
    """
    return _digest_and_files(module_name)[0]


def remembered_digest(module_name: str, store: Path) -> str:
    """Returns `source_digest` of a module without importing it, where a file remembers the digest of the same source files.

    Args:
        module_name: the dotted name. Its packages are imported, the module only if its digest isn't remembered.
        store: JSON file of digests, with path, time and size of the source files that each covers; written if it can be.
    """
    spec = importlib.util.find_spec(module_name)
    key = f"{module_name} {spec.origin if spec is not None else None}"
    remembered = read_cached_json(store)
    known = remembered.get(key)
    if isinstance(known, dict) and known.get("files") == _stamps(known.get("files", {})):
        return str(known["digest"])
    digest, files = _digest_and_files(module_name)
    if files:
        entry = {"digest": digest, "files": _stamps(dict.fromkeys(map(str, files)))}
        with contextlib.suppress(OSError):  # a cache folder that can't be written costs time only
            write_json(store, {**read_cached_json(store), key: entry})
    return digest


def _stamps(files: Mapping[str, Any]) -> dict[str, list[int]]:
    """Returns time and size of files by path; those that are missing are left out."""
    stamps = {}
    for path in files:
        with contextlib.suppress(OSError):
            facts = Path(path).stat()
            stamps[path] = [facts.st_mtime_ns, facts.st_size]
    return stamps


def _digest_and_files(module_name: str) -> tuple[str, list[Path]]:
    """Returns the digest of a module's sources, and their files."""
    top = module_name.split(".")[0]
    files: list[Path] = []
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
            file = Path(getattr(module, "__file__", None) or "")
            source = file.read_text(encoding="utf-8")
            seen[name] = sha256(bare(source))
            files.append(file)
        except (ImportError, OSError, TypeError, ValueError, SyntaxError):  # not a module, or not Python source
            continue
        todo += sorted(_imports(module, source))
    return (sha256(canonical(seen)) if seen else "unknown"), files


def class_digest(cls: type) -> str:
    """Returns the sha256 of the `source_digest`s of the modules that define a class and its bases.

    The contracts of the harness don't count."""
    modules = {base.__module__ for base in cls.__mro__} - {"builtins", "abc"}
    return sha256(
        canonical({name: source_digest(name) for name in modules if not name.startswith("semibench.contracts")})
    )
