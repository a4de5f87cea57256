"""Factories for the cards of ultrasound images, of volumes and of their conventions."""

from __future__ import annotations

from typing import Any

from semibench import ConventionCard, DatasetCard

GREY_AS_RGB = 3
"""Ultrasound images become three equal channels, as in the papers, so that ImageNet encoders fit all data sets."""


def ultrasound_card(load: str, name: str, title: str, summary: str, **facts: Any) -> DatasetCard:
    """Builds the card of an ultrasound data set.

    Args:
        load: "family.module:Class", relative to `semibench_plugins.datasets`.
        name: the name that users type.
        title: the name shown in tables and pages.
        summary: one line about the data set.
        facts: further fields of the card. By default, the classes are background and lesion, and the editions are those
            of the MGCC paper.
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
    """Builds the card of a volume data set. Takes the arguments of `ultrasound_card`, without its defaults."""
    return DatasetCard(
        load=f"semibench_plugins.datasets.{load}", name=name, title=title, summary=summary, dims=3, **facts
    )


def convention_card(load: str, name: str, title: str, summary: str, **facts: Any) -> ConventionCard:
    """Builds the card of a convention for single data sets. load: "module:Class", relative to `semibench_plugins.conventions`."""
    return ConventionCard(
        load=f"semibench_plugins.conventions.{load}", name=name, title=title, summary=summary, **facts
    )


def sliding_window_card(load: str, dataset: str, title: str, summary: str, url: str, paper: str) -> ConventionCard:
    """Builds the card of the published sliding window for one data set of volumes; its name is "DATASET-sliding"."""
    return convention_card(
        load, f"{dataset}-sliding", title, summary, dims=(3,), datasets=(dataset,), url=url, paper=paper
    )
