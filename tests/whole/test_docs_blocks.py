"""The page of `semibench.blocks`: every public name is on it, documented in full, and its examples run."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from semibench import blocks

ROOT = next(folder for folder in Path(__file__).parents if (folder / "mkdocs.yml").is_file())
PARTS = [
    name
    for name in blocks.__all__
    if inspect.isroutine(getattr(blocks, name)) or inspect.isclass(getattr(blocks, name))
]
FUNCTIONS = [name for name in PARTS if inspect.isroutine(getattr(blocks, name))]


@pytest.fixture(scope="module")
def parts_page() -> ModuleType:
    """The module that mkdocs calls."""
    spec = importlib.util.spec_from_file_location("parts_page", ROOT / "docs" / "parts_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_name_has_its_row_and_its_reference(parts_page: Any) -> None:
    text = parts_page.page()
    listed = {name: module for module, names in parts_page.names_by_module().items() for name in names}
    assert sorted(listed) == sorted(blocks.__all__)
    for name, module in listed.items():
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", text, re.MULTILINE)
        columns = [column.strip() for column in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(columns) == 4 and columns[1], row
        assert f"::: {module}.{name}\n" in text
        if name in PARTS:
            assert columns[3].startswith("`"), f"{name} has no example"


@pytest.mark.parametrize("name", PARTS)
def test_the_example_gives_what_it_says(name: str, parts_page: Any, tmp_path: Path) -> None:
    (setup,) = re.findall(r"```python\n(.*?)```", parts_page.START, re.DOTALL)
    names: dict[str, Any] = {"folder": tmp_path}
    exec(setup, names)
    text = inspect.getdoc(getattr(blocks, name)) or ""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples, f"{name} has no example: add a section `Examples:` with a line that starts with >>>"
    lines: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(test, out=lines.append).failed
    assert not failed, "".join(lines)


def error_class(function: Any, raised: str) -> str:
    """The class that `raise raised(...)` in a function raises: `raised` itself, or what a function of this name returns."""
    maker = function.__globals__.get(raised)
    return str(maker.__annotations__["return"]) if inspect.isfunction(maker) else raised


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_and_result_is_described(name: str) -> None:
    function = getattr(blocks, name)
    text = inspect.getdoc(function) or ""
    sections = dict(re.findall(r"^(Args|Returns|Yields|Raises|Examples):\n((?:    .*\n?|\n)+)", text, re.MULTILINE))
    described = re.findall(r"^    (\w+): ", sections.get("Args", ""), re.MULTILINE)
    assert described == list(inspect.signature(function).parameters), f"{name}: Args describes {described}"
    assert {"Returns", "Yields"} & set(sections), f"{name} doesn't say what it returns"
    raised = re.findall(r"^ +raise (\w+)\(", inspect.getsource(function), re.MULTILINE)
    named = {error_class(inspect.unwrap(function), raiser) for raiser in raised}
    assert named <= set(re.findall(r"^    (\w+): ", sections.get("Raises", ""), re.MULTILINE)), f"{name} raises {named}"


def test_the_page_is_in_the_navigation_and_among_the_files(parts_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    assert parts_page.PAGE in str(nav) and "docs/parts_page.py" in text
    structure = pytest.importorskip("mkdocs.structure.files")
    monkeypatch.setattr(structure.File, "generated", lambda config, path, content: (path, content))
    assert parts_page.on_files([], None) == [(parts_page.PAGE, parts_page.page())]
