"""DeepLabv3+ (Chen et al., ECCV 2018) on ResNets, as used in the semi-supervised literature, in 2D.

There are two lineages of code. `u2pl` (default; U2PL, CSC-PA, PH-Net): five parallel branches of 256 channels without
projection, a 3x3 convolution to 256, concatenation with 256 channels of the finest encoder map, a classifier of two 3x3
convolutions; with two classes 19,994,370 parameters in the decoder. `unimatch` (UniMatch, CorrMatch, CISC-R): a
projection to 256, 48 channels of the finest map, two 3x3 convolutions, a 1x1 classifier; 16,839,266. AugSeg's decoder is
that of `unimatch` with a bias before the norm of the 48 channels, which has no effect. Encoder: 23,631,808 with the deep
stem, 23,508,032 with torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbone, BackboneOptions, Decoder, IdentityError, UsageError
from semibench.blocks import Norm, exchange_batch_norm
from semibench_plugins.backbones.halving import NORM_HELP
from semibench_plugins.backbones.resnet import ResNet, conv, scaled

Lineage = Literal["u2pl", "unimatch"]
WIDE = 256
DILATIONS = {8: (12, 24, 36), 16: (6, 12, 18)}
LOW = {"u2pl": 256, "unimatch": 48}
DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101}
PREFIX = "encoder."
STEM = ("conv1", "bn1", "layer1.0.conv1", "layer1.0.downsample")
"""Where the plain and the deep stem differ: the stem itself and the convolutions that read its output."""


class DeepLabOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `deeplabv3plus`. The defaults give CSC-PA's network."""

    encoder: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = Field("resnet50", description="which ResNet")
    output_stride: Literal[8, 16] = Field(
        8,
        description="stride of the coarsest map: 8 (U2PL, CSC-PA, CorrMatch) or 16 (AugSeg, UniMatch, PS-MT; less memory)",
    )
    deep_stem: bool = Field(True, description="stem of three 3x3 convolutions; false: torchvision's 7x7")
    multi_grid: bool = Field(
        True, description="multiply the last stage's dilations by 2, 2, 4; false in the UniMatch lineage"
    )
    lineage: Lineage = Field("u2pl", description="which decoder")
    low_channels: int | None = Field(
        None,
        ge=1,
        description="channels of the finest encoder map in the decoder; default 256 (`u2pl`; PH-Net: 48) or 48 (`unimatch`)",
    )
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="channel dropout in the head and classifier of `u2pl`")
    zero_last: bool = Field(True, description="start the last norm of each residual block at 0")
    ceil_pool: bool = Field(
        False,
        description="round up in the pooling after the stem (U2PL); no difference for sides of 8k + 1, such as 513",
    )
    norm: Norm = Field("batch", description=f"{NORM_HELP}; the pooled branch then has one group")
    fresh_stem: bool = Field(
        False, description="accept a weight file with the other stem and keep the stem's random initial weights"
    )


def _unit(inputs: int, outputs: int, side: int, *, bias: bool = False, dropout: float = 0.0) -> list[nn.Module]:
    convolution = conv(inputs, outputs, side)
    if bias:
        convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.Dropout2d(dropout)] if dropout else layers


def classifier(inputs: int, wide: int, outputs: int, dropout: float) -> nn.Sequential:
    """Builds the classifier of the U2PL lineage; with 256 outputs, its representation head (1,836,800 parameters)."""
    return nn.Sequential(
        *_unit(inputs, wide, 3, bias=True, dropout=dropout),
        *_unit(wide, wide, 3, bias=True, dropout=dropout),
        nn.Conv2d(wide, outputs, 1),
    )


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: image pool, 1x1 and three dilated 3x3 branches, concatenated."""

    def __init__(self, inputs: int, wide: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_unit(inputs, wide, 1))
        self.point = nn.Sequential(*_unit(inputs, wide, 1))
        self.dilated = nn.ModuleList(
            nn.Sequential(conv(inputs, wide, 3, dilation=d), nn.BatchNorm2d(wide), nn.ReLU(inplace=True))
            for d in dilations
        )
        self.channels = wide * (2 + len(dilations))

    def normalise_pooled_values_together(self) -> None:
        """Normalises the pooled values of an image over its channels: a single value per channel has no statistics."""
        norm = self.pool[2]
        assert isinstance(norm, nn.BatchNorm2d)
        self.pool[2] = nn.GroupNorm(1, norm.num_features, eps=norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H, W). Raises UsageError for a single image in training mode, with batch norm."""
        if self.training and len(x) == 1 and isinstance(self.pool[2], nn.BatchNorm2d):
            raise UsageError(
                "deeplabv3plus pools each image to one value per channel, and batch norm can't train on a single value: "
                "expected at least two images in a batch, got one"
            )
        pooled = F.interpolate(self.pool(x), x.shape[2:], mode="bilinear", align_corners=True)
        return torch.cat([pooled, self.point(x), *[branch(x) for branch in self.dilated]], 1)


