"""Options of `dtlp-net`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semibench import MethodOptions
from semibench_plugins.methods.generalisation.three_decoders.losses import Form, Weighted
from semibench_plugins.methods.generalisation.three_decoders.network import CleanMap, Labelling, Statistics
from semibench_plugins.methods.systems.dtlp_net.ensemble import MapReading
from semibench_plugins.methods.systems.dtlp_net.propagation import Normalised, Scale


class DTLPOptions(MethodOptions, frozen=True, extra="forbid"):
    """One option for each point where the paper is silent or ambiguous; the method's docstring explains the defaults."""

    mask_ratio: float = Field(
        0.5, ge=0.0, lt=1.0, description="share of masked blocks (eq. 14, r); useful range .3 to .8"
    )
    box: tuple[float, float] = Field(
        (0.25, 0.75),
        description="smallest and largest side of the CutMix box, as a share of the patch; [.667, .667]: as in BCP",
    )
    loss: Form = Field(
        "paper", description="(CE + 1 - Dice) / 2, or CE - Dice as in A&D's code, which doubles all weights"
    )
    difficulty: Literal["ema", "window", "none"] = Field(
        "ema", description="moving averages as in A&D's code, sums as in eq. 5, 6, or no weights"
    )
    weighted: Weighted = Field(
        "both", description="whether class weights act on cross-entropy and Dice (eq. 3), or on the Dice alone"
    )
    exponent: float = Field(0.2, ge=0.0, description="exponent of the difficulty (eq. 4); useful range 0 to .5")
    window: int = Field(50, ge=1, description="iterations that the difficulty covers (eq. 5, 6, tau)")
    temperature: float = Field(1.0, gt=0.0, description="temperature of the Gumbel-softmax (eq. 7)")
    blur: float = Field(1.0, ge=0.0, description="sigma of the blur after it, in voxels; 0: none, as eq. 7 is printed")
    ddim_steps: int = Field(10, ge=2, le=1000, description="sampling steps, one network pass each; useful 2 to 10")
    clean_map: CleanMap = Field(
        "logits", description="what DDIM uses as the label map: clipped logits, or 2 softmax - 1"
    )
    mixing: float = Field(0.01, ge=0.0, le=1.0, description="rate at which theta follows xi and psi (A&D); 0: off")
    labelling: Labelling = Field(
        "no-dropout",
        description="how xi and psi predict labels: with the batch's statistics and without dropout, in training mode "
        "(A&D's code), or in eval mode",
    )
    statistics: Statistics = Field(
        "images", description="which passes move running statistics: those of whole images, or all (A&D's code)"
    )
    teachers: Literal["t1+t2", "t1", "t2"] = Field(
        "t1+t2", description="whose labels theta learns: both teachers' (eq. 10), or those of one alone (Table XI)"
    )
    teacher_ramp: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="share of the run over which teacher 2 comes to count fully in eq. 10; 0: at once",
    )
    decay: float = Field(0.99, ge=0.0, le=1.0, description="largest decay of the teacher; useful range .95 to .999")
    buffers: Literal["none", "ema", "copy"] = Field("ema", description="running statistics of the teacher")
    teacher_mode: Labelling = Field("no-dropout", description="how the teacher predicts labels, as `labelling`")
    rec_on: Literal["logits", "probabilities", "features"] = Field(
        "logits", description="what to reconstruct (eq. 16); features: the decoder's finest map"
    )
    kd_map: MapReading = Field("affine", description="how eq. 17 turns the diffusion's label map into probabilities")
    kd_squared: bool = Field(False, description="square the denominator of eq. 17, so that equal maps give 0")
    embedding: int | Literal["classes"] = Field(
        64, description="D of the correlation: a number, or the number of classes (CorrMatch)"
    )
    stride: Literal[16, 8, 4] = Field(16, description="stride of the correlation's grid; 16: the encoder's last map")
    norm: Normalised = Field("row", description="axis along which the correlation is normalised (eq. 18, 19)")
    scale: Scale = Field("inside", description="1 / sqrt(D) inside the softmax, or outside as printed (eq. 18)")
    detach_logits: bool = Field(False, description="no gradient through the propagated logits (CorrMatch's code)")
    memory: float = Field(256.0, gt=0.0, description="MiB that one correlation map and its copies may take")
    nesterov: bool = Field(False, description="use SGD with Nesterov momentum instead of the recipe's optimiser")
