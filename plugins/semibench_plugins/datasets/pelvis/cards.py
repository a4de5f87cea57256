"""Pelvis data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import volume_card

PROMISE12 = volume_card("pelvis.promise12:PROMISE12", "promise12", "PROMISE12",
    "Prostate in transverse T2 MR, 50 training volumes of several centres.", cases=50, modality="MR", slice_axis=0,
    network_dims=2, classes=("background", "prostate"), editions=("min-max", "percentile"), folders=("PROMISE12",),
    paper="Litjens et al., Evaluation of prostate segmentation algorithms for MRI: the PROMISE12 challenge, MedIA 18, 2014",
    url="https://promise12.grand-challenge.org", terms="Challenge registration; see the licence in the record.",
    obtain="Register at promise12.grand-challenge.org, or take training_data.zip of Zenodo record 8026660.",
    tree="""<root>/
  training_data/                   (or its content directly, or TrainingData_Part1 ... _Part3)
    Case00.mhd, Case00.raw, Case00_segmentation.mhd, Case00_segmentation.raw ... Case49""",
)  # fmt: skip

DATASETS = (PROMISE12,)

CONVENTIONS: tuple[ConventionCard, ...] = ()