class DeepLabDecoder(Decoder):
    """Decodes one map at the stride of the finest encoder map. In `u2pl` it is the concatenation [finest 256, head 256],
    CSC-PA's F, and the head is the classifier; in `unimatch` it has the fused 256 channels."""

    def __init__(self, levels: Sequence[int], outputs: int, options: DeepLabOptions) -> None:
        super().__init__()
        wide = scaled(WIDE, options.width)
        low = scaled(options.low_channels or LOW[options.lineage], options.width)
        self.pyramid = PyramidPooling(levels[-1], wide, DILATIONS[options.output_stride])
        self.fuse: nn.Module
        if options.lineage == "u2pl":
            self.project = nn.Sequential(*_unit(self.pyramid.channels, wide, 3, dropout=options.dropout))
            self.low = nn.Sequential(*_unit(levels[0], low, 1, bias=True))
            self.fuse = nn.Identity()
            self.channels = (low + wide,)
            self.last = classifier(low + wide, wide, outputs, options.dropout)
        else:
            self.project = nn.Sequential(*_unit(self.pyramid.channels, wide, 1))
            self.low = nn.Sequential(*_unit(levels[0], low, 1))
            self.fuse = nn.Sequential(*_unit(low + wide, wide, 3), *_unit(wide, wide, 3))
            self.channels = (wide,)
            self.last = nn.Sequential(nn.Conv2d(wide, outputs, 1))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Encoder maps -> one map (B, channels[0], h, w) with the size of the finest map."""
        head = self.project(self.pyramid(features[-1]))
        head = F.interpolate(head, features[0].shape[2:], mode="bilinear", align_corners=True)
        return [self.fuse(torch.cat([self.low(features[0]), head], 1))]

    def head(self, decoded: Tensor) -> Tensor:
        """(B, channels[0], h, w) -> logits (B, outputs, h, w)."""
        return self.last(decoded)


class DeepLabV3Plus(Backbone):
    """See the module docstring. Takes images of any size; sides of 8k + 1 give exactly the papers' maps (513 -> 129 at
    stride 4).

    Logits have stride 4 and are enlarged linearly with aligned corners. Initial weights (`--weights`) are a ResNet file
    from torchvision or the U2PL lineage, or a file of the whole network.
    """

    Options = DeepLabOptions
    provides = frozenset({"stages", "dropout"})

    def __init__(
        self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: DeepLabOptions
    ) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims != 2 or len(patch) != 2:
            raise UsageError(f"deeplabv3plus is a 2D network; got dims={dims}, patch {tuple(patch)}")
        self.dims, self.divisor = 2, 1
        self._outputs, self._options = outputs, options
        self.encoder = ResNet(
            DEPTHS[options.encoder],
            channels,
            width=options.width,
            output_stride=options.output_stride,
            deep_stem=options.deep_stem,
            multi_grid=options.multi_grid,
            ceil_pool=options.ceil_pool,
            zero_last=options.zero_last,
        )
        exchange_batch_norm(self.encoder, options.norm)
        self.channels, self.strides = self.encoder.channels, self.encoder.strides
        self.decoder = self.new_decoder()

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the four maps of `encode`."""
        return self.encoder.stages

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> four maps, finest first, with strides 4, 8, 8, 8 (or 4, 8, 16, 16)."""
        return self.encoder(images)

    def new_decoder(self, **variant: Any) -> Decoder:
        """Returns a fresh decoder. lineage: "u2pl" or "unimatch", to override the network's own."""
        lineage = variant.pop("lineage", self._options.lineage)
        if variant or lineage not in LOW:
            raise UsageError(
                f"decoders of deeplabv3plus differ in lineage='u2pl' or 'unimatch'; got {variant or {'lineage': lineage}}"
            )
        options = self._options.model_copy(update={"lineage": lineage})
        decoder = DeepLabDecoder(self.channels, self._outputs, options)
        if options.norm != "batch":
            decoder.pyramid.normalise_pooled_values_together()
        return exchange_batch_norm(decoder, options.norm)

    def enlarge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Enlarges logits linearly with aligned corners."""
        if tuple(logits.shape[2:]) == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=True)

    def start_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Renames the entries of a ResNet file for this network and drops its classifier `fc`; returns other files as is.

        Raises IdentityError if only the stem differs (plain file, deep network, or the reverse). With `fresh_stem` the
        file's stem is dropped instead, and the network's stem keeps its random initial weights.
        """
        if any(key.startswith(PREFIX) for key in state):
            return state
        named = {PREFIX + key: value for key, value in state.items() if not key.startswith("fc.")}
        mine = self.state_dict()
        expected = {key: value for key, value in mine.items() if key.startswith(PREFIX)}
        counters = {key: value for key, value in expected.items() if key.endswith("num_batches_tracked")}
        named = {**counters, **named}
        odd = sorted(
            key
            for key in named.keys() | expected.keys()
            if key not in named or key not in expected or named[key].shape != expected[key].shape
        )
        if not odd or not all(_of_stem(key) for key in odd):
            return named
        if not self._options.fresh_stem:
            stem = "deep" if self._options.deep_stem else "plain"
            names = ", ".join(key.removeprefix(PREFIX) for key in odd)
            raise IdentityError(
                f"the weights fit except for the stem (the network has a {stem} stem): {names}. Use a file with a {stem} stem, "
                f"set backbone.deep_stem={not self._options.deep_stem}, or set backbone.fresh_stem=true to keep the stem's "
                "random initial weights"
            )
        fitting = {key: value for key, value in named.items() if key not in odd}
        return {**fitting, **{key: expected[key] for key in odd if key in expected}}


def _of_stem(key: str) -> bool:
    return any(key.removeprefix(PREFIX).startswith(f"{part}.") for part in STEM)
