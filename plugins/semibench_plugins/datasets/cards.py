"""Cards of the first-party data sets. Light: nothing here opens a file or imports torch."""

from __future__ import annotations

from collections.abc import Iterable

from semibench import DatasetCard, hookimpl
from semibench_plugins.datasets.volume_cards import VOLUME_CARDS

HOME = "semibench_plugins.datasets"
LESION = ("background", "lesion")
NODULE = ("background", "nodule")
GREY_AS_RGB = 3
"""Ultrasound is fed as three equal channels, as the papers do: ImageNet encoders and all sets fit each other."""

BUSI = DatasetCard(
    name="busi",
    title="BUSI",
    load=f"{HOME}.busi:BUSI",
    summary="Breast ultrasound, 780 images: 437 benign, 210 malignant, 133 normal (empty mask).",
    paper="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863, 2020",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=LESION,
    similar=("busis", "udiat"),
    terms="Free with citation; the licence is stated inconsistently, so it is not redistributed.",
    obtain="Download Dataset_BUSI_with_GT.zip from the page of Cairo University and unzip it.",
    folders=("Dataset_BUSI_with_GT",),
    tree="""<root>/
  Dataset_BUSI_with_GT/            (or its content directly)
    benign/    benign (1).png, benign (1)_mask.png, benign (4)_mask_1.png ...
    malignant/ malignant (1).png, malignant (1)_mask.png ...
    normal/    normal (1).png, normal (1)_mask.png ...""",
    cases=780,
    editions=("mgcc", "imagenet"),
)

BUSIS = DatasetCard(
    name="busis",
    title="BUSIS",
    load=f"{HOME}.busis:BUSIS",
    summary="Breast ultrasound, 562 images (306 benign, 256 malignant) from five devices that the files don't name.",
    paper="Zhang et al., BUSIS: a benchmark for breast ultrasound image segmentation, Healthcare 10(4):729, 2022",
    url="http://busbench.midalab.net",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=LESION,
    similar=("busi", "udiat"),
    terms="By permission of the owners; no redistribution, no commercial use.",
    obtain="Ask the authors (busbench.midalab.net); put the images in one flat folder.",
    folders=("BUSIS",),
    tree="""<root>/
  images/ (or img/, original/, or <root> itself)   any names, .png .jpg .bmp .tif
  masks/  (or label/, GT/; may be absent)           same stem as the image, or <stem>_mask, _GT, _seg""",
    cases=562,
    editions=("mgcc", "imagenet"),
)

UDIAT = DatasetCard(
    name="udiat",
    title="UDIAT (Dataset B)",
    load=f"{HOME}.udiat:UDIAT",
    summary="Breast ultrasound, 163 images of one device (Siemens ACUSON Sequoia C512).",
    paper="Yap et al., Automated breast ultrasound lesions detection using CNNs, IEEE JBHI 22(4), 2018",
    url="http://helward.mmu.ac.uk/STAFF/m.yap/dataset.php",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=LESION,
    similar=("busi", "busis"),
    terms="By licence agreement with M. H. Yap (Manchester Metropolitan University); no redistribution.",
    obtain="Sign the agreement, unzip BUS/ (original and GT).",
    folders=("BUS", "DatasetB", "Breast-UDIAT"),
    tree="""<root>/
  original/ 000001.png ...         (or img/)
  GT/       000001.png ...         (or label/), same names; optional DatasetB.csv with columns name, class""",
    cases=163,
    editions=("mgcc", "imagenet"),
)

TUS = DatasetCard(
    name="tus",
    title="TUS",
    load=f"{HOME}.tus:TUS",
    summary="Thyroid ultrasound, 1942 images of 192 patients from three machines; private (Qingdao).",
    paper="Tang et al., Multi-level global context cross consistency, 2023 (the data set of the MGCC paper)",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=NODULE,
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
    editions=("mgcc", "imagenet"),
    public=False,
)

TNSCUI2020 = DatasetCard(
    name="tnscui2020",
    title="TN-SCUI 2020",
    load=f"{HOME}.tnscui2020:TNSCUI2020",
    summary="Thyroid ultrasound, 3644 training images with nodule masks.",
    paper="MICCAI 2020 challenge TN-SCUI: thyroid nodule segmentation and classification in ultrasound images",
    url="https://tn-scui2020.grand-challenge.org",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=NODULE,
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
    editions=("mgcc", "imagenet"),
)

