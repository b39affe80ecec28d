"""Residual cells: maps of feature maps to themselves, h ← h + f(h), of which deep networks are made.

None normalises over a batch: a bound of one example must not depend on its neighbours, and a codec has to find the same
numbers twice. What keeps a deep stack near the identity instead is its start: the last map of every cell is scaled by
1/√depth, depth the number of cells in the stack (Child 2021), by :func:`by_depth`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from taut.config import Part
from taut.errors import InputError
from taut.networks.base import positive

__all__ = ["BottleneckCell", "Cell", "GatedCell", "Place", "SeparableCell", "by_depth", "convolution"]


def convolution(inner: int, outer: int, size: tuple[int, int], kernel: int = 3, **options: int) -> nn.Conv2d | Place:
    """A convolution that keeps the size of a map; of a map of one place it is a linear map, without taps on padding.

    Its weights lie channels last, and so do the maps that it writes: on most machines the faster way.
    """
    if max(size) == 1 and not options.keys() - {"bias"}:
        return Place(inner, outer, **options)
    if max(size) == 1:
        kernel, options = 1, {**options, "padding": 0}
    options = {"padding": kernel // 2, **options}
    return nn.Conv2d(inner, outer, kernel, **options).to(memory_format=torch.channels_last)


class Place(nn.Linear):
    """A linear map of the features at the one place of a map, (N, inner, 1, 1) → (N, outer, 1, 1): four times as fast as the
    convolution that it is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))[:, :, None, None]


@dataclass(frozen=True)
class Cell(Part, family=True):
    """What happens to a map of features between two stochastic layers."""

    @abstractmethod
    def inner(self, channels: int, size: tuple[int, int]) -> nn.Sequential:
        """f: (N, C, H, W) → the same shape, whose last map is a convolution.

        Args:
            channels: C.
            size: (H, W).
        """

    def build(self, channels: int, size: tuple[int, int]) -> nn.Module:
        """h → h + f(h), (N, C, H, W) both."""
        return _Residual(self.inner(channels, size))


class _Residual(nn.Module):
    def __init__(self, inner: nn.Sequential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(h)


@dataclass(frozen=True)
class BottleneckCell(Cell):
    """1×1 down, 3×3, 3×3, 1×1 up, a GELU before each: VDVAE's (Child 2021).

    Args:
        share: of the channels that the inner maps have.
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.share <= 4:
            raise InputError("share", f"is {self.share:g}", "give a number above 0, up to 4; 0.25 is usual")

    def inner(self, channels: int, size: tuple[int, int]) -> nn.Sequential:
        narrow = max(1, round(channels * self.share))
        widths = (channels, narrow, narrow, narrow, channels)
        body: list[nn.Module] = []
        for before, after, kernel in zip(widths[:-1], widths[1:], (1, 3, 3, 1), strict=True):
            body += [nn.GELU(), convolution(before, after, size, kernel)]
        return nn.Sequential(*body)


@dataclass(frozen=True)
class GatedCell(Cell):
    """Two 3×3 convolutions, an ELU before each, the second's outcome opened by a sigmoid gate: the conv ladder's.

    Args:
        dropout: share of the inner units dropped while training.
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise InputError("dropout", f"is {self.dropout:g}", "give a share from 0 up to but not including 1")

    def inner(self, channels: int, size: tuple[int, int]) -> nn.Sequential:
        first, second = convolution(channels, channels, size), convolution(channels, 2 * channels, size)
        return nn.Sequential(nn.ELU(), first, nn.ELU(), nn.Dropout2d(self.dropout), second, nn.GLU(1))


@dataclass(frozen=True)
class SeparableCell(Cell):
    """1×1 up, 5×5 depthwise, 1×1 down, a swish between, and squeeze-and-excitation: NVAE's (Vahdat and Kautz 2020), whose
    large receptive field costs few weights; theirs has batch normalisation too.

    Args:
        expansion: how many times the channels the inner maps have.
    """

    expansion: int = 3

    def __post_init__(self) -> None:
        positive("expansion", self.expansion)

    def inner(self, channels: int, size: tuple[int, int]) -> nn.Sequential:
        wide = self.expansion * channels
        return nn.Sequential(
            nn.SiLU(),
            convolution(channels, wide, size, 1),
            nn.SiLU(),
            convolution(wide, wide, size, 5, groups=wide),
            nn.SiLU(),
            convolution(wide, channels, size, 1),
            _Excite(channels),
        )


class _Excite(nn.Module):
    """Each channel times a number in (0, 1) that all channels' means decide (Hu, Shen and Sun 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(4, channels // 16)
        self.read, self.write = nn.Linear(channels, narrow), nn.Linear(narrow, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.write(functional.relu(self.read(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


@torch.no_grad()
def by_depth(modules: Iterable[nn.Module]) -> None:
    """Scale the last convolution of every cell in a stack by 1/√(number of cells), its bias to zero."""
    cells = [cell for module in modules for cell in module.modules() if isinstance(cell, _Residual)]
    for cell in cells:
        last = [map for map in cell.inner if isinstance(map, nn.Conv2d | Place)][-1]
        last.weight.mul_(1 / math.sqrt(len(cells)))
        nn.init.zeros_(last.bias)
