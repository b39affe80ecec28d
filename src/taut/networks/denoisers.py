"""Networks that find what noise has been added: z_t and γ_t → numbers for each element of z, such as the velocity v̂ of
:mod:`taut.distributions.diffusion`.

They are told the noise by waves of γ, sin and cos of 2^k π γ/32 for k from 0 to 6, and what the model is conditioned on
as a vector h, as maps, numbers for each element of z, or both. The last layer starts at zero: so the network of N(0, I)
is v̂ = 0.

Data of many levels lie so close together that a network must see differences of z of a few thousandths. Waves of z
itself, sin and cos of 2ⁿ π z, show them (Kingma et al. 2021).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taut.config import Part
from taut.errors import InputError
from taut.networks.base import Activation, activation, positive, silent
from taut.networks.convolutional import Doubled, most_halvings, scales

__all__ = ["Denoiser", "DenoisingMLP", "UNet", "built", "default_denoiser"]

_WAVES = 7  # of γ


class Denoiser(Part, family=True):
    """The network of a diffusion model."""

    @abstractmethod
    def build(self, shape: tuple[int, ...], state: int = 0, maps: int = 0, outputs: int = 1) -> nn.Module:
        """A module z (M, *shape), γ (M,), h (M, state), m (M, maps, *shape) → (M, outputs, *shape), zero at first.

        Args:
            shape: of one z.
            state: width of h; 0 for none.
            maps: numbers of m for each element of z; 0 for none.
            outputs: how many numbers are found for each element.
        """


def default_denoiser(shape: tuple[int, ...]) -> Denoiser:
    """A U-Net for images of at least four pixels a side, else a perceptron."""
    return UNet() if len(shape) == 3 and min(shape[1:]) >= 4 else DenoisingMLP()


def built(spec: Denoiser | None, owner: str, shape: tuple[int, ...], **told: int) -> nn.Module:
    """The network of the part of a model that is called ``owner``, the default one if left open.

    Raises:
        InputError: where it does not fit the shape, naming it as a field of its owner.
    """
    try:
        return (spec or default_denoiser(shape)).build(shape, **told)
    except InputError as error:
        raise error.under(owner) from None


@dataclass(frozen=True)
class DenoisingMLP(Denoiser):
    """A residual perceptron, each block told the noise: for vectors, and for small images of few pixels.

    Args:
        width: of the residual stream and inside the blocks.
        blocks: how many.
        waves: n of each sin and cos of 2ⁿ π z by which z is shown besides itself.
        activation: inside the blocks.

    >>> network = DenoisingMLP().build((5,), state=2)
    >>> network(torch.zeros(3, 5), torch.zeros(3), torch.zeros(3, 2)).shape
    torch.Size([3, 1, 5])
    """

    width: int = 256
    blocks: int = 3
    waves: tuple[int, ...] = ()
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("width", self.width)
        positive("blocks", self.blocks)
        _require_waves(self.waves)

    def build(self, shape: tuple[int, ...], state: int = 0, maps: int = 0, outputs: int = 1) -> nn.Module:
        return _Perceptron(self, shape, state, maps, outputs)


@dataclass(frozen=True)
class UNet(Denoiser):
    """Residual convolutions down to a small image and up again, each scale's way up shown what it was on the way down
    (Ronneberger, Fischer and Brox 2015; Ho, Jain and Abbeel 2020). Images of every size return to it.

    Args:
        channels: of each scale, the first that of the data; each next has half the height and width, rounded up.
        blocks: residual blocks at each scale, on either way.
        waves: n of each sin and cos of 2ⁿ π z by which z is shown besides itself.
        activation: inside the blocks.

    >>> network = UNet(channels=(8, 16)).build((1, 9, 7), maps=2, outputs=4)
    >>> network(torch.zeros(3, 1, 9, 7), torch.zeros(3), maps=torch.zeros(3, 2, 1, 9, 7)).shape
    torch.Size([3, 4, 1, 9, 7])
    """

    channels: tuple[int, ...] = (32, 64)
    blocks: int = 1
    waves: tuple[int, ...] = ()
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        if not self.channels:
            raise InputError("channels", "is empty", "give at least one scale, such as 32,64")
        positive("channels", *self.channels)
        positive("blocks", self.blocks)
        _require_waves(self.waves)

    def build(self, shape: tuple[int, ...], state: int = 0, maps: int = 0, outputs: int = 1) -> nn.Module:
        return _UNet(self, shape, state, maps, outputs)


def _require_waves(waves: tuple[int, ...]) -> None:
    for n in waves:
        if not 0 <= n <= 12:
            raise InputError("waves", f"is {n}", "give numbers from 0 to 12, such as 6,7")


class _Told(nn.Module):
    """γ (M,) and h (M, state) → (M, width)."""

    rates: Tensor

    def __init__(self, width: int, state: int, name: str) -> None:
        super().__init__()
        self.register_buffer("rates", math.pi / 32 * 2.0 ** torch.arange(_WAVES), persistent=False)
        self.read = nn.Sequential(
            nn.Linear(2 * _WAVES + state, width), activation(name), nn.Linear(width, width), activation(name)
        )

    def forward(self, gamma: Tensor, h: Tensor | None) -> Tensor:
        angles = gamma.unsqueeze(1) * self.rates
        told = [angles.sin(), angles.cos()]
        return self.read(torch.cat(told if h is None or not h.shape[1] else [*told, h], 1))


def _shown(z: Tensor, waves: tuple[int, ...], maps: Tensor | None) -> Tensor:
    """z, its waves, and maps (M, maps, *shape), along axis 1."""
    angles = [2.0**n * math.pi * z for n in waves]
    shown = [z, *(wave for angle in angles for wave in (angle.sin(), angle.cos()))]
    return torch.cat(shown if maps is None else [*shown, maps.flatten(1, 2)], 1)


class _Perceptron(nn.Module):
    def __init__(self, spec: DenoisingMLP, shape: tuple[int, ...], state: int, maps: int, outputs: int) -> None:
        super().__init__()
        self.waves, self.outputs, size = spec.waves, outputs, math.prod(shape)
        self.told = _Told(spec.width, state, spec.activation)
        self.first = nn.Linear(size * (1 + 2 * len(spec.waves) + maps), spec.width)
        self.blocks = nn.ModuleList(_Layer(spec.width, spec.activation) for _ in range(spec.blocks))
        self.last = silent(nn.Linear(spec.width, outputs * size))
        self.norm = nn.Sequential(nn.LayerNorm(spec.width), activation(spec.activation))

    def forward(self, z: Tensor, gamma: Tensor, h: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        told = self.told(gamma, h)
        x = self.first(_shown(z.flatten(1), self.waves, None if maps is None else maps.flatten(2)))
        for block in self.blocks:
            x = block(x, told)
        return self.last(self.norm(x)).view(len(z), self.outputs, *z.shape[1:])


class _Layer(nn.Module):
    """x + W₂ φ( W₁ norm(x) + W₃ told )."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.norm, self.read, self.told = (
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.Linear(width, width, bias=False),
        )
        self.write = nn.Sequential(activation(name), nn.Linear(width, width))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return x + self.write(self.read(self.norm(x)) + self.told(told))