BUS_BRA = DatasetCard(
    name="bus-bra",
    title="BUS-BRA",
    load=f"{HOME}.bus_bra:BUSBRA",
    summary="Breast ultrasound, 1875 images of 1064 patients, four devices, one lesion mask each.",
    paper="Gomez-Flores et al., BUS-BRA: a breast ultrasound dataset, Medical Physics 51(4), 2024",
    url="https://zenodo.org/records/8231412",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=LESION,
    domains=("ge-logiq-7", "ge-logiq-5", "toshiba-aplio-300", "u-systems"),
    similar=("busi", "busis", "udiat"),
    terms="Free to use with citation (licence file in the archive).",
    obtain="Download BUSBRA.zip from Zenodo and unzip it.",
    folders=("BUSBRA",),
    tree="""<root>/
  BUSBRA/                          (or its content directly)
    Images/ bus_0001-l.png ...
    Masks/  mask_0001-l.png ...
    bus_data.csv                   columns ID,Case,Pathology,Device ...
    5-fold-cv.csv, 10-fold-cv.csv  (optional: published folds)""",
    cases=1875,
    editions=("default", "imagenet"),
)

HC18 = DatasetCard(
    name="hc18",
    title="HC18",
    load=f"{HOME}.hc18:HC18",
    summary="Fetal head ultrasound, 999 training images; the annotated outline is filled.",
    paper="van den Heuvel et al., Automated measurement of fetal head circumference, PLOS ONE 13(8), 2018",
    url="https://hc18.grand-challenge.org",
    dims=2,
    modality="ultrasound",
    channels=GREY_AS_RGB,
    classes=("background", "head"),
    terms="CC BY 4.0",
    obtain="Download training_set.zip and training_set_pixel_size_and_HC.csv (Zenodo record 1327317).",
    folders=("HC18",),
    tree="""<root>/
  HC18/                            (or its content directly)
    training_set/ 000_HC.png, 000_HC_Annotation.png, 010_2HC.png ...
    training_set_pixel_size_and_HC.csv""",
    cases=999,
    editions=("default", "imagenet"),
)

LA = DatasetCard(
    name="la",
    title="LA 2018",
    load=f"{HOME}.la:LA",
    summary="Left atrium in late gadolinium MR, 100 labeled volumes, 0.625 mm.",
    paper="Xiong et al., A global benchmark of algorithms for segmenting the left atrium, MedIA 67, 2021",
    url="http://atriaseg2018.cardiacatlas.org",
    dims=3,
    modality="MR",
    classes=("background", "left atrium"),
    slice_axis=2,
    terms="Registration with the Cardiac Atlas Project; no redistribution.",
    obtain="Register at atriaseg2018.cardiacatlas.org; or use the processed h5 files of your UA-MT checkout.",
    folders=("2018LA_Seg_Training Set",),
    tree="""<root>/
  h5/<20-character id>.h5                                   edition uamt: keys image, label, axes (x, y, z)
  2018LA_Seg_Training Set/<id>/mri_norm2.h5                 (the same, as UA-MT ships it; h5/<id>/mri_norm2.h5 too)
  raw/2018LA_Seg_Training Set/<id>/lgemri.nrrd, laendo.nrrd (official; editions margin-15, label-free)""",
    cases=100,
    editions=("uamt", "margin-15", "label-free"),
    label_informed={
        "uamt": "x and y cropped to the label's box with a random margin of 10 to 19 voxels, test volumes too",
        "margin-15": "x and y cropped to the label's box with a margin of 15 voxels, test volumes too",
    },
)

