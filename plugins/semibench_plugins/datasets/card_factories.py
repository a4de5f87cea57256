"""What the cards of ultrasound images, of volumes and of their conventions have in common."""

from __future__ import annotations

from typing import Any

from semibench import ConventionCard, DatasetCard

GREY_AS_RGB = 3
"""Ultrasound is fed as three equal channels, as the papers do: ImageNet encoders and all sets fit each other."""


def ultrasound_card(load: str, name: str, title: str, summary: str, **facts: Any) -> DatasetCard:
    """Make the card of a data set of ultrasound images.

    Args:
        load: "family.module:Class", relative to `semibench_plugins.datasets`.
        name: as users type it.
        title: as it is shown.
        summary: one line.
        facts: further fields of the card. Classes are background and lesion, editions those of the MGCC paper, unless
            they are given.
    """
    shared: dict[str, Any] = {"classes": ("background", "lesion"), "editions": ("mgcc", "imagenet")}
    return DatasetCard(
        load=f"semibench_plugins.datasets.{load}",
        name=name,
        title=title,
        summary=summary,
        dims=2,
        modality="ultrasound",
        channels=GREY_AS_RGB,
        **{**shared, **facts},
    )


def volume_card(load: str, name: str, title: str, summary: str, **facts: Any) -> DatasetCard:
    """Make the card of a data set of volumes; the arguments are those of `ultrasound_card`, without its defaults."""
    return DatasetCard(
        load=f"semibench_plugins.datasets.{load}", name=name, title=title, summary=summary, dims=3, **facts
    )


def convention_card(load: str, name: str, title: str, summary: str, **facts: Any) -> ConventionCard:
    """Make the card of a convention of one data set. load: "module:Class", relative to `semibench_plugins.conventions`."""
    return ConventionCard(
        load=f"semibench_plugins.conventions.{load}", name=name, title=title, summary=summary, **facts
    )
