"""Brain data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import sliding_window_card, volume_card

BRATS19 = volume_card("brain.brats19:BraTS19", "brats19", "BraTS 2019",
    "Whole tumour in FLAIR MR, 335 volumes (259 high grade, 76 low grade).", cases=335, modality="MR", slice_axis=0,
    classes=("background", "whole tumour"), editions=("official", "ssl4mis"),
    folders=("MICCAI_BraTS_2019_Data_Training", "BraTS2019"),
    paper="Menze et al., The multimodal brain tumor image segmentation benchmark (BRATS), IEEE TMI 34(10), 2015",
    url="https://www.med.upenn.edu/cbica/brats2019",
    terms="Registration with CBICA (University of Pennsylvania); no redistribution.",
    obtain="Register and download MICCAI_BraTS_2019_Data_Training; or use the processed h5 files of SSL4MIS.",
    tree="""<root>/
  MICCAI_BraTS_2019_Data_Training/ (or its content directly)
    HGG/<case>/<case>_flair.nii.gz, <case>_seg.nii.gz       edition official (t1, t1ce, t2: not read)
    LGG/<case>/...
  h5/<case>.h5                     edition ssl4mis: keys image, label, axes (z, y, x) (or data/)""",
)  # fmt: skip

MSD_HIPPOCAMPUS = volume_card("brain.msd_hippocampus:MSDHippocampus", "msd-hippocampus", "MSD Hippocampus",
    "Hippocampus in T1 MR, 260 small volumes, anterior and posterior part.", cases=260, modality="MR", slice_axis=0,
    classes=("background", "anterior", "posterior"), folders=("Task04_Hippocampus",),
    paper="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13:4128, 2022",
    url="http://medicaldecathlon.com", terms="CC BY-SA 4.0",
    obtain="Download Task04_Hippocampus.tar from medicaldecathlon.com and unpack it.",
    tree="""<root>/
  Task04_Hippocampus/              (or its content directly)
    imagesTr/ hippocampus_001.nii.gz ...
    labelsTr/ hippocampus_001.nii.gz ...   (dataset.json is not needed)""",
)  # fmt: skip

DATASETS = (BRATS19, MSD_HIPPOCAMPUS)

BRATS19_SLIDING = sliding_window_card(
    "cube_sliding:Brats19Sliding", "brats19", "BraTS 2019 sliding window", url="https://github.com/HiLab-git/SSL4MIS",
    summary="la-sliding with a stride of 64, 64, 64: used for the whole tumour of BraTS 2019 since SSL4MIS",
    paper="Luo et al., SSL4MIS: semi-supervised learning for medical image segmentation (code), 2020",
)  # fmt: skip

CONVENTIONS: tuple[ConventionCard, ...] = (BRATS19_SLIDING,)
