"""Cards and conventions of the data sets of thyroid ultrasound. Light: no torch import."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.ultrasound_cards import ultrasound_card

TUS = ultrasound_card(
    "thyroid.tus:TUS",
    "tus",
    "TUS",
    "Thyroid ultrasound, 1942 images of 192 patients from three machines; private (Qingdao).",
    paper="Tang et al., Multi-level global context cross consistency, 2023 (the data set of the MGCC paper)",
    classes=("background", "nodule"),
    domains=("machine-1", "machine-2", "machine-3"),
    similar=("tnscui2020",),
    terms="Private; not obtainable.",
    obtain="Not published. Those who hold the files lay them out as below (the layout is our assumption).",
    folders=("TUS",),
    tree="""<root>/
  images/ <id>.png ...
  masks/  <id>.png ...             0/255, same name
  tus.csv                          columns id,patient,machine (machine: 1, 2 or 3)""",
    cases=1942,
    public=False,
)

TNSCUI2020 = ultrasound_card(
    "thyroid.tnscui2020:TNSCUI2020",
    "tnscui2020",
    "TN-SCUI 2020",
    "Thyroid ultrasound, 3644 training images with nodule masks.",
    paper="MICCAI 2020 challenge TN-SCUI: thyroid nodule segmentation and classification in ultrasound images",
    url="https://tn-scui2020.grand-challenge.org",
    classes=("background", "nodule"),
    similar=("tus",),
    terms="Challenge registration; no redistribution.",
    obtain="Register at tn-scui2020.grand-challenge.org and unpack TNSCUI2020_train.rar.",
    folders=("TNSCUI2020_train",),
    tree="""<root>/
  TNSCUI2020_train/                (or its content directly)
    image/ 1.PNG, 2.PNG ...
    mask/  1.PNG, 2.PNG ...
    train.csv                      columns ID,CATE (optional)""",
    cases=3644,
)

DATASETS = (TUS, TNSCUI2020)

CONVENTIONS: tuple[ConventionCard, ...] = ()
