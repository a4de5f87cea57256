"""Thyroid ultrasound data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import ultrasound_card

TUS = ultrasound_card("thyroid.tus:TUS", "tus", "TUS",
    "Thyroid ultrasound, 1942 images of 192 patients from three machines; private (Qingdao).", cases=1942,
    similar=("tnscui2020",), domains=("machine-1", "machine-2", "machine-3"), classes=("background", "nodule"),
    folders=("TUS",), public=False,
    paper="Tang et al., Multi-level global context cross consistency, 2023 (the data set of the MGCC paper)",
    terms="Private; not obtainable.",
    obtain="Not published. If you have the files, lay them out as below (we assume this layout).",
    tree="""<root>/
  images/ <id>.png ...
  masks/  <id>.png ...             0/255, same name
  tus.csv                          columns id,patient,machine (machine: 1, 2 or 3)""",
)  # fmt: skip

TNSCUI2020 = ultrasound_card("thyroid.tnscui2020:TNSCUI2020", "tnscui2020", "TN-SCUI 2020",
    "Thyroid ultrasound, 3644 training images with nodule masks.", cases=3644, similar=("tus",),
    classes=("background", "nodule"), folders=("TNSCUI2020_train",),
    paper="MICCAI 2020 challenge TN-SCUI: thyroid nodule segmentation and classification in ultrasound images",
    url="https://tn-scui2020.grand-challenge.org", terms="Challenge registration; no redistribution.",
    obtain="Register at tn-scui2020.grand-challenge.org and unpack TNSCUI2020_train.rar.",
    tree="""<root>/
  TNSCUI2020_train/                (or its content directly)
    image/ 1.PNG, 2.PNG ...
    mask/  1.PNG, 2.PNG ...
    train.csv                      columns ID,CATE (optional)""",
)  # fmt: skip

DATASETS = (TUS, TNSCUI2020)

CONVENTIONS: tuple[ConventionCard, ...] = ()
