"""Options of SemSim: what the paper leaves open, and where its predecessor's code (MedicalMatch) differs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semibench import Confidence, MethodOptions
from semibench_plugins.methods.systems.semsim.affinity import Normalise
from semibench_plugins.methods.systems.semsim.fusion import Fusion
from semibench_plugins.methods.systems.semsim.prototypes import Votes

View = Literal[1, 2]
Targets = Literal["hard", "soft"]
Pseudo = Literal["own", "decoder", "averaged"]


class SemSimOptions(MethodOptions, frozen=True, extra="forbid"):
    """Options of `semsim`."""

    features: Literal["fusion", "convolution"] = Field(
        "fusion", description="spatial-aware fusion, or SemSim^-'s plain convolution"
    )
    width: int = Field(128, ge=8, multiple_of=8, description="channels D of the features")
    window: int | None = Field(None, ge=1, description="side of a window at the coarsest scale; 2 in 2D, 1 in 3D")
    blocks: int = Field(1, ge=1, description="transformer blocks in the fusion")
    scaled_attention: bool = Field(True, description="divide attention logits by the root of the head's channels")
    fusion: Fusion = Field("reverse", description="after the windows: the code's layers, or Eq. 17 to the letter")
    threshold: Confidence = Field(0.95, ge=0.0, description="confidence tau; useful range .7 to .99")
    targets: Literal["hard", "soft"] = Field("hard", description="pseudo-labels: argmax (the code) or probabilities")
    pseudo: Literal["own", "decoder", "averaged"] = Field(
        "own",
        description="pseudo-label of each prediction: of its own kind (Fig. 11), the decoder's (code) or the mean",
    )
    resolution: Literal["features", "image"] = Field(
        "features", description="grid on which L_intra and L_cross compare: their own, or the image's (code)"
    )
    pixel_views: tuple[View, ...] = Field((1,), min_length=1, description="strong views of L_u (Table VI)")
    intra_view: View = Field(1, description="strong view of L_intra")
    cross_view: View = Field(2, description="strong view of L_cross")
    cutmix: float = Field(0.5, ge=0.0, le=1.0, description="probability that a strong view is cut-mixed")
    partner: Literal["eval", "train"] = Field("eval", description="mode of the network that labels the pasted images")
    channel_dropout: float = Field(0.5, ge=0.0, lt=1.0, description="probability that a channel is dropped")
    channel_dropout_on: Literal["strong", "none"] = Field(
        "strong", description="maps of strong views, or only those of the term `feature` (code)"
    )
    saturation: float = Field(
        0.0, ge=0.0, le=1.0, description="saturation jitter of strong views; colour images only, .5 for ISIC"
    )
    hue: float = Field(0.0, ge=0.0, le=0.5, description="hue jitter in full turns; colour images only, .25 for ISIC")
    affinity: Literal["cosine", "projected"] = Field(
        "cosine", description="cosine of the features, or product of their two 1x1 convolutions to K channels (code)"
    )
    affinity_temperature: float = Field(1.0, gt=0.0, description="divides the cosines; useful range .05 to 1")
    affinity_pool: int | None = Field(
        None, ge=1, description="factor by which the affinity's grid is coarser; 1 in 2D, 2 in 3D"
    )
    refine: Literal["logits", "probabilities"] = Field("logits", description="what to refine")
    residual: bool = Field(True, description="I(z) + I(z) M, or I(z) M alone (code)")
    normalise: Normalise = Field("summed", description="normalise M over the summed index, or the other (code)")
    detach_logits: bool = Field(True, description="treat the logits as constants, so that only features learn")
    cells: int = Field(4, ge=1, description="regions N along each axis; 1, 2, 4, 8 or 14 in the paper")
    overlap: bool = Field(False, description="start a region at every half cell (code)")
    votes: Votes = Field("sum", description="over labeled images: sum of exponentials, or the largest (code)")
    label_resize: Literal["nearest", "linear"] = Field("nearest", description="linear (code) loses boundaries")
    detach_prototypes: bool = Field(True, description="treat prototypes as constants")
    temperature: float = Field(1.0, gt=0.0, description="divides the cosines of p_cr and p_2w; range .05 to 1")
    cross_gate: Literal["decoder", "own"] = Field(
        "decoder", description="L_cross counts where max p_w, or p_2w, is high"
    )
    cross_loss: Literal["ce", "dice"] = Field("ce", description="cross-entropy, or Dice (code)")
    uncertainty: bool = Field(True, description="weight L_cross by the agreement of the votes")
    uncertainty_view: Literal["strong", "weak"] = Field(
        "strong", description="view whose votes count; the paper doesn't say"
    )
    rate: float = Field(1000.0, gt=0.0, description="r of that weight; useful range 1 to 3000")
