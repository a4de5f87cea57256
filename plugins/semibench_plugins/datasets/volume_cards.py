"""Cards of the volume data sets that the SemSim, Diff-CL and DTLP-Net papers brought. Light: stdlib and cards only."""

from __future__ import annotations

from semibench import DatasetCard

HOME = "semibench_plugins.datasets"
ABDOMEN = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava",
)  # fmt: skip
"""Classes 1 to 9 of Synapse and AMOS22."""

ACDC = DatasetCard(
    name="acdc",
    title="ACDC",
    load=f"{HOME}.acdc:ACDC",
    summary="Cardiac short-axis MR of 100 patients in five groups, end diastole and end systole: 200 volumes.",
    paper="Bernard et al., Deep learning techniques for automatic MRI cardiac multi-structures segmentation and "
    "diagnosis, IEEE TMI 37(11), 2018",
    url="https://humanheart-project.creatis.insa-lyon.fr/database",
    dims=3,
    modality="MR",
    classes=("background", "right ventricle", "myocardium", "left ventricle"),
    slice_axis=0,
    network_dims=2,
    similar=("mnms",),
    terms="CC BY-NC-SA 4.0 as mirrors tag it; the paper must be cited.",
    obtain="Register at humanheart-project.creatis.insa-lyon.fr and unzip the database (only training/ is used).",
    folders=("ACDC/database", "ACDC", "database"),
    tree="""<root>/
  ACDC/database/                   (or its content directly)
    training/patient001/           edition official: patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz,
                                   patient001_frame12.nii.gz, patient001_frame12_gt.nii.gz (Info.cfg, *_4d: not read)
  ACDC/data/patient001_frame01.h5  edition ssl4mis: keys image, label, axes (slices, rows, columns)""",
    cases=200,
    editions=("official", "ssl4mis"),
)

PROMISE12 = DatasetCard(
    name="promise12",
    title="PROMISE12",
    load=f"{HOME}.promise12:PROMISE12",
    summary="Prostate in transverse T2 MR, 50 training volumes of several centres.",
    paper="Litjens et al., Evaluation of prostate segmentation algorithms for MRI: the PROMISE12 challenge, MedIA 18, 2014",
    url="https://promise12.grand-challenge.org",
    dims=3,
    modality="MR",
    classes=("background", "prostate"),
    slice_axis=0,
    network_dims=2,
    terms="Challenge registration; see the licence in the record.",
    obtain="Register at promise12.grand-challenge.org, or take training_data.zip of Zenodo record 8026660.",
    folders=("PROMISE12",),
    tree="""<root>/
  training_data/                   (or its content directly, or TrainingData_Part1 ... _Part3)
    Case00.mhd, Case00.raw, Case00_segmentation.mhd, Case00_segmentation.raw ... Case49""",
    cases=50,
    editions=("min-max", "percentile"),
)

PANCREAS = DatasetCard(
    name="pancreas",
    title="NIH Pancreas-CT",
    load=f"{HOME}.pancreas:Pancreas",
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

BRATS19 = DatasetCard(
    name="brats19",
    title="BraTS 2019",
    load=f"{HOME}.brats19:BraTS19",
    summary="Whole tumour in FLAIR MR, 335 volumes (259 high grade, 76 low grade).",
    paper="Menze et al., The multimodal brain tumor image segmentation benchmark (BRATS), IEEE TMI 34(10), 2015",
    url="https://www.med.upenn.edu/cbica/brats2019",
    dims=3,
    modality="MR",
    classes=("background", "whole tumour"),
    slice_axis=0,
    terms="Registration with CBICA (University of Pennsylvania); no redistribution.",
    obtain="Register and download MICCAI_BraTS_2019_Data_Training; or use the processed h5 files of SSL4MIS.",
    folders=("MICCAI_BraTS_2019_Data_Training", "BraTS2019"),
    tree="""<root>/
  MICCAI_BraTS_2019_Data_Training/ (or its content directly)
    HGG/<case>/<case>_flair.nii.gz, <case>_seg.nii.gz       edition official (t1, t1ce, t2: not read)
    LGG/<case>/...
  h5/<case>.h5                     edition ssl4mis: keys image, label, axes (z, y, x) (or data/)""",
    cases=335,
    editions=("official", "ssl4mis"),
)

SYNAPSE = DatasetCard(
    name="synapse",
    title="Synapse (BTCV)",
    load=f"{HOME}.synapse:Synapse",
    summary="13 abdominal organs in portal-venous CT, 30 labeled volumes.",
    paper="Landman et al., MICCAI multi-atlas labeling beyond the cranial vault workshop and challenge, 2015",
    url="https://www.synapse.org/Synapse:syn3193805",
    dims=3,
    modality="CT",
    classes=(
        "background",
        *ABDOMEN,
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
    load=f"{HOME}.amos22:AMOS22",
    summary="15 abdominal organs in CT and MR, 360 labeled volumes (300 CT, 60 MR).",
    paper="Ji et al., AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image segmentation, "
    "NeurIPS 2022",
    url="https://amos22.grand-challenge.org",
    dims=3,
    modality="CT and MR",
    classes=(
        "background", *ABDOMEN, "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder",
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

VOLUME_CARDS = (ACDC, PROMISE12, PANCREAS, BRATS19, SYNAPSE, AMOS22)
