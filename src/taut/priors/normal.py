"""Normal priors: the standard one, and one whose mean and scale the layers above decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.errors import InputError
from taut.networks.base import Activation, activation, positive
from taut.networks.cells import convolution
from taut.priors.base import Prior, State

__all__ = ["ConditionalNormal", "StandardNormal"]


@dataclass(frozen=True)
class StandardNormal(Prior):
    """p(z) = N(0, I)."""

    codable: ClassVar[bool] = True
    normal: ClassVar[bool] = True
    independent: ClassVar[bool] = True

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Standard(event)


class _Standard(nn.Module):
    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(event), persistent=False)

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        zero = self.zero.expand(h.shape[0], *self.zero.shape)
        return distributions.DiagonalNormal(zero, zero)


@dataclass(frozen=True)
class ConditionalNormal(Prior):
    """p(z | h) = N(μ(h), diag σ²(h)), with μ and log σ from a network that starts at N(0, I): of one hidden layer where h is a
    vector, a convolution where it is a map.

    Args:
        hidden: width of the hidden layer.
        activation: of the hidden layer, and before the convolution.
    """

    codable: ClassVar[bool] = True
    independent: ClassVar[bool] = True
    maps: ClassVar[bool] = True
    alone: ClassVar[bool] = False

    hidden: int = 200
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("hidden", self.hidden)

    def build(self, event: tuple[int, ...], state: State) -> nn.Module:
        if not state:
            raise InputError(
                "model.prior",
                "is ConditionalNormal at the top, where there is nothing to condition on",
                "choose StandardNormal, and keep it for the layers below",
            )
        if isinstance(state, int):
            return _Conditional(event, from_above(state, self.hidden, self.activation, 2 * math.prod(event)))
        channels, size = state[0], state[1:]
        write = convolution(channels, 2 * math.prod(event) // math.prod(size), size)
        nn.init.zeros_(write.weight)
        nn.init.zeros_(write.bias)
        return _Conditional(event, nn.Sequential(activation(self.activation), write))


class _Conditional(nn.Module):
    def __init__(self, event: tuple[int, ...], network: nn.Module) -> None:
        super().__init__()
        self.event, self.network = event, network

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        params = self.network(h)
        # the bound stays in float32 whatever the networks compute in
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        mean, log_scale = params.reshape(h.shape[0], 2, *self.event).unbind(1)
        return distributions.DiagonalNormal(mean, distributions.soft(log_scale, 8))


def from_above(state: int, hidden: int, name: str, outputs: int) -> nn.Sequential:
    """A one-hidden-layer network of the state above a layer, whose outputs start at zero."""
    first, last = nn.Linear(state, hidden), nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, activation(name), last)
