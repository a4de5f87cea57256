"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="supervised",
        title="Supervised",
        load=f"{__package__}.supervised:Supervised",
        summary="cross-entropy and Dice on the labeled samples only; the baseline every method must beat",
        uses_unlabeled=False,
        reference="labels alone",
    ),
    MethodCard(
        name="atlas",
        title="Atlas",
        load=f"{__package__}.atlas:Atlas",
        summary="the majority vote of the labeled label maps, for every case alike; it reads no image and trains nothing",
        uses_unlabeled=False,
        reference="no image",
    ),
)
