"""CONTRIBUTING.md appears in the documentation, with links that work there."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
from support.places import ROOT


@pytest.fixture(scope="module")
def contributing() -> Any:
    """The module that mkdocs calls."""
    spec = importlib.util.spec_from_file_location("contributing", ROOT / "docs" / "contributing.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_fit_the_documentation(contributing: Any) -> None:
    text = "[design](docs/architecture.md#2-the-house), [settings](tox.ini), [web](https://x.org), [below](#tests)"
    expected = "[design](architecture.md#2-the-house), settings, [web](https://x.org), [below](#tests)"
    assert contributing.page(text) == expected


def test_every_path_of_the_page_is_there() -> None:
    """Folders and files in code spans, except those with a NAME to fill in."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [span for span in re.findall(r"`([a-z_]+(?:/[\w.-]+)+/?)`", text) if not re.search("[A-Z]{4}", span)]
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_link_of_the_page_leads_to_a_page(contributing: Any) -> None:
    text = contributing.page((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    targets = [target for _, target in contributing.LINK.findall(text)]
    assert [target for target in targets if not (ROOT / "docs" / target.split("#")[0]).is_file()] == []
    assert re.match("# ", text), "the page starts with its title"
