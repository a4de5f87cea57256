"""Public names of a package, listed once in its stub and imported on first use. Light: no heavy package is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lazy_loader

from semibench.contracts.deprecation import deprecated


def lazy_names(
    package: str, file: str, renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Reads the names that a package exports from the stub beside its `__init__.py`.

    Type checkers and editors read the same stub, so each name is written once.

    Args:
        package: `__name__` of the package.
        file: `__file__` of the package; the stub has the same path with the suffix `.pyi`.
        renamed: old public name to new one. An old name still works and warns; `package.name` must be an entry of
            `semibench.contracts.deprecation.DEPRECATIONS`.

    Returns:
        `__getattr__`, `__dir__` and `__all__` of the package. `__getattr__` raises AttributeError for a name that is not
        exported and suggests the nearest one.

    Raises:
        ValueError: if there is no stub, or if it imports from outside the package.
    """
    load, list_names, names = lazy_loader.attach_stub(package, file)
    exported = frozenset(names)

    def get_name(name: str) -> Any:
        if renamed and name in renamed:
            deprecated(f"{package}.{name}")
            return load(renamed[name])
        if name in exported:
            return load(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}{_suggestion(name, names)}")

    return get_name, list_names, names


def _suggestion(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
