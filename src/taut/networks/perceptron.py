"""Fully connected bodies: a plain perceptron and a residual one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taut.errors import InputError
from taut.networks.base import Activation, Body, Network, activation, positive, silent

__all__ = ["MLP", "ResidualMLP"]


@dataclass(frozen=True)
class MLP(Network):
    """Fully connected layers, the decoder's in reverse order.

    Args:
        hidden: widths from the data inwards.
        activation: between layers.
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("hidden", *self.hidden)

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        body = Body(nn.Flatten(), *self._stack((math.prod(shape), *self.hidden)))
        body.features = self.hidden[-1] if self.hidden else math.prod(shape)
        return body

    def decoder(self, features: int, shape: tuple[int, ...], channels: int) -> nn.Module:
        widths = (features, *reversed(self.hidden))
        return nn.Sequential(*self._stack(widths), _write(widths[-1], shape, channels))

    def _stack(self, widths: tuple[int, ...]) -> list[nn.Module]:
        return [
            module
            for inner, outer in zip(widths, widths[1:], strict=False)
            for module in (nn.Linear(inner, outer), activation(self.activation))
        ]


@dataclass(frozen=True)
class ResidualMLP(Network):
    """Residual blocks x + W₂ φ(W₁ norm(x)) between two linear maps; W₂ starts at zero, so depth costs nothing at first.

    Args:
        width: of the residual stream and inside the blocks.
        blocks: how many, in the encoder and in the decoder.
        activation: inside the blocks.
        dropout: share of a block's inner units dropped while training.
    """

    width: int = 512
    blocks: int = 2
    activation: Activation = "silu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        positive("width", self.width)
        positive("blocks", self.blocks)
        if not 0 <= self.dropout < 1:
            raise InputError("dropout", f"is {self.dropout:g}", "give a share from 0 up to but not including 1")

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        body = Body(nn.Flatten(), nn.Linear(math.prod(shape), self.width), *self._blocks())
        body.features = self.width
        return body

    def decoder(self, features: int, shape: tuple[int, ...], channels: int) -> nn.Module:
        return nn.Sequential(nn.Linear(features, self.width), *self._blocks(), _write(self.width, shape, channels))

    def _blocks(self) -> list[nn.Module]:
        blocks: list[nn.Module] = [_Block(self.width, self.activation, self.dropout) for _ in range(self.blocks)]
        return [*blocks, nn.LayerNorm(self.width), activation(self.activation)]


class _Block(nn.Module):
    def __init__(self, width: int, name: str, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            activation(name),
            nn.Dropout(dropout),
            silent(nn.Linear(width, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _write(width: int, shape: tuple[int, ...], channels: int) -> nn.Module:
    """The last map of a decoder; it has no bias, since the likelihood keeps one that starts at the data's mean."""
    last = nn.Linear(width, channels * math.prod(shape), bias=False)
    with torch.no_grad():
        last.weight.mul_(0.5)
    return nn.Sequential(last, nn.Unflatten(1, (channels, *shape)))