class _UNet(nn.Module):
    def __init__(self, spec: UNet, shape: tuple[int, ...], state: int, maps: int, outputs: int) -> None:
        super().__init__()
        self.waves, self.outputs, channels, name = spec.waves, outputs, spec.channels, spec.activation
        if len(shape) != 3:
            raise InputError("denoiser", f"is UNet, which needs images, and what it finds the noise of has shape {shape}",
                             "choose DenoisingMLP")  # fmt: skip
        if len(channels) > (most := most_halvings(shape) + 1):
            raise InputError("denoiser.channels", f"has {len(channels)} scales for images of {shape[1]}×{shape[2]}",
                             f"give at most {most}")  # fmt: skip
        sizes = scales(shape, len(channels) - 1)
        width = 4 * channels[0]
        self.told = _Told(width, state, name)
        self.first = nn.Conv2d(shape[0] * (1 + 2 * len(spec.waves) + maps), channels[0], 3, padding=1)
        self.downs, self.ups, self.shrinks, self.grows = (nn.ModuleList() for _ in range(4))
        for i, here in enumerate(channels):
            self.downs.append(nn.ModuleList(_Block(here, here, width, name) for _ in range(spec.blocks)))
            both = here if i == len(channels) - 1 else 2 * here
            rows = [_Block(both if j == 0 else here, here, width, name) for j in range(spec.blocks)]
            self.ups.append(nn.ModuleList(rows))
        for before, after, size in zip(channels, channels[1:], sizes, strict=False):
            self.shrinks.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            self.grows.append(Doubled(after, before, size))
        self.norm = nn.Sequential(_normed(channels[0]), activation(name))
        self.last = silent(nn.Conv2d(channels[0], outputs * shape[0], 3, padding=1))

    def forward(self, z: Tensor, gamma: Tensor, h: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        told, x, kept = self.told(gamma, h), self.first(_shown(z, self.waves, maps)), []
        for i, blocks in enumerate(self.downs):
            x = self.shrinks[i - 1](x) if i else x
            for block in blocks:
                x = block(x, told)
            kept.append(x)
        for i in reversed(range(len(kept))):
            x = torch.cat([self.grows[i](x), kept[i]], 1) if i < len(self.grows) else x
            for block in self.ups[i]:
                x = block(x, told)
        return self.last(self.norm(x)).unflatten(1, (self.outputs, -1))


class _Block(nn.Module):
    """x + W₂ φ(norm( W₁ φ(norm(x)) + W₃ told )), with convolutions for W₁ and W₂."""

    def __init__(self, before: int, after: int, told: int, name: str) -> None:
        super().__init__()
        self.read = nn.Sequential(_normed(before), activation(name), nn.Conv2d(before, after, 3, padding=1))
        self.told = nn.Linear(told, after, bias=False)
        self.write = nn.Sequential(_normed(after), activation(name), nn.Conv2d(after, after, 3, padding=1))
        self.along = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return self.along(x) + self.write(self.read(x) + self.told(told)[..., None, None])


def _normed(channels: int) -> nn.Module:
    """Normalised over groups of at least four channels, at most eight of them."""
    return nn.GroupNorm(max(n for n in range(1, 9) if channels % n == 0 and n <= max(1, channels // 4)), channels)
