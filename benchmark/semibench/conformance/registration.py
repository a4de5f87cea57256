"""What holds for a registered plug-in of any kind: its card, the import of its cards, and its class."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from semibench.contracts import cards
from semibench.contracts.errors import PluginError
from semibench.registry import Registered

HEAVY = ("torch", "pandas", "numpy", "monai", "mlflow", "diffusers", "nibabel", "SimpleITK", "skimage")


@dataclass(frozen=True, eq=False)
class RegisteredCase:
    """A registered plug-in."""

    item: Registered


Check = Callable[[RegisteredCase], None]


def check_class_resolves(case: RegisteredCase) -> None:
    """The card's `load` names a class of the right base."""
    try:
        case.item.resolve()
    except PluginError as error:
        raise AssertionError(str(error)) from error


def check_card_says_enough(case: RegisteredCase) -> None:
    """The card has a title and a summary of one line."""
    card = case.item.card
    assert card.title.strip(), "the card has no title"
    assert card.summary.strip() and "\n" not in card.summary, "the card's summary is one line of text"


def check_api_is_written_down(case: RegisteredCase) -> None:
    """The card says for which version of the contracts it was written, and this Semibench knows that version. (Cards that
    come with Semibench itself have its own.)"""
    card = case.item.card
    assert cards.OLDEST_API <= card.api <= cards.API, f"api={card.api}, this Semibench has {cards.API}"
    assert "api" in card.model_fields_set or case.item.distribution == "semibench", (
        f"write api={cards.API} into the card: without it a later Semibench takes the card for one of its own version"
    )


def check_import_of_cards_is_light(case: RegisteredCase) -> None:
    """Importing the module of the entry point imports nothing heavy: `bench list` imports it too."""
    code = f"import sys, {case.item.module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{case.item.module} can't be imported alone: {done.stderr.strip()[-400:]}"
    heavy = done.stdout.split()
    assert not heavy, f"{case.item.module} imports {', '.join(heavy)}: move the class to a module of its own"


REGISTRATION_CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): function for name, function in globals().items() if name.startswith("check_")
}
"""All checks by name."""
