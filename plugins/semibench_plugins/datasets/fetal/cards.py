"""Fetal ultrasound data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import ultrasound_card

HC18 = ultrasound_card("fetal.hc18:HC18", "hc18", "HC18",
    "Fetal head ultrasound, 999 training images; the annotated outline is filled.", cases=999,
    classes=("background", "head"), editions=("default", "imagenet"), folders=("HC18",),
    paper="van den Heuvel et al., Automated measurement of fetal head circumference, PLOS ONE 13(8), 2018",
    url="https://hc18.grand-challenge.org", terms="CC BY 4.0",
    obtain="Download training_set.zip and training_set_pixel_size_and_HC.csv (Zenodo record 1327317).",
    tree="""<root>/
  HC18/                            (or its content directly)
    training_set/ 000_HC.png, 000_HC_Annotation.png, 010_2HC.png ...
    training_set_pixel_size_and_HC.csv""",
)  # fmt: skip

DATASETS = (HC18,)

CONVENTIONS: tuple[ConventionCard, ...] = ()
