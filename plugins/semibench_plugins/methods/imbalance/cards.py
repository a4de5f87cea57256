"""Cards of the methods in this folder. Cheap to import: a class is loaded when a run uses it."""

from __future__ import annotations

from semibench import MethodCard

CARDS = (
    MethodCard(
        name="cld",
        title="CLD",
        load=f"{__package__}.cld:CLD",
        summary="two networks label each other; rare classes weigh more, classes they are sure of are sampled less",
        paper="Lin et al., Calibrating Label Distribution for Class-Imbalanced Barely-Supervised Knee Segmentation, MICCAI 2022",
        url="https://github.com/xmed-lab/CLD-Semi",
    ),
)
