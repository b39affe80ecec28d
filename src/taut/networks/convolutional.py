"""Convolutional bodies for images of any height and width, and for signals, which are images of one row.

Each scale halves the size, rounding up: 28×20 → 14×10 → 7×5. The way back doubles and crops, so every size returns to
itself. Up-sampling is sub-pixel: a convolution at the small size writes four pixels for one, which costs a quarter of
the same convolution at the large size and leaves no checkerboard of unequal overlap (Shi et al. 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from taut.errors import InputError
from taut.networks.base import Activation, Body, Network, activation, positive, silent

__all__ = ["Conv", "Doubled", "ResNet", "scales"]


@dataclass(frozen=True)
class Conv(Network):
    """Strided convolutions, one a scale, and one fully connected layer on each side of the latents.

    Args:
        channels: of each scale from the data inwards; each halves height and width.
        hidden: width of the fully connected layer, 0 for none.
        activation: between layers.
    """

    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        if not self.channels:
            raise InputError("channels", "is empty", "give at least one scale, such as 32,64")
        positive("channels", *self.channels)
        if self.hidden < 0:
            raise InputError("hidden", f"is {self.hidden}", "give 0 or more")

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        sizes = scales(shape, len(self.channels))
        body: list[nn.Module] = []
        for before, after in zip((shape[0], *self.channels), self.channels, strict=False):
            body += [
                nn.Conv2d(before, after, **_taps(shape, stride=2)),
                *self._blocks(after, shape),
                activation(self.activation),
            ]
        features = self.channels[-1] * math.prod(sizes[-1])
        body += [nn.Flatten()]
        if self.hidden:
            body += [nn.Linear(features, self.hidden), activation(self.activation)]
        module = Body(*body)
        module.features = self.hidden or features
        return module

    def decoder(self, features: int, shape: tuple[int, ...], channels: int) -> nn.Module:
        sizes = scales(shape, len(self.channels))
        inwards = self.channels[::-1]
        body: list[nn.Module] = []
        if self.hidden:
            body += [nn.Linear(features, self.hidden), activation(self.activation)]
        start = (inwards[0], *sizes[-1])
        body += [nn.Linear(self.hidden or features, math.prod(start)), nn.Unflatten(1, start)]
        outwards = (*inwards[1:], channels * shape[0])
        for before, after, size in zip(inwards, outwards, sizes[-2::-1], strict=True):
            body += [*self._blocks(before, shape), activation(self.activation), Doubled(before, after, size)]
        return nn.Sequential(*body, nn.Unflatten(1, (channels, shape[0])))

    def _blocks(self, channels: int, shape: tuple[int, ...]) -> list[nn.Module]:
        return []  # plain convolutions: ResNet puts its blocks here


@dataclass(frozen=True)
class ResNet(Conv):
    """Convolutions with residual blocks at each scale (He et al. 2016), without normalisation: a block's last
    convolution starts at zero, so that the network starts as :class:`Conv` (Zhang et al. 2019).

    Args:
        channels: of each scale from the data inwards; each halves height and width.
        hidden: width of the fully connected layer, 0 for none.
        activation: between layers.
        blocks: residual blocks at each scale, in the encoder and in the decoder.
    """

    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("blocks", self.blocks)

    def _blocks(self, channels: int, shape: tuple[int, ...]) -> list[nn.Module]:
        return [_Block(channels, self.activation, shape) for _ in range(self.blocks)]


class _Block(nn.Module):
    def __init__(self, channels: int, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            activation(name),
            nn.Conv2d(channels, channels, **_taps(shape)),
            activation(name),
            silent(nn.Conv2d(channels, channels, **_taps(shape))),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Doubled(nn.Module):
    """(N, before, h, w) → (N, after, *size), with size at most (2h, 2w)."""

    write: nn.Sequential

    def __init__(self, before: int, after: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        # of a signal, one pixel high, each place becomes two and not four
        shuffle = nn.PixelShuffle(2) if size[0] > 1 else _Pairs()
        many = 4 if size[0] > 1 else 2
        self.write = nn.Sequential(nn.Conv2d(before, many * after, **_taps((0, *size))), shuffle)

    def forward(self, x: Tensor) -> Tensor:
        return self.write(x)[..., : self.size[0], : self.size[1]]


class _Pairs(nn.Module):
    """(N, 2C, 1, L) → (N, C, 1, 2L): two neighbours from the channels of one place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, 2)).movedim(2, -1).flatten(-2)


def _taps(shape: tuple[int, ...], stride: int = 1) -> dict[str, Any]:
    """Three taps along each axis, and one along that of a signal which is one pixel high."""
    long = [size > 1 for size in shape[1:]]
    return {
        "kernel_size": tuple(3 if each else 1 for each in long),
        "stride": tuple(stride if each else 1 for each in long),
        "padding": tuple(int(each) for each in long),
    }


def scales(shape: tuple[int, ...], count: int) -> list[tuple[int, int]]:
    """The sizes of an image and of its ``count`` halvings, the largest first.

    Raises:
        InputError: where x is no image, or is smaller than the scales ask for.
    """
    if len(shape) != 3:
        problem = f"convolutions need images, and an example has shape {shape}"
        raise InputError("model.network", problem, "choose ResidualMLP")
    sizes = [(shape[1], shape[2])]
    for _ in range(count):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    most = most_halvings(shape)
    if count > most:
        size = f"{shape[1]}×{shape[2]}"
        raise InputError("model.network.channels", f"has {count} scales for images of {size}", f"give at most {most}")
    return sizes


def most_halvings(shape: tuple[int, ...]) -> int:
    """How often an image of this shape can be halved, at least once."""
    return int(math.log2(max(2, min((size for size in shape[1:] if size > 1), default=2))))
