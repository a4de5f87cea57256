"""Heart data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import sliding_window_card, volume_card

ACDC = volume_card("heart.acdc:ACDC", "acdc", "ACDC",
    "Cardiac short-axis MR of 100 patients in five groups, end diastole and end systole: 200 volumes.", cases=200,
    modality="MR", slice_axis=0, network_dims=2, similar=("mnms",),
    classes=("background", "right ventricle", "myocardium", "left ventricle"), editions=("official", "ssl4mis"),
    folders=("ACDC/database", "ACDC", "database"),
    paper="Bernard et al., Deep learning techniques for automatic MRI cardiac multi-structures segmentation and "
    "diagnosis, IEEE TMI 37(11), 2018", url="https://humanheart-project.creatis.insa-lyon.fr/database",
    terms="CC BY-NC-SA 4.0 according to mirrors; the paper must be cited.",
    obtain="Register at humanheart-project.creatis.insa-lyon.fr and unzip the database (only training/ is used).",
    tree="""<root>/
  ACDC/database/                   (or its content directly)
    training/patient001/           edition official: patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz,
                                   patient001_frame12.nii.gz, patient001_frame12_gt.nii.gz (Info.cfg, *_4d: not read)
  ACDC/data/patient001_frame01.h5  edition ssl4mis: keys image, label, axes (slices, rows, columns)""",
)  # fmt: skip

LA = volume_card("heart.la:LA", "la", "LA 2018", "Left atrium in late gadolinium MR, 100 labeled volumes, 0.625 mm.",
    cases=100, modality="MR", slice_axis=2, classes=("background", "left atrium"),
    editions=("uamt", "margin-15", "label-free"), folders=("2018LA_Seg_Training Set",),
    label_informed={
        "uamt": "x and y cropped to the label's box with a random margin of 10 to 19 voxels, test volumes too",
        "margin-15": "x and y cropped to the label's box with a margin of 15 voxels, test volumes too",
    },
    paper="Xiong et al., A global benchmark of algorithms for segmenting the left atrium, MedIA 67, 2021",
    url="http://atriaseg2018.cardiacatlas.org", terms="Registration with the Cardiac Atlas Project; no redistribution.",
    obtain="Register at atriaseg2018.cardiacatlas.org; or use the processed h5 files of your UA-MT checkout.",
    tree="""<root>/
  h5/<20-character id>.h5                                   edition uamt: keys image, label, axes (x, y, z)
  2018LA_Seg_Training Set/<id>/mri_norm2.h5                 (the same, as UA-MT ships it; h5/<id>/mri_norm2.h5 too)
  raw/2018LA_Seg_Training Set/<id>/lgemri.nrrd, laendo.nrrd (official; editions margin-15, label-free)""",
)  # fmt: skip

MMWHS = volume_card("heart.mmwhs:MMWHS", "mmwhs", "MM-WHS 2017",
    "Whole heart, 20 MR and 20 CT volumes (unpaired), four structures.", cases=40, modality="MR and CT", slice_axis=1,
    domains=("mr", "ct"), classes=("background", "myocardium", "left atrium", "left ventricle", "ascending aorta"),
    editions=("genericssl", "label-free"), folders=("MMWHS", "MM-WHS"),
    label_informed={
        "genericssl": "cropped to the box of the four structures with a margin of 4 voxels, target and test too"
    },
    paper="Zhuang and Shen, Multi-scale patch and multi-modality atlases for whole heart segmentation, MedIA 31, 2016",
    url="https://zmiclab.github.io/zxh/0/mmwhs",
    terms="Registration with a data-use agreement (Zhuang, Fudan University); no redistribution.",
    obtain="Register at zmiclab.github.io and unzip ct_train and mr_train.",
    tree="""<root>/
  ct_train/ ct_train_1001_image.nii.gz, ct_train_1001_label.nii.gz ... 1020
  mr_train/ mr_train_1001_image.nii.gz, mr_train_1001_label.nii.gz ... 1020
  (or CT/imagesTr, CT/labelsTr, MR/imagesTr, MR/labelsTr with the same names)""",
)  # fmt: skip

MNMS = volume_card("heart.mnms:MNMs", "mnms", "M&Ms",
    "Cardiac short-axis MR of 320 patients and four vendors, end diastole and end systole: 640 volumes.", cases=640,
    modality="MR", slice_axis=0, domains=("A", "B", "C", "D"),
    classes=("background", "left ventricle", "myocardium", "right ventricle"), editions=("genericssl", "label-free"),
    folders=("OpenDataset", "MNMs"),
    label_informed={"genericssl": "z cropped to the labeled slices (the last one dropped, as in the code), test too"},
    paper="Campello et al., Multi-centre, multi-vendor and multi-disease cardiac segmentation, IEEE TMI 40(12), 2021",
    url="https://www.ub.edu/mnms", terms="Form on the site; CC BY-NC-SA type terms.",
    obtain="Fill in the form at ub.edu/mnms and unzip OpenDataset.",
    tree="""<root>/
  OpenDataset/                     (or its content directly)
    Training/Labeled/<code>/<code>_sa.nii.gz, <code>_sa_gt.nii.gz
    Validation/<code>/...  Testing/<code>/...
  (or MNMs/Labeled/vendor<A|B|C|D>/<code>/...; vendors and frames are in the harness's own table)""",
)  # fmt: skip

DATASETS = (ACDC, LA, MMWHS, MNMS)

LA_SLIDING = sliding_window_card(
    "la_sliding:LaSliding", "la", "LA sliding window", url="https://arxiv.org/abs/1907.07034",
    summary="left atrium as scored since UA-MT: stride 18, 18, 4, plain mean of windows, voxels, 0 for an empty prediction",
    paper="Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, MICCAI 2019",
)  # fmt: skip

CONVENTIONS: tuple[ConventionCard, ...] = (LA_SLIDING,)
