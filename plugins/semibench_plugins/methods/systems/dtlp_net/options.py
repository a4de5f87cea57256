"""Options of `dtlp-net`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semibench_plugins.methods.generalisation.three_decoders.network import Labelling
from semibench_plugins.methods.generalisation.three_decoders.options import ThreeDecodersOptions
from semibench_plugins.methods.systems.dtlp_net.ensemble import MapReading
from semibench_plugins.methods.systems.dtlp_net.propagation import Normalised, Scale


class DTLPOptions(ThreeDecodersOptions, frozen=True, extra="forbid"):
    """One option for each point where the paper is silent or ambiguous; the method's docstring explains the defaults."""

    mask_ratio: float = Field(
        0.5, ge=0.0, lt=1.0, description="share of masked blocks (eq. 14, r); useful range .3 to .8"
    )
    box: tuple[float, float] = Field(
        (0.25, 0.75),
        description="smallest and largest side of the CutMix box, as a share of the patch; [.667, .667]: as in BCP",
    )
    teachers: Literal["t1+t2", "t1", "t2"] = Field(
        "t1",
        description="whose labels theta learns: those of one teacher (Table XI), or both teachers' (t1+t2, eq. 10)",
    )
    teacher_ramp: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="share of the run over which teacher 2 comes to count fully in eq. 10; 0: at once",
    )
    mixing: float = Field(
        0.0, ge=0.0, le=1.0, description="rate at which theta follows xi and psi; A&D: .01; useful range 0 to .05"
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
