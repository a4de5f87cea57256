"""Abdominal data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import sliding_window_card, volume_card

ORGANS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava",
)  # fmt: skip
"""Classes 1 to 9 of Synapse and AMOS22."""

SYNAPSE = volume_card("abdomen.synapse:Synapse", "synapse", "Synapse (BTCV)",
    "13 abdominal organs in portal-venous CT, 30 labeled volumes.", cases=30, modality="CT", slice_axis=0,
    classes=("background", *ORGANS, "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland"),
    editions=("genericssl", "dhc"), folders=("Synapse", "BTCV", "Abdomen/RawData/Training", "RawData/Training"),
    paper="Landman et al., MICCAI multi-atlas labeling beyond the cranial vault workshop and challenge, 2015",
    url="https://www.synapse.org/Synapse:syn3193805", terms="Synapse account and data-use terms; no redistribution.",
    obtain="Accept the terms of syn3193805 and unzip Abdomen/RawData/Training.",
    tree="""<root>/
  imagesTr/ img0001.nii.gz ... img0010, img0021 ... img0040 (or img/)
  labelsTr/ label0001.nii.gz ...                            (or label/)""",
)  # fmt: skip

AMOS22 = volume_card("abdomen.amos22:AMOS22", "amos22", "AMOS22",
    "15 abdominal organs in CT and MR, 360 labeled volumes (300 CT, 60 MR).", cases=360, modality="CT and MR",
    slice_axis=0, domains=("ct", "mr"),
    classes=("background", *ORGANS, "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder",
    "prostate or uterus"), editions=("dhc", "mr-percentile"), folders=("amos22", "AMOS22"),
    paper="Ji et al., AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image segmentation, "
    "NeurIPS 2022", url="https://amos22.grand-challenge.org",
    terms="CC BY 4.0 (Zenodo record 7262581; check the record).",
    obtain="Download amos22.zip (Zenodo record 7262581) and unzip it.",
    tree="""<root>/
  amos22/                          (or its content directly)
    imagesTr/ amos_0001.nii.gz ...   labelsTr/ amos_0001.nii.gz ...   240 volumes
    imagesVa/ amos_0008.nii.gz ...   labelsVa/ amos_0008.nii.gz ...   120 volumes, the test of the published splits
    imagesTs/ (no labels: not read); ids above 500 are MR""",
)  # fmt: skip

PANCREAS = volume_card("abdomen.pancreas:Pancreas", "pancreas", "NIH Pancreas-CT",
    "Pancreas in portal-venous CT, 82 volumes.", cases=82, modality="CT", slice_axis=2,
    classes=("background", "pancreas"), editions=("mcnet-h5", "mcnet", "as-printed", "label-free"),
    folders=("Pancreas", "NIH-Pancreas"),
    label_informed={
        "mcnet-h5": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
        "mcnet": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
        "as-printed": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
    },
    paper="Roth et al., DeepOrgan: multi-level deep convolutional networks for automated pancreas segmentation, MICCAI 2015",
    url="https://doi.org/10.7937/K9/TCIA.2016.tNB1kqBU", terms="CC BY 3.0 (The Cancer Imaging Archive).",
    obtain="Get the collection Pancreas-CT and TCIA_pancreas_labels-02-05-2017.zip from The Cancer Imaging Archive; "
    "or use the processed h5 files of your MC-Net checkout.",
    tree="""<root>/
  h5/image0001_norm.h5             edition mcnet-h5: keys image, label, axes (x, y, z) (or Pancreas_h5/, or image0001.h5)
  Pancreas-CT/PANCREAS_0001/<study>/<series>/*.dcm          editions mcnet, as-printed, label-free
  TCIA_pancreas_labels-02-05-2017/label0001.nii.gz          (both may lie in raw/)""",
)  # fmt: skip

DATASETS = (SYNAPSE, AMOS22, PANCREAS)

PANCREAS_SLIDING = sliding_window_card(
    "cube_sliding:PancreasSliding", "pancreas", "Pancreas sliding window", url="https://github.com/ycwu1997/MC-Net",
    summary="la-sliding with a stride of 16, 16, 16: used for NIH Pancreas-CT since MC-Net",
    paper="Wu et al., Semi-supervised Left Atrium Segmentation with Mutual Consistency Training (code), MICCAI 2021",
)  # fmt: skip

CONVENTIONS: tuple[ConventionCard, ...] = (PANCREAS_SLIDING,)
