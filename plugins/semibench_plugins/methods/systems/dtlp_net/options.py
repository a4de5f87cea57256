"""Options of `dtlp-net`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semibench import MethodOptions
from semibench_plugins.methods.generalisation.three_decoders.losses import Form
from semibench_plugins.methods.generalisation.three_decoders.network import CleanMap
from semibench_plugins.methods.systems.dtlp_net.ensemble import MapReading
from semibench_plugins.methods.systems.dtlp_net.propagation import Normalised, Scale


class DTLPOptions(MethodOptions, frozen=True, extra="forbid"):
    """Where the paper is silent or can be read in two ways there is an option; the default is said in the method's
    docstring."""

    mask_ratio: float = Field(
        0.5, ge=0.0, lt=1.0, description="share of blocks masked (eq. 14, r); useful range .3 to .8"
    )
    box: tuple[float, float] = Field(
        (0.25, 0.75),
        description="least and greatest side of the CutMix box, as a share of the patch; [.667, .667]: as BCP",
    )
    loss: Form = Field(
        "paper", description="(CE + 1 - Dice) / 2, or CE - Dice as in A&D's code: all weights are doubled"
    )
    difficulty: Literal["window", "ema"] = Field(
        "window", description="sums of eq. 5, 6, or moving averages as in A&D's code"
    )
    exponent: float = Field(0.2, ge=0.0, description="of the difficulty (eq. 4); useful range 0 to .5")
    window: int = Field(50, ge=1, description="iterations behind the difficulty (eq. 5, 6, tau)")
    temperature: float = Field(1.0, gt=0.0, description="of the Gumbel-softmax (eq. 7)")
    blur: float = Field(1.0, ge=0.0, description="sigma of the blur behind it, in voxels; 0: none, as eq. 7 is printed")
    ddim_steps: int = Field(10, ge=2, le=1000, description="steps of sampling, each a pass of the network; 2 to 10")
    clean_map: CleanMap = Field(
        "logits", description="what DDIM takes for the label map: clipped logits, or 2 softmax - 1"
    )
    mixing: float = Field(0.01, ge=0.0, le=1.0, description="rate at which theta follows xi and psi (A&D); 0: off")
    labelling: Literal["train", "eval"] = Field("train", description="mode of xi and psi when they label")
    decay: float = Field(0.99, ge=0.0, le=1.0, description="greatest decay of the teacher; useful range .95 to .999")
    buffers: Literal["none", "ema", "copy"] = Field("ema", description="running statistics of the teacher")
    teacher_mode: Literal["train", "eval"] = Field("train", description="mode of the teacher; eval: running statistics")
    rec_on: Literal["logits", "probabilities", "features"] = Field(
        "logits", description="what is reconstructed (eq. 16); features: the finest map of the decoder"
    )
    kd_map: MapReading = Field("affine", description="how the diffusion's label map becomes probabilities in eq. 17")
    kd_squared: bool = Field(False, description="squares in the denominator of eq. 17: 0 for equal maps")
    embedding: int | Literal["classes"] = Field(
        64, description="D of the correlation: a number, or the number of classes (CorrMatch)"
    )
    stride: Literal[16, 8, 4] = Field(16, description="resolution of the correlation; 16: the encoder's last map")
    norm: Normalised = Field("row", description="along what the correlation is normalised (eq. 18, 19)")
    scale: Scale = Field("inside", description="1 / sqrt(D) inside the softmax, or outside as printed (eq. 18)")
    detach_logits: bool = Field(
        False, description="no gradient through the logits that are propagated (CorrMatch's code)"
    )
    memory: float = Field(256.0, gt=0.0, description="MiB that one correlation map and its copies may take")
    intensities: bool = Field(False, description="A&D's blur, brightness, contrast and gamma on top of the weak view")
    nesterov: bool = Field(False, description="SGD with Nesterov momentum, whatever the recipe's optimiser")
