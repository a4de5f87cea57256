"""Options that A&D and DTLP-Net share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from semibench import MethodOptions
from semibench.blocks import ClassDifficulty
from semibench_plugins.methods.generalisation.three_decoders.losses import Form, Weighted
from semibench_plugins.methods.generalisation.three_decoders.network import CleanMap, Labelling, Statistics


class ThreeDecodersOptions(MethodOptions, frozen=True, extra="forbid"):
    """Equations are those of DTLP-Net, which restates A&D."""

    loss: Form = Field(
        "paper", description="(CE + 1 - Dice) / 2, or CE - Dice as in A&D's code, which doubles all weights"
    )
    difficulty: Literal["ema", "window", "none"] = Field(
        "ema", description="moving averages as in A&D's code, sums over the latest iterations (eq. 5, 6), or no weights"
    )
    weighted: Weighted = Field(
        "dice", description="class weights act on the Dice alone (ours), or on cross-entropy and Dice (eq. 3; the code)"
    )
    exponent: float = Field(0.2, ge=0.0, description="exponent of the difficulty (eq. 4); useful range 0 to .5")
    window: int = Field(
        50, ge=1, description="iterations that the difficulty covers (eq. 5, 6); useful range 20 to 200"
    )
    temperature: float = Field(
        1.0, gt=0.0, description="temperature of the Gumbel-softmax (eq. 7); useful range .5 to 2"
    )
    blur: float = Field(
        1.0,
        ge=0.0,
        description="sigma of the blur after it, in voxels; useful range 0 to 2; 0: none, as eq. 7 is printed",
    )
    ddim_steps: int = Field(10, ge=2, le=1000, description="sampling steps, one network pass each; useful 2 to 10")
    clean_map: CleanMap = Field(
        "logits", description="what DDIM uses as the label map: clipped logits, or 2 softmax - 1"
    )
    mixing: float = Field(
        0.01, ge=0.0, le=1.0, description="rate at which theta follows xi and psi; 0: off; useful range 0 to .05"
    )
    labelling: Labelling = Field(
        "no-dropout",
        description="how xi and psi predict labels: with the batch's statistics and without dropout, in training mode "
        "(A&D's code), or in eval mode",
    )
    statistics: Statistics = Field(
        "images", description="which passes move running statistics: those of whole images, or all (A&D's code)"
    )
    nesterov: bool = Field(False, description="use SGD with Nesterov momentum instead of the recipe's optimiser")

    def class_difficulty(self, classes: int) -> ClassDifficulty:
        """Returns the tracker of the classes' difficulty; with difficulty=none its weights are logged, not used."""
        rule = "ema" if self.difficulty == "none" else self.difficulty
        return ClassDifficulty(classes, window=self.window, exponent=self.exponent, rule=rule)
