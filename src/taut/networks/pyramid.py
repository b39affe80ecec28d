"""Bodies that keep a map of features at each of several scales, for layers of latents that lie on maps.

The encoder's maps are read by the layers of their scale, each in its own way; the decoder starts from the map that the
last layer leaves, at the finest scale. Images whose sides the coarsest scale divides have whole places at each of them.
Others may be padded: sizes halve and are rounded up, and the way back crops, so every size returns to itself:
28 → 14 → 7 → 4 → 2 → 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from taut.errors import InputError
from taut.networks.base import Network, positive
from taut.networks.cells import BottleneckCell, Cell, Place, convolution
from taut.networks.convolutional import most_halvings, scales

__all__ = ["Pyramid", "Tower", "Up"]


@dataclass(frozen=True)
class Pyramid(Network):
    """Residual convolutions for images, at scales that each halve height and width.

    Args:
        channels: of each scale's map, the finest first.
        patch: how many pixels a side one place of the finest map stands for, a power of two; 2 if left open, or 1 where
            images divide by the scales only so.
        pad: whether images that do not divide by the scales are read with a margin of zeros. If left open they are
            refused, unless channels and patch are left open too.
        cell: what each scale is made of.
        cells: how many of them the encoder has at each scale, and the decoder from the last layer's on.
    """

    maps: ClassVar[bool] = True

    channels: tuple[int, ...] = (64, 64)
    patch: int | None = None
    pad: bool | None = None
    cell: Cell = BottleneckCell()
    cells: int = 2

    def __post_init__(self) -> None:
        if not self.channels:
            raise InputError("channels", "is empty", "give at least one scale, such as 64,64")
        positive("channels", *self.channels)
        if self.cells < 0:
            raise InputError("cells", f"is {self.cells}", "give 0 or more")
        if self.patch is not None and (self.patch < 1 or self.patch & (self.patch - 1)):
            raise InputError("patch", f"is {self.patch}", "give 1, 2, 4 or 8")

    @property
    def scales(self) -> int:
        return len(self.channels)

    def fitted(self, shape: tuple[int, ...]) -> Pyramid:
        self._sizes(shape)
        patch = self._patch(shape)
        side = patch * 2 ** (self.scales - 1)
        whole = all(size % side == 0 for size in shape[1:])
        pad = self.pad
        if pad is None:  # who asked for nothing need not be told that it does not fit
            pad = not whole and self.patch is None and self.channels == Pyramid.channels
        if not (whole or pad):
            raise self._misfit(shape, patch, side)
        return replace(self, patch=patch, pad=pad)

    def in_words(self, shape: tuple[int, ...]) -> str:
        side = self._patch(shape) * 2 ** (self.scales - 1)
        if all(size % side == 0 for size in shape[1:]):
            return super().in_words(shape)
        return f"{super().in_words(shape)} of images padded to {_image(_up(shape, side))}"

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        sizes = self._sizes(shape)
        reads: list[nn.Module] = [_Patches(shape, self.channels[0], sizes[0], self._patch(shape))]
        for before, after in zip(self.channels, self.channels[1:], strict=False):
            reads.append(nn.Sequential(nn.SiLU(), convolution(before, after, sizes[0], stride=2)))
        features = tuple((c, *size) for c, size in zip(self.channels, sizes, strict=True))
        return _Upwards(reads, features, self.cell, self.cells)

    def decoder(self, features: int | tuple[int, int, int], shape: tuple[int, ...], channels: int) -> nn.Module:
        sizes = self._sizes(shape)
        if isinstance(features, int):
            start, i = (self.channels[-1], *sizes[-1]), len(sizes) - 1
            body: list[nn.Module] = [nn.Linear(features, math.prod(start)), nn.Unflatten(1, start)]
        else:
            body, i = [], [(c, *size) for c, size in zip(self.channels, sizes, strict=True)].index(features)
        body += self._cells(self.channels[i], sizes[i])
        for finer in range(i)[::-1]:
            body += [Up(self.channels[finer + 1], self.channels[finer], sizes[finer + 1], sizes[finer])]
            body += self._cells(self.channels[finer], sizes[finer])
        last = Up(self.channels[0], channels * shape[0], sizes[0], shape[1:], self._patch(shape), bias=False)
        last.write.weight.data.mul_(0.3)
        return nn.Sequential(*body, nn.SiLU(), last, nn.Unflatten(1, (channels, shape[0])))

    def _cells(self, channels: int, size: tuple[int, int]) -> list[nn.Module]:
        return [self.cell.build(channels, size) for _ in range(self.cells)]

    def _sizes(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        if len(shape) != 3:
            raise InputError("model.network", f"Pyramid needs images, and an example has shape {shape}", "choose Tower")
        patch, most = self._patch(shape), most_halvings(shape)
        first = int(math.log2(patch))
        if first > most:
            raise InputError("model.network.patch", f"is {patch} for images of {shape[1]}×{shape[2]}",
                             f"give at most {2**most}")  # fmt: skip
        if self.scales - 1 > most - first:
            of = f" with patches of {patch}" if first else ""
            raise InputError("model.network.channels",
                             f"has {self.scales} scales for images of {shape[1]}×{shape[2]}{of}",
                             f"give at most {most - first + 1}")  # fmt: skip
        return scales(shape, first + self.scales - 1)[first:]

    def _patch(self, shape: tuple[int, ...]) -> int:
        """The patch that was given, or else 2, or 1 where images divide by the scales only so, or are too small for 2."""
        if self.patch is not None:
            return self.patch
        side = 2**self.scales
        whole = [all(size % each == 0 for size in shape[1:]) for each in (side, side // 2)]
        return 1 if whole == [False, True] or self.scales > most_halvings(shape) else 2

    def _misfit(self, shape: tuple[int, ...], patch: int, side: int) -> InputError:
        """What to say of images that the scales do not divide."""
        most = math.gcd(*shape[1:], 2**30)  # the largest power of two that divides them
        scales = _scales(self.scales)
        if self.patch is not None and most >= side // patch:
            field, has, less = "model.network.patch", f"is {patch} at {scales}", f"at most {most * patch // side}"
        else:
            field, has = "model.network.channels", f"has {scales} with patches of {patch}"
            few = most // min(most, patch)
            less = f"at most {_scales(few.bit_length())}" + (
                "" if most >= patch else f" with model.network.patch {most}"
            )
        down = tuple(max(side, size // side * side) for size in shape[1:])
        up = _up(shape, side)
        sizes = dict.fromkeys(_image(each) for each in (down, up))
        return InputError(field, f"{has}, which fit sides that {side} divides, and images are "
                          f"{_image(shape[1:])}; the nearest that fit are {' and '.join(sizes)}",
                          f"give {less}, or model.network.pad true for zeros up to {_image(up)}")  # fmt: skip


def _scales(count: int) -> str:
    return f"{count} scale{'s'[: count != 1]}"


def _image(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def _up(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """Height and width rounded up to multiples of a side."""
    return tuple(-(-size // side) * side for size in shape[1:])


class _Upwards(nn.Module):
    """x → one map a scale, (N, C, H, W) each, the finest first; their shapes are ``features``."""

    def __init__(
        self, reads: list[nn.Module], features: tuple[tuple[int, int, int], ...], cell: Cell, cells: int
    ) -> None:
        super().__init__()
        self.features = features
        self.scales = nn.ModuleList(
            nn.Sequential(read, *(cell.build(c, tuple(size)) for _ in range(cells)))
            for read, (c, *size) in zip(reads, features, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for scale in self.scales:
            x = scale(x)
            maps.append(x)
        return tuple(maps)


class _Patches(nn.Module):
    """The first convolution, over an image made large enough by zeros at its right and lower edge."""

    def __init__(self, shape: tuple[int, ...], channels: int, size: tuple[int, int], patch: int) -> None:
        super().__init__()
        self.edge = (0, patch * size[1] - shape[2], 0, patch * size[0] - shape[1])
        whole = (patch * size[0], patch * size[1])
        self.read = convolution(shape[0], channels, whole, patch + 2, stride=patch, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(functional.pad(x, self.edge))


class Up(nn.Module):
    """(N, before, h, w) → (N, after, *to), by a convolution that writes ``times``² places for one, and a crop.

    Args:
        before: channels that come.
        after: channels that go.
        size: (h, w).
        to: at most (times · h, times · w).
        times: 2 if left open, or 1 where the size stays.
        bias: whether there is one.
    """

    crop: tuple[int, int]
    times: int
    write: nn.Module

    def __init__(
        self,
        before: int,
        after: int,
        size: tuple[int, int],
        to: tuple[int, int],
        times: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        times = (1 if size == to else 2) if times is None else times
        self.crop, self.times = to, times
        self.write = convolution(before, times**2 * after, size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.write(x), self.times)[..., : self.crop[0], : self.crop[1]]


@dataclass(frozen=True)
class Tower(Network):
    """Perceptrons for data of any shape whose levels are vectors, maps of one place: the networks of ladders of vectors.

    Args:
        hidden: width of each level, the one next to the data first.
        cell: what stands between two levels.
        cells: how many of them.
    """

    maps: ClassVar[bool] = True

    hidden: tuple[int, ...] = (512, 256, 128)
    cell: Cell = BottleneckCell(1.0)
    cells: int = 1

    def __post_init__(self) -> None:
        if not self.hidden:
            raise InputError("hidden", "is empty", "give at least one level, such as 512,256")
        positive("hidden", *self.hidden)
        if self.cells < 0:
            raise InputError("cells", f"is {self.cells}", "give 0 or more")

    @property
    def scales(self) -> int:
        return len(self.hidden)

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        size = math.prod(shape)
        reads: list[nn.Module] = [
            nn.Sequential(nn.Flatten(), nn.Linear(size, self.hidden[0]), nn.Unflatten(1, (-1, 1, 1)))
        ]
        for before, after in zip(self.hidden, self.hidden[1:], strict=False):
            reads.append(nn.Sequential(nn.SiLU(), Place(before, after)))
        return _Upwards(reads, tuple((width, 1, 1) for width in self.hidden), self.cell, self.cells)

    def decoder(self, features: int | tuple[int, int, int], shape: tuple[int, ...], channels: int) -> nn.Module:
        body: list[nn.Module] = []
        if isinstance(features, int):
            width, levels = features, [*self.hidden[::-1]]
            body = [nn.Unflatten(1, (width, 1, 1))]
        else:
            width = features[0]
            levels = [width, *self.hidden[: self.hidden.index(width)][::-1]]
        for level in levels:
            if level != width:
                body += [Place(width, level)]
            body += [self.cell.build(level, (1, 1)) for _ in range(self.cells)]
            width = level
        last = nn.Linear(width, channels * math.prod(shape), bias=False)
        last.weight.data.mul_(0.5)
        return nn.Sequential(*body, nn.SiLU(), nn.Flatten(), last, nn.Unflatten(1, (channels, *shape)))
