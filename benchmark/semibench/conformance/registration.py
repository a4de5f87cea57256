"""Checks of registered plug-ins of any kind: their cards, the import of these, and their classes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from semibench.contracts import cards
from semibench.contracts.errors import PluginError
from semibench.contracts.identity import NAMED_IN_FULL
from semibench.discovery.registry import Registered

HEAVY = ("torch", "pandas", "numpy", "monai", "mlflow", "diffusers", "nibabel", "SimpleITK", "skimage")


@dataclass(frozen=True, eq=False)
class RegisteredSubject:
    """A registered plug-in."""

    item: Registered


Check = Callable[[RegisteredSubject], None]


def check_class_resolves(subject: RegisteredSubject) -> None:
    """The card's `load` names a class with the right base class."""
    try:
        subject.item.resolve()
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_card_says_enough(subject: RegisteredSubject) -> None:
    """The card has a title and a one-line summary."""
    card = subject.item.card
    assert card.title.strip(), "the card has no title"
    assert card.summary.strip() and "\n" not in card.summary, "the card's summary must be one line of text"


def check_api_is_written_down(subject: RegisteredSubject) -> None:
    """The card states the version of the contracts it was written for, and this Semibench supports it. Cards of Semibench
    itself may leave it out."""
    card = subject.item.card
    assert cards.OLDEST_API <= card.api <= cards.API, (
        f"api={card.api}; this Semibench supports {cards.OLDEST_API} to {cards.API}"
    )
    assert "api" in card.model_fields_set or subject.item.distribution == "semibench", (
        f"write api={cards.API} into the card: otherwise a later Semibench assumes its own version"
    )


def check_import_of_cards_is_light(subject: RegisteredSubject) -> None:
    """Importing the module of the entry point, as `bench list` does, imports no heavy package."""
    code = f"import sys, {subject.item.module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{subject.item.module} can't be imported alone: {done.stderr.strip()[-400:]}"
    heavy = done.stdout.split()
    assert not heavy, f"{subject.item.module} imports {', '.join(heavy)}: move the class to its own module"


REGISTRATION_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks of registration, by name."""


def registration_checks(item: Registered) -> list[str]:
    """Returns the names of the checks that apply to a plug-in. One that was found on demand, in a file or in MONAI, has no card
    of its author's."""
    if item.distribution in NAMED_IN_FULL:
        return [] if item.kind == "recipes" else ["class_resolves"]
    if item.kind == "recipes":  # their cards are all there is: no class, no title
        return ["api_is_written_down", "import_of_cards_is_light"]
    return list(REGISTRATION_CHECKS)
