"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="unimatch",
        title="UniMatch",
        load=f"{__package__}.unimatch:UniMatch",
        summary="a confident prediction on the weak view is the label for two strong views and for dropped-out features",
        paper="Yang et al., Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation, CVPR 2023",
        url="https://arxiv.org/abs/2208.09910",
        dims=(2,),
    ),
    MethodCard(
        name="augseg",
        title="AugSeg",
        load=f"{__package__}.augseg:AugSeg",
        summary="mean teacher; strong views by random intensity changes, with labeled patches pasted into uncertain images",
        paper="Zhao et al., Augmentation Matters: A Simple-yet-Effective Approach to Semi-supervised Semantic Segmentation, "
        "CVPR 2023",
        url="https://arxiv.org/abs/2212.04976",
        dims=(2,),
    ),
    MethodCard(
        name="corrmatch",
        title="CorrMatch",
        load=f"{__package__}.corrmatch:CorrMatch",
        summary="weak-to-strong consistency with labels that spread along the correlation of features",
        paper="Sun et al., CorrMatch: Label Propagation via Correlation Matching for Semi-Supervised Semantic Segmentation, "
        "CVPR 2024",
        url="https://arxiv.org/abs/2306.04300",
        dims=(2,),
    ),
)
