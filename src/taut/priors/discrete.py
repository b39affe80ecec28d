"""Priors over categories and over bits: every variable independent of the others given what is above, or one after the other.

    p(z | h) = Π_l π_l(h)^{z_l}                            one-hot rows z_l
    p(z | h) = Π_d σ(a_d(h))^{z_d} σ(−a_d(h))^{1 − z_d}    bits z_d
    p(z | h) = Π_l π_l(z_<l, h)^{z_l}                      one-hot rows in order

At the top, where h says nothing, the logits of the first two are learned numbers that all examples share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.networks.base import Activation, activation, positive
from taut.networks.masked import Masked
from taut.priors.base import Prior, Space
from taut.priors.normal import from_above

__all__ = ["AutoregressiveCategorical", "Bernoulli", "Categorical"]


@dataclass(frozen=True)
class _Independent(Prior):
    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True

    hidden: int = 200
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("hidden", self.hidden)


@dataclass(frozen=True)
class Categorical(_Independent):
    """Independent categories, learned probabilities at the top, which start equal; below it a one-hidden-layer network
    of the layers above gives them. At a temperature T the logits are divided by T.

    Args:
        hidden: width of the hidden layer, below the top.
        activation: of the hidden layer.
    """

    space: ClassVar[Space] = "categories"

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Logits(distributions.OneHot, event, state, self)


@dataclass(frozen=True)
class Bernoulli(_Independent):
    """Independent bits, learned probabilities at the top, which start at a half; below it a one-hidden-layer network of
    the layers above gives them. At a temperature T the log-odds are divided by T.

    Args:
        hidden: width of the hidden layer, below the top.
        activation: of the hidden layer.
    """

    space: ClassVar[Space] = "bits"

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Logits(distributions.Bits, event, state, self)


class _Logits(nn.Module):
    def __init__(
        self,
        family: type[distributions.OneHot | distributions.Bits],
        event: tuple[int, ...],
        state: int,
        spec: _Independent,
    ) -> None:
        super().__init__()
        self.family, self.event, self.shared, self.network = family, event, None, None
        if state:
            self.network = from_above(state, spec.hidden, spec.activation, math.prod(event))
        else:
            self.shared = nn.Parameter(torch.zeros(event))

    def forward(self, h: Tensor) -> distributions.OneHot | distributions.Bits:
        n = h.shape[0]
        logits = self.network(h).view(n, *self.event) if self.shared is None else self.shared.expand(n, *self.event)
        return self.family(logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits)


@dataclass(frozen=True)
class AutoregressiveCategorical(Prior):
    """p(z) = Π_l p(z_l | z_<l) over categories in order, every conditional read from one masked network (Germain et al. 2015).

    It starts uniform. Its divergence is sampled and comes per variable, unless the posterior is all on one value; a sample
    takes one pass for each latent; at a temperature T the logits of each conditional are divided by T. Below the top the
    network reads the state h as well.

    Args:
        hidden: widths of the masked network.
        activation: inside it.
    """

    codable: ClassVar[bool] = True
    space: ClassVar[Space] = "categories"

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("hidden", *self.hidden)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Autoregressive(event, state, self)


class _Autoregressive(nn.Module):
    def __init__(self, event: tuple[int, ...], state: int, spec: AutoregressiveCategorical) -> None:
        super().__init__()
        self.event = event
        size, categories = event
        # a unit of degree m sees z_1 … z_m; those of h, and of nothing, have degree 0
        places = torch.arange(size).repeat_interleave(categories)
        before = torch.cat([places + 1, torch.zeros(state, dtype=torch.long)])
        layers: list[nn.Module] = []
        for width in spec.hidden:
            degrees = torch.arange(width) % size if state else 1 + torch.arange(width) % max(1, size - 1)
            layers += [Masked(before, degrees), activation(spec.activation)]
            before = degrees
        last = Masked(before, places)
        self.network = nn.Sequential(*layers, last)
        with torch.no_grad():
            last.weight.mul_(0.01)
            last.bias.zero_()

    def conditionals(self, h: Tensor, z: Tensor) -> Tensor:
        """log π of every conditional, (..., N, L, K), of rows z (..., N, L, K) and the state h."""
        rows = z.flatten(-2)
        inputs = torch.cat([rows, h.expand(*rows.shape[:-1], -1)], -1) if h.shape[1] else rows
        return self.network(inputs).unflatten(-1, self.event).log_softmax(-1)

    def forward(self, h: Tensor) -> distributions.AutoregressiveOneHot:
        return distributions.AutoregressiveOneHot(partial(self.conditionals, h), h.shape[0], self.event, h)
