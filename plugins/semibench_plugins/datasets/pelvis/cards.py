"""Cards and conventions of the data sets of the pelvis. Light: no torch import."""

from __future__ import annotations

from semibench import ConventionCard, DatasetCard

PROMISE12 = DatasetCard(
    name="promise12",
    title="PROMISE12",
    load="semibench_plugins.datasets.pelvis.promise12:PROMISE12",
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

DATASETS = (PROMISE12,)

CONVENTIONS: tuple[ConventionCard, ...] = ()
