"""Cards of the built-in methods, collected from the families. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard, hookimpl
from semibench_plugins.methods.adaptation import cards as adaptation
from semibench_plugins.methods.baselines import cards as baselines
from semibench_plugins.methods.consistency import cards as consistency
from semibench_plugins.methods.contrast_and_prototypes import cards as contrast_and_prototypes
from semibench_plugins.methods.disentanglement import cards as disentanglement
from semibench_plugins.methods.generalisation import cards as generalisation
from semibench_plugins.methods.imbalance import cards as imbalance
from semibench_plugins.methods.mutual_consistency import cards as mutual_consistency
from semibench_plugins.methods.pseudo_labels import cards as pseudo_labels
from semibench_plugins.methods.shape import cards as shape
from semibench_plugins.methods.systems import cards as systems
from semibench_plugins.methods.translation import cards as translation
from semibench_plugins.methods.weak_to_strong import cards as weak_to_strong


@hookimpl
def semibench_methods() -> list[MethodCard]:
    """Returns the cards of all families. Each family is a folder with a `cards.py`; add new families here."""
    return [
        *baselines.CARDS,
        *consistency.CARDS,
        *mutual_consistency.CARDS,
        *pseudo_labels.CARDS,
        *weak_to_strong.CARDS,
        *shape.CARDS,
        *contrast_and_prototypes.CARDS,
        *adaptation.CARDS,
        *translation.CARDS,
        *generalisation.CARDS,
        *disentanglement.CARDS,
        *imbalance.CARDS,
        *systems.CARDS,
    ]
