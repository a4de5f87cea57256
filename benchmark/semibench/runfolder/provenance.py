"""Collects the provenance of a run: code, versions, device and git state. It is never part of the run key."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from semibench.contracts.identity import NUMERICS
from semibench.discovery.registry import Registered
from semibench.runfolder.records import GitState, Machine, PluginUsed, Provenance
from semibench.source_digest import source_digest

PACKAGES = ("torch", "numpy", "scipy", "pandas", "monai", "diffusers", "mlflow", "optuna", "scikit-image", "mambapy")


def plugin_used(item: Registered) -> PluginUsed:
    """Returns distribution, version and source digest of a plug-in."""
    return PluginUsed(
        name=item.full_name,
        distribution=item.distribution,
        version=item.version,
        source=source_digest(item.card.load.split(":")[0]),
        file=None if item.file is None else _placed(item.file, item.reference),
    )


def _placed(file: Path, reference: str) -> str:
    """Returns FILE.py:CLASS without the folders above the current one, which may name a user."""
    here = Path.cwd().resolve()
    shown = file.relative_to(here) if file.is_relative_to(here) else Path(file.name)
    return f"{shown.as_posix()}{reference.removeprefix(str(file))}"


HARMLESS = {"core.fsmonitor": "false", "core.hooksPath": os.devnull, "protocol.allow": "never"}
"""Settings with which git starts no other program to see what changed, and fetches nothing."""


def git_state(folder: Path | None = None) -> GitState | None:
    """Returns the git state of a folder, or None outside a checkout. folder: default is the current one.

    The folder may come from anybody: no program that its .git/config names is started (a monitor, hooks, filters, a transport)."""
    where = folder or Path.cwd()
    commit = _git(where, HARMLESS, "rev-parse", "HEAD")
    names = _git(where, HARMLESS, "config", "--list", "--name-only", "-z", "--includes")
    if commit is None or names is None:
        return None
    filters = {
        name: "false" if name.endswith("required") else "" for name in names.split("\0") if FILTER.fullmatch(name)
    }
    changes = _git(
        where, HARMLESS | filters, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"
    )
    return GitState(commit=commit.strip(), dirty=changes is None or bool(changes.strip()))


FILTER = re.compile(r"filter\..+\.(clean|smudge|process|required)", re.DOTALL | re.IGNORECASE)


def _git(folder: Path, settings: Mapping[str, str], *words: str) -> str | None:
    """Returns what a git command prints; None if it fails. settings: override those of the folder."""
    environment = os.environ | {
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
        **{f"GIT_CONFIG_KEY_{number}": name for number, name in enumerate(settings)},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(settings.values())},
    }  # fmt: skip
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=10, check=False,
            encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Returns the versions of Python, of the harness's numerics and of the packages that compute."""
    by_name = {"python": platform.python_version(), "numerics": str(NUMERICS)}
    for name in (*PACKAGES, "semibench"):
        try:
            by_name[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return by_name


def processor() -> str:
    """Returns the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def machine(device: str) -> Machine:
    """Returns device, processor and thread count, without host or user names."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return Machine(
        device=device, device_name=name, processor=processor(), cores=os.cpu_count(), threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        instructions=torch.backends.cpu.get_cpu_capability() if device == "cpu" else None,
    )  # fmt: skip


def provenance(plugins: Mapping[str, Registered], device: str) -> Provenance:
    """Returns the provenance of a run with these plug-ins on this device. plugins: by role."""
    return Provenance(
        plugins={role: plugin_used(item) for role, item in plugins.items()},
        versions=versions(),
        machine=machine(device),
        git=git_state(),
    )
