"""The battery as a pytest decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from semibench.conformance.battery import checks_of

if TYPE_CHECKING:
    import pytest


def parametrize_checks(
    name: str,
    kind: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    known: Mapping[str, str] | None = None,
    slow: bool = False,
) -> pytest.MarkDecorator | Callable[..., Any]:
    """One test for each check of a registered plugin:

        @parametrize_checks("my-method")
        def test_conformance(check):
            assert check.reason() is None

    A known failure (`known`, or `known_failures` of the class: fact -> reason) is an expected failure with its reason, and an
    error once the check passes. Everything runs on one thread: at these sizes more only cost. See `checks_of`."""
    import pytest
    import torch

    torch.set_num_threads(1)
    found = []
    for check in checks_of(name, kind, options=options, known=known, slow=slow):
        marks = [pytest.mark.xfail(reason=check.known, strict=True)] if check.known else []
        found.append(pytest.param(check, id=str(check), marks=marks))
    return pytest.mark.parametrize("check", found)
