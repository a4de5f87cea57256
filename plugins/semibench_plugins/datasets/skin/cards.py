"""Dermoscopy data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard, DatasetCard

ISIC2018 = DatasetCard(
    name="isic2018",
    title="ISIC 2018, task 1",
    load="semibench_plugins.datasets.skin.isic2018:ISIC2018",
    summary="Skin lesions in dermoscopy (colour), 2594 training images.",
    paper="Codella et al., Skin lesion analysis toward melanoma detection 2018, arXiv 1902.03368, 2019",
    url="https://challenge.isic-archive.com/data/#2018",
    dims=2,
    modality="dermoscopy",
    channels=3,
    classes=("background", "lesion"),
    terms="CC BY-NC 4.0 (single images CC-0 or CC BY-NC).",
    obtain="Download ISIC2018_Task1-2_Training_Input.zip and ISIC2018_Task1_Training_GroundTruth.zip and unzip both.",
    folders=("ISIC2018", "ISIC"),
    tree="""<root>/
  ISIC2018_Task1-2_Training_Input/      ISIC_0000000.jpg ...
  ISIC2018_Task1_Training_GroundTruth/  ISIC_0000000_segmentation.png ...   0/255
  (or Image/ISIC_0000000.jpg and Label/ISIC_0000000.jpg)""",
    cases=2594,
    editions=("default", "imagenet"),
)

DATASETS = (ISIC2018,)

CONVENTIONS: tuple[ConventionCard, ...] = ()
