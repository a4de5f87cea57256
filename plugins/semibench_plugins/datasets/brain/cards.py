"""Cards and conventions of the data sets of the brain. Light: no torch import."""

from __future__ import annotations

from semibench import ConventionCard, DatasetCard

BRATS19 = DatasetCard(
    name="brats19",
    title="BraTS 2019",
    load="semibench_plugins.datasets.brain.brats19:BraTS19",
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

MSD_HIPPOCAMPUS = DatasetCard(
    name="msd-hippocampus",
    title="MSD Hippocampus",
    load="semibench_plugins.datasets.brain.msd_hippocampus:MSDHippocampus",
    summary="Hippocampus in T1 MR, 260 small volumes, anterior and posterior part.",
    paper="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13:4128, 2022",
    url="http://medicaldecathlon.com",
    dims=3,
    modality="MR",
    classes=("background", "anterior", "posterior"),
    slice_axis=0,
    terms="CC BY-SA 4.0",
    obtain="Download Task04_Hippocampus.tar from medicaldecathlon.com and unpack it.",
    folders=("Task04_Hippocampus",),
    tree="""<root>/
  Task04_Hippocampus/              (or its content directly)
    imagesTr/ hippocampus_001.nii.gz ...
    labelsTr/ hippocampus_001.nii.gz ...   (dataset.json is not needed)""",
    cases=260,
)

DATASETS = (BRATS19, MSD_HIPPOCAMPUS)

BRATS19_SLIDING = ConventionCard(
    name="brats19-sliding",
    title="BraTS 2019 sliding window",
    load="semibench_plugins.conventions.cube_sliding:Brats19Sliding",
    summary="as la-sliding with stride 64, 64, 64: whole tumour on BraTS 2019 since SSL4MIS",
    paper="Luo et al., SSL4MIS: semi-supervised learning for medical image segmentation (code), 2020",
    url="https://github.com/HiLab-git/SSL4MIS",
    dims=(3,),
    datasets=("brats19",),
)

CONVENTIONS: tuple[ConventionCard, ...] = (BRATS19_SLIDING,)