MMWHS = DatasetCard(
    name="mmwhs",
    title="MM-WHS 2017",
    load=f"{HOME}.mmwhs:MMWHS",
    summary="Whole heart, 20 MR and 20 CT volumes (unpaired), four structures.",
    paper="Zhuang and Shen, Multi-scale patch and multi-modality atlases for whole heart segmentation, MedIA 31, 2016",
    url="https://zmiclab.github.io/zxh/0/mmwhs",
    dims=3,
    modality="MR and CT",
    classes=("background", "myocardium", "left atrium", "left ventricle", "ascending aorta"),
    domains=("mr", "ct"),
    slice_axis=1,
    terms="Registration with a data-use agreement (Zhuang, Fudan University); no redistribution.",
    obtain="Register at zmiclab.github.io and unzip ct_train and mr_train.",
    folders=("MMWHS", "MM-WHS"),
    tree="""<root>/
  ct_train/ ct_train_1001_image.nii.gz, ct_train_1001_label.nii.gz ... 1020
  mr_train/ mr_train_1001_image.nii.gz, mr_train_1001_label.nii.gz ... 1020
  (or CT/imagesTr, CT/labelsTr, MR/imagesTr, MR/labelsTr with the same names)""",
    cases=40,
    editions=("genericssl", "label-free"),
    label_informed={
        "genericssl": "cropped to the box of the four structures with a margin of 4 voxels, target and test too"
    },
)

MNMS = DatasetCard(
    name="mnms",
    title="M&Ms",
    load=f"{HOME}.mnms:MNMs",
    summary="Cardiac short-axis MR of 320 patients and four vendors, end diastole and end systole: 640 volumes.",
    paper="Campello et al., Multi-centre, multi-vendor and multi-disease cardiac segmentation, IEEE TMI 40(12), 2021",
    url="https://www.ub.edu/mnms",
    dims=3,
    modality="MR",
    classes=("background", "left ventricle", "myocardium", "right ventricle"),
    domains=("A", "B", "C", "D"),
    slice_axis=0,
    terms="Form on the site; CC BY-NC-SA type terms.",
    obtain="Fill in the form at ub.edu/mnms and unzip OpenDataset.",
    folders=("OpenDataset", "MNMs"),
    tree="""<root>/
  OpenDataset/                     (or its content directly)
    Training/Labeled/<code>/<code>_sa.nii.gz, <code>_sa_gt.nii.gz
    Validation/<code>/...  Testing/<code>/...
  (or MNMs/Labeled/vendor<A|B|C|D>/<code>/...; vendors and frames are in the harness's own table)""",
    cases=640,
    editions=("genericssl", "label-free"),
    label_informed={"genericssl": "z cropped to the labeled slices (the last one dropped, as in the code), test too"},
)

MSD_HIPPOCAMPUS = DatasetCard(
    name="msd-hippocampus",
    title="MSD Hippocampus",
    load=f"{HOME}.msd_hippocampus:MSDHippocampus",
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

ISIC2018 = DatasetCard(
    name="isic2018",
    title="ISIC 2018, task 1",
    load=f"{HOME}.isic2018:ISIC2018",
    summary="Skin lesions in dermoscopy (colour), 2594 training images.",
    paper="Codella et al., Skin lesion analysis toward melanoma detection 2018, arXiv 1902.03368, 2019",
    url="https://challenge.isic-archive.com/data/#2018",
    dims=2,
    modality="dermoscopy",
    channels=3,
    classes=LESION,
    terms="CC BY-NC 4.0 (single images CC-0 or CC BY-NC).",
    obtain="Download ISIC2018_Task1-2_Training_Input.zip and ISIC2018_Task1_Training_GroundTruth.zip and unzip both.",
    folders=("ISIC2018", "ISIC"),
    tree="""<root>/
  ISIC2018_Task1-2_Training_Input/      ISIC_0000000.jpg ...
  ISIC2018_Task1_Training_GroundTruth/  ISIC_0000000_segmentation.png ...   0/255
  (or Image/ISIC_0000000.jpg and Label/ISIC_0000000.jpg)""",
    cases=2594,
    editions=("default", "imagenet"),
)

CARDS = (
    BUSI, BUSIS, UDIAT, TUS, TNSCUI2020, BUS_BRA, HC18, LA, MMWHS, MNMS, MSD_HIPPOCAMPUS, ISIC2018, *VOLUME_CARDS,
)  # fmt: skip


@hookimpl
def semibench_datasets() -> Iterable[DatasetCard]:
    """The data sets that come with Semibench."""
    return CARDS
