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
    """Parametrizes a test with every check of a registered plug-in; the arguments are those of `checks_of`.

        @parametrize_checks("my-method")
        def test_conformance(check):
            assert check.reason() is None

    A known failure (from `known`, or `known_failures` of the class) becomes a strict xfail: the test fails once the check
    passes. Checks run on one thread, since more threads only cost time at these sizes."""
    import pytest
    import torch

    torch.set_num_threads(1)
    parameters = []
    for check in checks_of(name, kind, options=options, known=known, slow=slow):
        marks = [pytest.mark.xfail(reason=check.known, strict=True)] if check.known else []
        parameters.append(pytest.param(check, id=str(check), marks=marks))
    return pytest.mark.parametrize("check", parameters)
