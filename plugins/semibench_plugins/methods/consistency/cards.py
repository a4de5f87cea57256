"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="mean-teacher",
        title="Mean Teacher",
        load=f"{__package__}.mean_teacher:MeanTeacher",
        summary="the network agrees with its own moving average on noisy unlabeled samples",
        paper="Tarvainen & Valpola, Mean teachers are better role models, NeurIPS 2017",
        url="https://arxiv.org/abs/1703.01780",
        default_for=("self", "similar", "synthetic", "ssmis", "semi-mdg"),
    ),
    MethodCard(
        name="ua-mt",
        title="UA-MT",
        load=f"{__package__}.ua_mt:UAMT",
        summary="mean teacher with consistency only where the teacher is certain",
        paper="Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, "
        "MICCAI 2019",
        url="https://arxiv.org/abs/1907.07034",
    ),
    MethodCard(
        name="ac-mt",
        title="AC-MT",
        load=f"{__package__}.ac_mt:ACMT",
        summary="mean teacher with consistency only where the student is ambiguous",
        paper="Xu et al., Ambiguity-selective consistency regularization for mean-teacher semi-supervised medical image "
        "segmentation, MedIA 88, 2023",
        url="https://doi.org/10.1016/j.media.2023.102880",
    ),
    MethodCard(
        name="dct",
        title="DCT",
        load=f"{__package__}.dct:DCT",
        summary="two networks agree on unlabeled samples and resist each other's adversarial examples",
        paper="Qiao et al., Deep Co-Training for Semi-Supervised Image Recognition, ECCV 2018",
        url="https://arxiv.org/abs/1803.05984",
    ),
    MethodCard(
        name="cct",
        title="CCT",
        load=f"{__package__}.cct:CCT",
        summary="auxiliary decoders on perturbed encoder features agree with the main decoder",
        paper="Ouali et al., Semi-Supervised Semantic Segmentation with Cross-Consistency Training, CVPR 2020",
        url="https://arxiv.org/abs/2003.09005",
    ),
    MethodCard(
        name="em",
        title="EM",
        load=f"{__package__}.entropy_minimisation:EntropyMinimisation",
        summary="predictions on unlabeled samples are to be certain: their entropy is minimised",
        paper="Vu et al., ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation, CVPR 2019 "
        "(its direct entropy term)",
        url="https://arxiv.org/abs/1811.12833",
    ),
    MethodCard(
        name="ict",
        title="ICT",
        load=f"{__package__}.ict:ICT",
        summary="the prediction for a mix of two unlabeled images is the mix of the teacher's predictions",
        paper="Verma et al., Interpolation Consistency Training for Semi-Supervised Learning, IJCAI 2019",
        url="https://arxiv.org/abs/1903.03825",
    ),
    MethodCard(
        name="ict-med",
        title="ICT-Med",
        load=f"{__package__}.ict:ICTMed",
        summary="interpolation consistency under the name of its medical publication; the published code is that of ICT",
        paper="Basak et al., An Embarrassingly Simple Consistency Regularization Method for Semi-Supervised Medical Image "
        "Segmentation, ISBI 2022",
        url="https://arxiv.org/abs/2202.00677",
    ),
    MethodCard(
        name="urpc",
        title="URPC",
        load=f"{__package__}.urpc:URPC",
        summary="predictions at several scales of one decoder agree with their mean, less where they diverge",
        paper="Luo et al., Efficient Semi-supervised Gross Target Volume of Nasopharyngeal Carcinoma Segmentation via "
        "Uncertainty Rectified Pyramid Consistency, MICCAI 2021",
        url="https://arxiv.org/abs/2012.07042",
    ),
    MethodCard(
        name="w2spc",
        title="w2sPC (reconstruction)",
        load=f"{__package__}.w2spc:W2SPC",
        summary="decoders on ever more restyled features agree; uncertain voxels move to certain ones (partly our reconstruction)",
        paper="Yang et al., w2sPC: weak-to-strong perturbation consistency with edge-aware contrast, Medical Image Analysis "
        "101:103450, 2025",
        url="https://github.com/youngyzzZ/SSL-w2sPC",
    ),
    MethodCard(
        name="otcmc",
        title="OTCMC (reconstruction)",
        load=f"{__package__}.otcmc:OTCMC",
        summary="labels travel by optimal transport; shapes have the moments of a teacher's (our reconstruction)",
        paper="Guo et al., optimal transport and central moment consistency, IEEE TMI 2025, DOI 10.1109/TMI.2025.3563500",
    ),
    MethodCard(
        name="ps-mt",
        title="PS-MT",
        load=f"{__package__}.ps_mt:PSMT",
        summary="two teachers, updated in turn, label for a student with mixed images and adversarial noise on its features",
        paper="Liu et al., Perturbed and Strict Mean Teachers for Semi-supervised Semantic Segmentation, CVPR 2022",
        url="https://arxiv.org/abs/2111.12903",
        dims=(2,),
    ),
    MethodCard(
        name="dk-hrs",
        title="DK-HRS (reconstruction)",
        load=f"{__package__}.dk_hrs:DKHRS",
        summary="FixMatch, adversarial noise, and a contrast with views of the lesion (our reconstruction for segmentation)",
        paper="Xie et al., A domain knowledge powered hybrid regularization strategy for semi-supervised breast cancer "
        "diagnosis, Expert Systems with Applications 243, 2024",
        url="https://doi.org/10.1016/j.eswa.2023.122897",
        dims=(2,),
    ),
)
