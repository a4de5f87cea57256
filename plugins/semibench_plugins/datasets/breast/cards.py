"""Breast ultrasound data sets: cards and conventions. Importing them doesn't import torch."""

from __future__ import annotations

from semibench import ConventionCard
from semibench_plugins.datasets.card_factories import convention_card, ultrasound_card

BUSI = ultrasound_card("breast.busi:BUSI", "busi", "BUSI",
    "Breast ultrasound, 780 images: 437 benign, 210 malignant, 133 normal (empty mask).", cases=780,
    similar=("busis", "udiat"), folders=("Dataset_BUSI_with_GT",),
    paper="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863, 2020",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    terms="Free with citation; the licence is stated inconsistently, so it is not redistributed.",
    obtain="Download Dataset_BUSI_with_GT.zip from the page of Cairo University and unzip it.",
    tree="""<root>/
  Dataset_BUSI_with_GT/            (or its content directly)
    benign/    benign (1).png, benign (1)_mask.png, benign (4)_mask_1.png ...
    malignant/ malignant (1).png, malignant (1)_mask.png ...
    normal/    normal (1).png, normal (1)_mask.png ...""",
)  # fmt: skip

BUSIS = ultrasound_card("breast.busis:BUSIS", "busis", "BUSIS",
    "Breast ultrasound, 562 images (306 benign, 256 malignant) from five devices that the files don't name.", cases=562,
    similar=("busi", "udiat"), folders=("BUSIS",),
    paper="Zhang et al., BUSIS: a benchmark for breast ultrasound image segmentation, Healthcare 10(4):729, 2022",
    url="http://busbench.midalab.net", terms="By permission of the owners; no redistribution, no commercial use.",
    obtain="Ask the authors (busbench.midalab.net); put the images in one flat folder.",
    tree="""<root>/
  images/ (or img/, original/, or <root> itself)   any names, .png .jpg .bmp .tif
  masks/  (or label/, GT/; may be absent)           same stem as the image, or <stem>_mask, _GT, _seg""",
)  # fmt: skip

UDIAT = ultrasound_card("breast.udiat:UDIAT", "udiat", "UDIAT (Dataset B)",
    "Breast ultrasound, 163 images of one device (Siemens ACUSON Sequoia C512).", cases=163, similar=("busi", "busis"),
    folders=("BUS", "DatasetB", "Breast-UDIAT"),
    paper="Yap et al., Automated breast ultrasound lesions detection using CNNs, IEEE JBHI 22(4), 2018",
    url="http://helward.mmu.ac.uk/STAFF/m.yap/dataset.php",
    terms="By licence agreement with M. H. Yap (Manchester Metropolitan University); no redistribution.",
    obtain="Sign the agreement, unzip BUS/ (original and GT).",
    tree="""<root>/
  original/ 000001.png ...         (or img/)
  GT/       000001.png ...         (or label/), same names; optional DatasetB.csv with columns name, class""",
)  # fmt: skip

BUS_BRA = ultrasound_card("breast.bus_bra:BUSBRA", "bus-bra", "BUS-BRA",
    "Breast ultrasound, 1875 images of 1064 patients, four devices, one lesion mask each.", cases=1875,
    similar=("busi", "busis", "udiat"), domains=("ge-logiq-7", "ge-logiq-5", "toshiba-aplio-300", "u-systems"),
    editions=("default", "imagenet"), folders=("BUSBRA",),
    paper="Gomez-Flores et al., BUS-BRA: a breast ultrasound dataset, Medical Physics 51(4), 2024",
    url="https://zenodo.org/records/8231412", terms="Free to use with citation (licence file in the archive).",
    obtain="Download BUSBRA.zip from Zenodo and unzip it.",
    tree="""<root>/
  BUSBRA/                          (or its content directly)
    Images/ bus_0001-l.png ...
    Masks/  mask_0001-l.png ...
    bus_data.csv                   columns ID,Case,Pathology,Device ...
    5-fold-cv.csv, 10-fold-cv.csv  (optional: published folds)""",
)  # fmt: skip

DATASETS = (BUSI, BUSIS, UDIAT, BUS_BRA)

CSC_PA = convention_card(
    "csc_pa:CscPa", "csc-pa", "CSC-PA",
    "breast ultrasound as in CSC-PA: whole image resized to the patch and back, 1e-5 added in Dice and IoU",
    dims=(2,), datasets=("busi", "udiat"), url="https://github.com/shdkdh/CSC-PA",
    paper="Ding et al., CSC-PA, CVPR 2025",
)  # fmt: skip

CONVENTIONS: tuple[ConventionCard, ...] = (CSC_PA,)
