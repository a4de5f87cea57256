"""SAM as a backbone: image encoder, point prompts of classes, mask decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semibench import Backbone, BackboneOptions, UsageError
from semibench_plugins.backbones.sam.image_encoder import STRIDE, ImageEncoder, resized
from semibench_plugins.backbones.sam.mask_decoder import HEADS, MaskDecoder, PointPrompts, Positions

EMBEDDING, ENCODER_HEADS = 768, 12
CHANNELS, HIDDEN = 256, 2048
"""Of the mask decoder."""
ENCODER = "image_encoder."
PROMPTS = "prompt_encoder."
POINT_KINDS = 4
"""Embeddings of points in SAM's file: background, foreground, and two corners of boxes. CPC-SAM reads them as classes."""


class SAMOptions(BackboneOptions, frozen=True, extra="forbid"):
    """Options of `sam`. width multiplies the 768 channels of the encoder (a multiple of twelve, its heads) and the 256 of the
    decoder (a multiple of eight)."""

    depth: int = Field(12, ge=4, le=48, multiple_of=4, description="blocks of the encoder")
    window: int = Field(14, ge=1, le=64, description="tokens per side of a window of the encoder")
    lora: int | None = Field(
        None, ge=1, le=64, description="rank of LoRA, which freezes the encoder; default: the whole encoder is trained"
    )


class SAM(Backbone):
    """The Segment Anything Model with ViT-B. Its one map has a stride of 16.

    Kirillov et al., Segment Anything, ICCV 2023. The image encoder has 89,670,912 parameters for images of 1024 x 1024. As in
    CPC-SAM (Miao et al., MICCAI 2024), the decoder gives one mask per class at the size of the image, prompts are points
    with a class, one channel is repeated to three, and images aren't normalised. SAM's prompts by boxes and masks and its
    ratings of masks are left out.

    "prompts": `prompt(points, labels, size)` makes tokens, which a decoder takes as `decoder(features, prompts)`.
    Weights: SAM's file `sam_vit_b_01ec64.pth` starts the encoder, the points and the positions; decoders start at random, as in
    CPC-SAM's code, whose names of decoders don't occur in the file.
    """

    Options: ClassVar[type[BackboneOptions]] = SAMOptions
    provides: ClassVar[frozenset[str]] = frozenset({"prompts"})

    def __init__(self, *, dims: int, channels: int, outputs: int, patch: Sequence[int], options: SAMOptions) -> None:
        super().__init__(dims=dims, channels=channels, outputs=outputs, patch=patch, options=options)
        if dims != 2:
            raise UsageError(f"sam is a network of 2D images, got {dims} dims")
        if any(side % STRIDE for side in patch):
            sides = " x ".join(map(str, patch))
            raise UsageError(f"sam needs a patch whose sides are multiples of {STRIDE}, got {sides}")
        self.dims, self.divisor, self.strides = dims, STRIDE, (STRIDE,)
        self.outputs, self.grey = outputs, channels == 1
        self.hidden = max(HEADS, round(HIDDEN * options.width))
        self.width = HEADS * max(4, round(CHANNELS * options.width / HEADS))
        self.channels = (self.width,)
        tokens = ENCODER_HEADS * max(1, round(EMBEDDING * options.width / ENCODER_HEADS))
        grid = [side // STRIDE for side in patch]
        self.image_encoder = ImageEncoder(
            3 if self.grey else channels, tokens, ENCODER_HEADS, options.depth, options.window, grid, self.width
        )
        self.no_mask = nn.Parameter(torch.randn(self.width, 1, 1))
        self.positions = Positions(self.width)
        self.points = PointPrompts(self.width, outputs, self.positions)
        self.decoder = self.new_decoder()
        if options.lora is not None:
            self.adapt(options.lora)

    def adapt(self, rank: int) -> None:
        """Freezes the image encoder and adds LoRA of this rank to the queries and values of each block.

        Raises:
            UsageError: if it has LoRA already.
        """
        if any(attention.lora is not None for attention in self.image_encoder.attentions()):
            raise UsageError(
                "the encoder of sam has LoRA already: set the rank in the method or backbone.lora, not both"
            )
        self.image_encoder.adapt(rank)

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> one map (B, channels[0], H / 16, W / 16), the embedding "no mask" included."""
        return [self.image_encoder(images.expand(-1, 3, -1, -1) if self.grey else images) + self.no_mask]

    def new_decoder(self, **variant: Any) -> MaskDecoder:
        """Returns a decoder with weights of its own.

        Raises:
            UsageError: for any variant; there are none.
        """
        if variant:
            raise UsageError(f"sam has no variants of its decoder, got {', '.join(variant)}")
        return MaskDecoder(self.width, self.hidden, self.outputs, self.positions)

    def prompt(self, points: Tensor, labels: Tensor, size: Sequence[int]) -> Tensor:
        """Turns points into tokens for a decoder.

        Args:
            points: (B, N, 2), places (y, x) in pixels of the image.
            labels: (B, N), integers: their classes.
            size: (H, W) of the image.

        Returns:
            (B, N + 1, channels[0]).
        """
        return self.points(points, labels, size)

    def start_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Renames the entries of SAM's file, resizes its positions to this network's patch, and leaves its decoder out; other
        files are returned unchanged. LoRA and the points of classes that the file lacks keep their start."""
        if f"{PROMPTS}not_a_point_embed.weight" not in state:
            return state
        mine = self.state_dict()
        named = {
            key: self._resized(key, value, mine.get(key)) for key, value in state.items() if key.startswith(ENCODER)
        }
        kinds = [state[f"{PROMPTS}point_embeddings.{kind}.weight"] for kind in range(POINT_KINDS)]
        known = torch.cat(kinds)[: self.outputs]
        named["points.classes"] = torch.cat([known, mine["points.classes"][len(known) :].to(known)])
        named["points.end"] = state[f"{PROMPTS}not_a_point_embed.weight"].flatten()
        named["no_mask"] = state[f"{PROMPTS}no_mask_embed.weight"].view(-1, 1, 1)
        named["positions.frequencies"] = state[f"{PROMPTS}pe_layer.positional_encoding_gaussian_matrix"]
        return named | {key: value for key, value in mine.items() if ".lora." in key}

    @staticmethod
    def _resized(key: str, value: Tensor, mine: Tensor | None) -> Tensor:
        """Positions of the file for another number of tokens; other entries are returned unchanged."""
        if mine is None or value.shape == mine.shape:
            return value
        if key.endswith("pos_embed") and value.shape[-1] == mine.shape[-1]:
            return resized(value, mine.shape[1:3])
        if ".rel_pos_" in key and value.shape[1] == mine.shape[1]:
            return F.interpolate(value.T[None], len(mine), mode="linear")[0].T
        return value
