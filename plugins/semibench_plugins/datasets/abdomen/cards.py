"""Cards and conventions of the data sets of the abdomen. Light: no torch import."""

from __future__ import annotations

from semibench import ConventionCard, DatasetCard

ORGANS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava",
)  # fmt: skip
"""Classes 1 to 9 of Synapse and AMOS22."""

SYNAPSE = DatasetCard(
    name="synapse",
    title="Synapse (BTCV)",
    load="semibench_plugins.datasets.abdomen.synapse:Synapse",
    summary="13 abdominal organs in portal-venous CT, 30 labeled volumes.",
    paper="Landman et al., MICCAI multi-atlas labeling beyond the cranial vault workshop and challenge, 2015",
    url="https://www.synapse.org/Synapse:syn3193805",
    dims=3,
    modality="CT",
    classes=(
        "background",
        *ORGANS,
        "portal and splenic vein",
        "pancreas",
        "right adrenal gland",
        "left adrenal gland",
    ),
    slice_axis=0,
    terms="Synapse account and data-use terms; no redistribution.",
    obtain="Accept the terms of syn3193805 and unzip Abdomen/RawData/Training.",
    folders=("Synapse", "BTCV", "Abdomen/RawData/Training", "RawData/Training"),
    tree="""<root>/
  imagesTr/ img0001.nii.gz ... img0010, img0021 ... img0040 (or img/)
  labelsTr/ label0001.nii.gz ...                            (or label/)""",
    cases=30,
    editions=("genericssl", "dhc"),
)

AMOS22 = DatasetCard(
    name="amos22",
    title="AMOS22",
    load="semibench_plugins.datasets.abdomen.amos22:AMOS22",
    summary="15 abdominal organs in CT and MR, 360 labeled volumes (300 CT, 60 MR).",
    paper="Ji et al., AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image segmentation, "
    "NeurIPS 2022",
    url="https://amos22.grand-challenge.org",
    dims=3,
    modality="CT and MR",
    classes=(
        "background", *ORGANS, "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder",
        "prostate or uterus",
    ),
    domains=("ct", "mr"),
    slice_axis=0,
    terms="CC BY 4.0 (Zenodo record 7262581; check the record).",
    obtain="Download amos22.zip (Zenodo record 7262581) and unzip it.",
    folders=("amos22", "AMOS22"),
    tree="""<root>/
  amos22/                          (or its content directly)
    imagesTr/ amos_0001.nii.gz ...   labelsTr/ amos_0001.nii.gz ...   240 volumes
    imagesVa/ amos_0008.nii.gz ...   labelsVa/ amos_0008.nii.gz ...   120 volumes, the test of the published splits
    imagesTs/ (no labels: not read); ids above 500 are MR""",
    cases=360,
    editions=("dhc", "mr-percentile"),
)  # fmt: skip

PANCREAS = DatasetCard(
    name="pancreas",
    title="NIH Pancreas-CT",
    load="semibench_plugins.datasets.abdomen.pancreas:Pancreas",
    summary="Pancreas in portal-venous CT, 82 volumes.",
    paper="Roth et al., DeepOrgan: multi-level deep convolutional networks for automated pancreas segmentation, "
    "MICCAI 2015",
    url="https://doi.org/10.7937/K9/TCIA.2016.tNB1kqBU",
    dims=3,
    modality="CT",
    classes=("background", "pancreas"),
    slice_axis=2,
    terms="CC BY 3.0 (The Cancer Imaging Archive).",
    obtain="Get the collection Pancreas-CT and TCIA_pancreas_labels-02-05-2017.zip from The Cancer Imaging Archive; or use "
    "the processed h5 files of your MC-Net checkout.",
    folders=("Pancreas", "NIH-Pancreas"),
    tree="""<root>/
  h5/image0001_norm.h5             edition mcnet-h5: keys image, label, axes (x, y, z) (or Pancreas_h5/, or image0001.h5)
  Pancreas-CT/PANCREAS_0001/<study>/<series>/*.dcm          editions mcnet, as-printed, label-free
  TCIA_pancreas_labels-02-05-2017/label0001.nii.gz          (both may lie in raw/)""",
    cases=82,
    editions=("mcnet-h5", "mcnet", "as-printed", "label-free"),
    label_informed={
        "mcnet-h5": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
        "mcnet": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
        "as-printed": "x and y cropped to the label's box with a margin of 25 mm, test volumes too",
    },
)

DATASETS = (SYNAPSE, AMOS22, PANCREAS)

PANCREAS_SLIDING = ConventionCard(
    name="pancreas-sliding",
    title="Pancreas sliding window",
    load="semibench_plugins.conventions.cube_sliding:PancreasSliding",
    summary="as la-sliding with stride 16, 16, 16: NIH Pancreas-CT since MC-Net",
    paper="Wu et al., Semi-supervised Left Atrium Segmentation with Mutual Consistency Training (code), MICCAI 2021",
    url="https://github.com/ycwu1997/MC-Net",
    dims=(3,),
    datasets=("pancreas",),
)

CONVENTIONS: tuple[ConventionCard, ...] = (PANCREAS_SLIDING,)
