"""Whether a request asks for the control of a method."""

from __future__ import annotations

from typing import Any

from semibench.contracts.errors import UnsupportedError, UsageError
from semibench.contracts.protocol import UNLABELED_FROM
from semibench.discovery.registry import Registered


def asks_for_control(flag: bool, unlabeled_from: Any, method: Registered) -> bool:
    """Returns whether the run is a control.

    Args:
        flag: whether `--control` was given.
        unlabeled_from: the value of that setting; None if it isn't given.
        method: the method of the run.

    Raises:
        UsageError: for a value that the setting doesn't have.
        UnsupportedError: for the control of a method that uses no unlabeled images.
    """
    if unlabeled_from not in (None, "split", "labeled"):
        raise UsageError(
            f"--set {UNLABELED_FROM}: expected 'split' (the images that the protocol draws) or 'labeled' (the labeled ones, "
            f"as --control says); found {unlabeled_from!r}"
        )
    if flag and unlabeled_from == "split":
        raise UsageError(f"--control means {UNLABELED_FROM}=labeled; leave out --set {UNLABELED_FROM}=split")
    control = flag or unlabeled_from == "labeled"
    if control and not method.card.uses_unlabeled:
        raise UnsupportedError(
            f"method {method.name!r} uses no unlabeled images, so it is its own control; leave out --control"
        )
    return control
