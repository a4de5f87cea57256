"""The documentation of the plug points comes from the code: a page each, complete, in the navigation."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.places import ROOT

import semibench
from semibench.conformance import REGISTRATION_CHECKS
from semibench.conformance.battery import CHECKS
from semibench.contracts.deprecation import DEPRECATIONS
from semibench.discovery import hookspecs
from semibench.discovery.registry import KINDS, registry


@pytest.fixture(scope="module")
def pages() -> Any:
    """The module that mkdocs calls."""
    spec = importlib.util.spec_from_file_location("plug_points", ROOT / "docs" / "plug_points.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", KINDS)
def test_every_hook_has_its_page(name: str, pages: Any) -> None:
    kind = KINDS[name]
    text = " ".join(pages.page(kind).split())
    assert " ".join((inspect.getdoc(getattr(hookspecs, kind.hook)) or "").split()) in text
    assert kind.hook in text and kind.card.__name__ in text
    for field in kind.card.model_fields:
        assert f"| `{field}` |" in text, f"{field} of {kind.card.__name__} is missing"
    if kind.base:
        module, base = kind.base.split(":")
        assert f"::: {module}" in text or f"[`semibench.{base}`]" in text
    for fact, check in {**REGISTRATION_CHECKS, **CHECKS[kind.singular]}.items() if kind.singular in CHECKS else ():
        assert f"`{fact}`" in text and " ".join((check.__doc__ or "").split()) in text
    for item in registry().cards(name):
        if item.distribution == "semibench":
            assert f"`{item.name}`" in text


@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_page_makes_a_card(name: str, pages: Any) -> None:
    kind = KINDS[name]
    code = re.findall(r"```python\n(.*?)```", pages.page(kind), re.DOTALL)[0]
    space: dict[str, Any] = {}
    exec(compile(code, f"{name}.md", "exec"), space)
    (card,) = space[kind.hook]()
    assert isinstance(card, kind.card) and card.api == semibench.API and "api" in card.model_fields_set


def test_what_is_public_stands_on_a_page(pages: Any) -> None:
    shown = {module for kind in KINDS.values() for module in pages.modules(kind)}
    shown |= set(re.findall(r"^::: (\S+)", (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8"), re.MULTILINE))
    stub = ast.parse(Path(str(semibench.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {
        f"semibench.{node.module}": [alias.name for alias in node.names]
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module not in ("contracts.cards", "discovery.hookspecs")
    }
    absent = [
        f"{home}.{name}" for home, names in homes.items() for name in names if not {home, f"{home}.{name}"} & shown
    ]
    assert not absent, f"on no page: {absent}"


def test_the_pages_are_in_the_navigation_and_among_the_files(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    config = pages.on_config(SimpleNamespace(nav=nav))
    (plug_ins,) = [entry["Write a plug-in"] for entry in config.nav if "Write a plug-in" in entry]
    (section,) = [entry["Plug points"] for entry in plug_ins if "Plug points" in entry]
    assert section[0] == "contracts.md"
    assert [path for entry in section[1:] for path in entry.values()] == [
        pages.path_of(kind) for kind in KINDS.values()
    ]
    structure = pytest.importorskip("mkdocs.structure.files")
    made: list[str] = []
    monkeypatch.setattr(structure.File, "generated", lambda config, path, content: made.append(path) or path)
    assert pages.on_files([], None) == made == [pages.path_of(kind) for kind in KINDS.values()]


def test_marks_are_filled(pages: Any) -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert "<!-- semibench:" not in pages.on_page_markdown(path.read_text(encoding="utf-8"))
    used = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert all(mark in used for mark in pages.MARKS)
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    filled = pages.fill(page)
    assert all(entry.name in filled and entry.ends in filled for entry in DEPRECATIONS.values())
    shown = re.findall(r"^(.* is deprecated since .*)$", page, re.MULTILINE)
    assert shown and set(shown) <= {str(entry) for entry in DEPRECATIONS.values()}, "examples are messages of today"
    assert "mgcc" in pages.papers() and f"**{semibench.API}**" in pages.versions()
