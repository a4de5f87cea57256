"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="adaoutput",
        title="AdaOutput",
        load=f"{__package__}.adaoutput:AdaOutput",
        summary="critics of the softmax maps at two levels make target predictions look like source predictions",
        paper="Tsai et al., Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018",
        url="https://arxiv.org/abs/1802.10349",
        protocols=("umda",),
        default_for=("umda",),
    ),
)
