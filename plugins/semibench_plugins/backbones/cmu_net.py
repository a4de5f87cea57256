"""CMU-Net (Tang et al., ISBI 2023, arXiv 2210.13012): a large U-Net, a ConvMixer at the bottleneck, gates on the skips.

It has one chain of seven ConvMixer layers with kernel 7, and multi-scale attention gates on the four skips; `mgcc-net`
shares these layers. 49,932,353 parameters for three channels and one output (chain 7,734,272; gates 90,880, 361,984,
1,444,864 and 5,773,312).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from semibench import BackboneOptions
from semibench.blocks import Norm
from semibench_plugins.backbones.halving import NORM_HELP
from semibench_plugins.backbones.mgcc_net import MGCCNet, MGCCNetOptions, OddKernel


class CMUNetOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `cmu-net`."""

    layers: int = Field(7, ge=0, description="ConvMixer layers at the bottleneck")
    kernel: OddKernel = Field(7, ge=1, description="side of the depthwise convolutions; must be odd")
    gates: bool = Field(True, description="attention gates on the skips")
    norm: Norm = Field("batch", description=NORM_HELP)


class CMUNet(MGCCNet):
    """MGCC's network with a single tap after all layers; see the module docstring."""

    title = "cmu-net"
    Options = CMUNetOptions

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: CMUNetOptions) -> None:
        chain = MGCCNetOptions(
            width=options.width, depths=(options.layers,), kernel=options.kernel, gates=options.gates, norm=options.norm
        )
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=chain)
