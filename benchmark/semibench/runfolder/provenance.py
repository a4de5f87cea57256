"""What made a run, recorded beside it and never hashed into its key: code, versions, device, git state."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

from semibench.contracts.identity import NUMERICS, canonical, sha256
from semibench.registry import Registered

PACKAGES = ("torch", "numpy", "scipy", "pandas", "monai", "diffusers", "mlflow", "optuna", "scikit-image", "mambapy")


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
    """sha256 over the defining module and what it imports from its own top-level package or from `semibench.blocks`
    (comments, docstrings and layout left out); "unknown" where there is no source."""
    top = module_name.split(".")[0]
    todo, seen = [module_name], {}
    while todo:
        name = todo.pop()
        if name in seen or not (name.split(".")[0] == top or name.startswith("semibench.blocks.")):
            continue
        if top == "semibench" and not name.startswith(("semibench.blocks", "semibench.protocols")):
            continue
        try:
            module = importlib.import_module(name)
            path = Path(module.__file__ or "")
            source = path.read_text(encoding="utf-8")
        except (ImportError, OSError, TypeError):
            continue
        seen[name] = sha256(bare(source))
        todo += sorted(_imports(module, source))
    return sha256(canonical(seen)) if seen else "unknown"


def plugin_record(item: Registered) -> dict[str, str]:
    """Distribution, version and source digest of a plugin in use."""
    return {
        "name": item.full_name,
        "distribution": item.distribution,
        "version": item.version,
        "source": source_digest(item.card.load.split(":")[0]),
    }


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit and whether the tree is dirty, of the folder the harness was started in; None outside a checkout."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words], cwd=folder or Path.cwd(), capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def versions() -> dict[str, str]:
    """Versions of what computes."""
    found = {"python": platform.python_version(), "numerics": str(NUMERICS)}
    for name in (*PACKAGES, "semibench"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def machine(device: str) -> dict[str, Any]:
    """Host class, device and thread count; no host name, no user name."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return {
        "device": device,
        "device_name": name,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def provenance(plugins: dict[str, Registered], device: str) -> dict[str, Any]:
    """Everything of this module in one record; plugins: by role."""
    return {
        "plugins": {role: plugin_record(item) for role, item in plugins.items()},
        "versions": versions(),
        "machine": machine(device),
        "git": git_state(),
    }


def stale_reasons(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why a finished run doesn't count any more: plugins or harness numerics that changed since."""
    reasons = []
    for role, record in new["plugins"].items():
        before = old.get("plugins", {}).get(role)
        if before is None or before["source"] != record["source"]:
            reasons.append(f"{role} {record['name']}: its code has changed")
    if old.get("versions", {}).get("numerics") != new["versions"]["numerics"]:
        reasons.append(f"harness numerics {old.get('versions', {}).get('numerics')} -> {new['versions']['numerics']}")
    return reasons
