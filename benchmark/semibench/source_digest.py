"""Digests of the code behind a module or class. They cover its imports and ignore comments, docstrings and layout."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from semibench.contracts.identity import canonical, sha256
from semibench.files import read_cached_json, write_cached_json

LOCAL_PACKAGE = "semibench_local"
"""The package as whose modules files without a package are imported: `semibench_local.FOLDER.FILE`."""


def bare(source: str) -> str:
    """Returns source code as an AST dump without comments, docstrings and layout, which can't change a result."""
    return _dump_and_imports(source)[0]


@functools.cache
def _digest_and_imports(source: str) -> tuple[str, list[ast.Import | ast.ImportFrom]]:
    """Returns the digest of a module's source code and its import statements. The plug-ins of a run share most modules, and
    parsing one takes milliseconds."""
    dump, statements = _dump_and_imports(source)
    return sha256(dump), statements


def _dump_and_imports(source: str) -> tuple[str, list[ast.Import | ast.ImportFrom]]:
    """Returns what `bare` returns, and the import statements."""
    tree = ast.parse(source)
    statements: list[ast.Import | ast.ImportFrom] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            statements.append(node)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False), statements


def _imported(package: str, statements: Iterable[ast.Import | ast.ImportFrom]) -> set[str]:
    """Returns the names of the modules that the statements of a module of a package import. Names from lazy packages are
    resolved to the module that defines them."""
    names: set[str] = set()
    for node in statements:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
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
        write_cached_json(store, {**read_cached_json(store), key: entry})
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
    """Returns the digest of a module's sources, and their files. Of MONAI, its networks and their parts count."""
    top = module_name.split(".")[0]
    if top == LOCAL_PACKAGE:
        package, _, stem = module_name.rpartition(".")
        return _digest_beside(Path(importlib.import_module(package).__path__[0]), stem)
    files: list[Path] = []
    todo, seen = [module_name], {}
    while todo:
        name = todo.pop()
        if name in seen or not (name.split(".")[0] == top or name.startswith("semibench.blocks.")):
            continue
        if top == "monai" and not name.startswith("monai.networks."):
            continue
        harness = top == "semibench" and not name.startswith(("semibench.blocks", "semibench.protocols"))
        if harness and name != module_name:  # else every plug-in would change with every line of the harness
            continue
        try:
            module = importlib.import_module(name)
            file = Path(getattr(module, "__file__", None) or "")
            seen[name], statements = _digest_and_imports(file.read_text(encoding="utf-8"))
            files.append(file)
        except (ImportError, OSError, TypeError, ValueError, SyntaxError):  # not a module, or not Python source
            continue
        todo += sorted(_imported(module.__package__ or "", statements))
    return (sha256(canonical(seen)) if seen else "unknown"), files


def file_digest(file: Path) -> str:
    """Returns what `source_digest` returns for a file without a package, and imports neither it nor what lies beside it."""
    return _digest_beside(file.resolve().parent, file.stem)[0]


def _digest_beside(folder: Path, first: str) -> tuple[str, list[Path]]:
    """Returns the digest of a file without a package, of what it imports from beside it, and of blocks; and the files.

    The digest holds names relative to the folder, so that it is the same wherever the folder is. Nothing beside is imported."""
    package = f"{LOCAL_PACKAGE}.folder"
    files: list[Path] = []
    todo, seen = [first], {}
    while todo:
        name = todo.pop().removeprefix(f"{package}.")
        if name in seen:
            continue
        try:
            if name.startswith("semibench.blocks."):
                inner = importlib.import_module(name)
                file, within = Path(inner.__file__ or ""), inner.__package__ or ""
            else:
                plain = folder.joinpath(*name.split("."))
                file = plain / "__init__.py" if plain.is_dir() else plain.with_suffix(".py")
                within = f"{package}.{name if plain.is_dir() else name.rpartition('.')[0]}".rstrip(".")
            seen[name], statements = _digest_and_imports(file.read_text(encoding="utf-8"))
            files.append(file)
        except (ImportError, OSError, TypeError, ValueError, SyntaxError):  # not beside, or not Python source
            continue
        todo += sorted(_imported(within, statements))
    return (sha256(canonical(seen)) if seen else "unknown"), files


def class_digest(cls: type) -> str:
    """Returns the sha256 of the `source_digest`s of the modules that define a class and its bases.

    The contracts of the harness don't count."""
    modules = {base.__module__ for base in cls.__mro__} - {"builtins", "abc"}
    return sha256(
        canonical(
            {_placeless(name): source_digest(name) for name in modules if not name.startswith("semibench.contracts")}
        )
    )


def _placeless(name: str) -> str:
    """Returns the name of a module without the part that stands for the folder of a file without a package."""
    top, *rest = name.split(".")
    return f"{top}.{rest[-1]}" if top == LOCAL_PACKAGE else name
