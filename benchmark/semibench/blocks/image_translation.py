"""Networks that translate images from one domain to another, as in CycleGAN (Zhu et al., ICCV 2017): a generator and a
discriminator of patches, in 2D and 3D, and the losses they share. Images are in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semibench.blocks.losses import masked_mean

SLOPE = 0.2
"""Of the discriminator's leaky ReLU."""
DEVIATION = 0.02
"""Of the normal distribution that the weights start from."""
LARGE = 256
"""Side from which images get nine residual blocks instead of six."""
HALVINGS = 2
LIMIT = 0.999
"""Of an image to which a change is added: at 1 no change would have an effect."""


def start_from_normal(module: nn.Module) -> None:
    """Draws the weights of all convolutions from N(0, .02^2), without bias, as GANs of this kind start.

    Args:
        module: the network, changed in place.

    Returns:
        Nothing.

    Examples:
        >>> layer = torch.nn.Conv2d(8, 8, 3)
        >>> start_from_normal(layer)
        >>> bool(layer.weight.abs().max() < 0.2), float(layer.bias.abs().sum())
        (True, 0.0)
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(part.weight, 0.0, DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _padded(images: Tensor, margin: int) -> Tensor:
    """Mirrors the border; repeats it where a side is too short to be mirrored."""
    mode = "reflect" if min(images.shape[2:]) > margin else "replicate"
    return F.pad(images, [margin] * (2 * (images.ndim - 2)), mode=mode)


def add_change(images: Tensor, change: Tensor, *, plain: bool = False) -> Tensor:
    """An image plus a change, in [-1, 1]: tanh(atanh(x) + change). Without a change the image stays as it is.

    Args:
        images: (B, C, *spatial) in [-1, 1].
        change: (B, C, *spatial), any values.
        plain: tanh(x + change) instead, which narrows an image that doesn't change: 1 becomes .76.

    Returns:
        (B, C, *spatial) in [-1, 1].

    Examples:
        >>> add_change(torch.tensor([0.5, -1.0]), torch.zeros(2))
        tensor([ 0.5000, -0.9990])
        >>> add_change(torch.tensor([0.5, -1.0]), torch.zeros(2), plain=True)
        tensor([ 0.4621, -0.7616])
    """
    if plain:
        return torch.tanh(images + change)
    return torch.tanh(images.clamp(-LIMIT, LIMIT).atanh() + change)


class ResidualBlock(nn.Module):
    """x + f(x) with two convolutions of kernel 3, instance norm, and a ReLU between them. Borders are mirrored.

    Args:
        dims: 2 or 3.
        channels: of the maps.

    Examples:
        >>> ResidualBlock(2, 4)(torch.rand(1, 4, 8, 8)).shape
        torch.Size([1, 4, 8, 8])
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.first, self.second = conv(channels, channels, 3), conv(channels, channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        inner = F.relu(F.instance_norm(self.first(_padded(maps, 1))))
        return maps + F.instance_norm(self.second(_padded(inner, 1)))


class TranslationGenerator(nn.Module):
    """The generator of CycleGAN: a convolution of kernel 7, two that halve the sides, residual blocks, two transposed
    convolutions and a convolution of kernel 7, with instance norm and ReLU; tanh at the end. 11,378,179 parameters in 2D with
    three channels, 64 filters and nine blocks.

    The output has the size of the input, whatever it is.

    Args:
        dims: 2 or 3.
        channels: of the images, in and out.
        filters: of the first convolution; f, 2f, 4f.
        blocks: residual blocks; six for images of 128 and nine from 256 on are published.
        residual: what is computed is a change of the image (see `add_change`), so that a new generator is the identity.
        plain: the change is added as in `add_change(..., plain=True)`, and the last layer starts like the others.

    Examples:
        >>> TranslationGenerator(2, 1, filters=4, blocks=2)(torch.rand(2, 1, 18, 16)).shape
        torch.Size([2, 1, 18, 16])
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        *,
        filters: int = 64,
        blocks: int = 9,
        residual: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.plain = residual, plain
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        transposed = (nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 2]
        widths = [filters * 2**level for level in range(HALVINGS + 1)]
        self.stem, self.end = conv(channels, filters, 7), conv(filters, channels, 7)
        self.down = nn.ModuleList(conv(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.blocks = nn.Sequential(*(ResidualBlock(dims, widths[-1]) for _ in range(blocks)))
        self.up = nn.ModuleList(transposed(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths[::-1]))
        start_from_normal(self)
        if residual and not plain:
            nn.init.zeros_(self.end.weight)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) in [-1, 1] -> the same."""
        maps, sizes = F.relu(F.instance_norm(self.stem(_padded(images, 3)))), []
        for layer in self.down:
            sizes.append(list(maps.shape[2:]))
            maps = F.relu(F.instance_norm(layer(maps)))
        maps = self.blocks(maps)
        for layer, size in zip(self.up, reversed(sizes), strict=True):
            maps = F.relu(F.instance_norm(layer(maps, output_size=size)))
        translated = self.end(_padded(maps, 3))
        return add_change(images, translated, plain=self.plain) if self.residual else torch.tanh(translated)


def residual_blocks(patch: Sequence[int]) -> int:
    """The published number of residual blocks of a generator: nine for images of 256 or more, else six.

    Args:
        patch: spatial size of the images.

    Returns:
        6 or 9.

    Examples:
        >>> residual_blocks((128, 128)), residual_blocks((256, 256))
        (6, 9)
    """
    return 9 if max(patch) >= LARGE else 6


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image (PatchGAN): convolutions of kernel 4 with f, 2f, 4f channels and stride 2, one
    with 8f and stride 1, and one to the scores; instance norm on all but the first and last, leaky ReLU .2. Each score sees
    70 x 70 pixels. 2,764,737 parameters in 2D with three channels and 64 filters.

    Along an axis that is too short for it, a convolution has kernel 3 and stride 1.

    Args:
        dims: 2 or 3.
        channels: of what is judged: an image, or the softmax of K classes.
        patch: spatial size of what is judged.
        filters: f.
        outputs: kinds of scores, for discriminators that judge two things at once.

    Examples:
        >>> PatchDiscriminator(2, 1, (256, 256), filters=2)(torch.rand(1, 1, 256, 256)).shape
        torch.Size([1, 1, 30, 30])
    """

    def __init__(self, dims: int, channels: int, patch: Sequence[int], *, filters: int = 64, outputs: int = 1) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        sides = list(patch)
        layers: list[nn.Module] = []
        plan = [(filters, 2), (2 * filters, 2), (4 * filters, 2), (8 * filters, 1), (outputs, 1)]
        for number, (width, stride) in enumerate(plan):
            longer = [side > 3 if stride == 2 else side > 2 for side in sides]
            kernel = tuple(4 if yes else 3 for yes in longer)
            strides = tuple(stride if yes else 1 for yes in longer)
            layers.append(conv(channels, width, kernel, stride=strides, padding=1))  # type: ignore[arg-type]
            if 0 < number < len(plan) - 1:
                layers.append((nn.InstanceNorm2d, nn.InstanceNorm3d)[dims - 2](width))
            if number < len(plan) - 1:
                layers.append(nn.LeakyReLU(SLOPE))
            after = [side // 2 if stride == 2 else side - 1 for side in sides]
            sides = [new if yes else side for new, side, yes in zip(after, sides, longer, strict=True)]
            channels = width
        self.layers = nn.Sequential(*layers)
        start_from_normal(self)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, *spatial) -> scores (B, outputs, *patches); 1: real, 0: fake."""
        return self.layers(images)


def least_squares(scores: Tensor, goal: float) -> Tensor:
    """The adversarial loss of least-squares GANs: the mean of (score - goal)^2.

    Args:
        scores: of a discriminator, any shape.
        goal: 1 for real, 0 for fake.

    Returns:
        A scalar.

    Examples:
        >>> least_squares(torch.full((2, 1, 3, 3), 0.5), 1.0)
        tensor(0.2500)
    """
    return (scores.float() - goal).square().mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a least-squares discriminator minimises: half of the errors on real and on fake images.

    Args:
        real: its scores of real images, to be 1.
        fake: its scores of fake images, to be 0.

    Returns:
        A scalar.

    Examples:
        >>> discriminator_loss(torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), 0.5))
        tensor(0.2500)
    """
    return 0.5 * (least_squares(real, 1.0) + least_squares(fake, 0.0))


def absolute_error(images: Tensor, goal: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of two images without padding: the cycle and identity losses of CycleGAN.

    Args:
        images: (B, C, *spatial).
        goal: (B, C, *spatial).
        valid: bool (B, *spatial), False on padding.

    Returns:
        A scalar.

    Examples:
        >>> absolute_error(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 9.0]]]), torch.tensor([[True, False]]))
        tensor(1.)
    """
    return masked_mean((images.float() - goal.float()).abs(), valid.unsqueeze(1))
