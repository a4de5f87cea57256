"""The public packages: what they export, that importing them is cheap, and that plug-ins and examples use nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import semibench
from semibench import blocks, conformance
from semibench.contracts import deprecation
from semibench.contracts.deprecation import DEPRECATIONS, Deprecation
from semibench.contracts.lazy_names import lazy_names

ROOT = next(folder for folder in Path(__file__).parents if (folder / "mkdocs.yml").is_file())
PUBLIC = {"semibench": semibench, "semibench.blocks": blocks, "semibench.conformance": conformance}
FENCE = re.compile(r"^( *)```python.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
HARNESS_PAGES = {
    "docs/leaderboards.md": "semibench_leaderboards",
    "docs/published.md": "semibench_leaderboards",
    "docs/suites.md": "semibench_leaderboards",
    "docs/tracking.md": "semibench.tracking",
    "docs/phantoms.md": "semibench_plugins",
}
"""Pages with an example that drives a part of the project itself, which no plug-in does, and the package it may import."""


def imported(text: str) -> Iterator[tuple[str, str | None]]:
    """(module, name or None) of every import of one of this project's packages, at any depth."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules: list[tuple[str, str | None]] = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        yield from ((module, name) for module, name in modules if module.split(".")[0].startswith("semibench"))


def private(text: str, allowed: str | None = None) -> list[str]:
    """The imports of a text that are not public; allowed: one more package."""
    found = []
    for module, name in imported(text):
        if allowed and (module == allowed or module.startswith(f"{allowed}.")):
            continue
        names = [*PUBLIC[module].__all__, None, "*"] if module in PUBLIC else []
        if name not in names and f"{module}.{name}" not in PUBLIC:
            found.append(f"{module}: {name}" if name else module)
    return found


def import_lines(code: str) -> str:
    """The code of an example; of a sketch that isn't valid Python, its lines with imports."""
    try:
        ast.parse(code)
    except SyntaxError:
        return "\n".join(line.strip() for line in code.splitlines() if re.match(r"\s*(from|import) ", line))
    return code


def plugin_files() -> list[Path]:
    return sorted((ROOT / "plugins").rglob("*.py"))


def pages() -> list[Path]:
    return sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def templates() -> list[Path]:
    return sorted((ROOT / "benchmark" / "semibench" / "scaffold" / "templates").rglob("*.py.txt"))


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_plugins_import_the_public_packages_only() -> None:
    wrong = {label(path): private(path.read_text("utf-8"), "semibench_plugins") for path in plugin_files()}
    assert len(wrong) > 100
    assert not {path: names for path, names in wrong.items() if names}


def test_examples_in_the_documentation_import_the_public_packages_only() -> None:
    wrong = {}
    for path in pages():
        for indent, code in FENCE.findall(path.read_text("utf-8")):
            text = import_lines(re.sub(rf"^{indent}", "", code, flags=re.MULTILINE))
            if names := private(text, HARNESS_PAGES.get(label(path))):
                wrong[label(path)] = names
    assert not wrong


def test_scaffolds_import_the_public_packages_only() -> None:
    wrong = {}
    for path in templates():
        text = re.sub(r"\$\{\w+\}", "Own", path.read_text("utf-8"))
        if names := private(text):
            wrong[label(path)] = names
    assert templates() and not wrong


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from semibench.contracts.errors import UsageError", ["semibench.contracts.errors: UsageError"]),
        ("import semibench.discovery.registry", ["semibench.discovery.registry"]),
        ("from semibench import registry", ["semibench: registry"]),
        ("def late():\n    from semibench.blocks.losses import dice_ce", ["semibench.blocks.losses: dice_ce"]),
        ("from semibench import blocks, Method\nfrom semibench.blocks import *\nimport torch", []),
    ],
)
def test_the_search_for_private_imports_finds_them(line: str, found: list[str]) -> None:
    assert private(line) == found


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_resolves_and_is_listed(package: str) -> None:
    module = PUBLIC[package]
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module) or name == "__version__"


def test_importing_the_public_packages_and_the_cards_is_cheap() -> None:
    code = (
        "import sys, semibench, semibench.blocks\n"
        "import semibench_plugins.methods.cards, semibench_plugins.backbones.cards, semibench_plugins.generators.cards\n"
        "semibench_plugins.methods.cards.semibench_methods()\n"
        "print(*sorted({'torch', 'numpy', 'monai', 'scipy', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_wrong_name_suggests_the_right_one() -> None:
    with pytest.raises(AttributeError, match="module 'semibench' has no attribute 'Metod'; did you mean 'Method'"):
        semibench.Metod
    with pytest.raises(AttributeError, match="did you mean 'box_mask'"):
        blocks.boxmask
    with pytest.raises(AttributeError, match=r"has no attribute 'qqq'$"):
        blocks.qqq
    with pytest.raises(ImportError, match="cannot import name 'Metod' from 'semibench'"):
        exec("from semibench import Metod")


def test_an_old_name_of_a_block_warns_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Deprecation("semibench.blocks.boxes", "0.1", "0.3", "semibench.blocks.box_mask")
    monkeypatch.setattr(deprecation, "DEPRECATIONS", {**DEPRECATIONS, entry.name: entry})
    monkeypatch.setitem(blocks._RENAMED, "boxes", "box_mask")
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match=r"use semibench\.blocks\.box_mask"):
            assert blocks.boxes is blocks.box_mask


def test_a_package_without_a_stub_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stub"):
        lazy_names("nothing", str(tmp_path / "__init__.py"))


def test_every_stub_exports_what_it_imports() -> None:
    """`X as X` is what makes a type checker see a name of a stub as exported."""
    for module in (semibench, blocks):
        tree = ast.parse(Path(str(module.__file__)).with_suffix(".pyi").read_text("utf-8"))
        aliases = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert aliases and all(alias.asname == alias.name for alias in aliases)


def test_the_public_packages_import_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert semibench.Method and blocks.Teacher
