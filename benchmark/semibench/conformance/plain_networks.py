"""Which checks of backbones apply to a plain network: those of what it can do, in the dims in which it can be built."""

from __future__ import annotations

from semibench.conformance.backbones import BACKBONE_CHECKS
from semibench.conformance.subject import PATCH, BackboneSubject
from semibench.contracts.cards import BackboneCard
from semibench.contracts.errors import SemibenchError
from semibench.discovery.adapted.backbone import PlainNetwork

OF_BACKBONES = frozenset({"options", "dropout_is_as_declared", "card_agrees"})
"""Checks of what a plain network doesn't declare: a width, what it provides."""

OF_PARTS = frozenset(
    {"maps_are_as_declared", "decoder_maps_are_as_declared", "forward_keeps_the_size", "new_decoder_is_fresh"}
    | {"unknown_variant_is_refused"}
)
"""Checks of the encoder and the decoder, which a network that can't be taken apart doesn't have."""


def plain_subjects(cls: type[PlainNetwork], card: BackboneCard) -> list[BackboneSubject]:
    """Returns the network in each of the dims in which it can be built; in all of them if it can't be built in any, so that a
    check says why."""
    subjects = [BackboneSubject(cls, dims, options={}, card=card) for dims in card.dims]
    return [subject for subject in subjects if _fault(subject) is None] or subjects


def plain_checks(subject: BackboneSubject) -> list[str]:
    """Returns the names of the checks that apply."""
    left_out = set(OF_BACKBONES)
    if _fault(subject) is None and not getattr(subject.build(), "last", ""):
        left_out |= OF_PARTS
    return [fact for fact in BACKBONE_CHECKS if fact not in left_out]


def _fault(subject: BackboneSubject) -> str | None:
    """Returns why a network can't be built for small images; None if it can."""
    try:
        subject.build(patch=PATCH[subject.dims])
    except (SemibenchError, ValueError) as error:
        return str(error)
    return None
