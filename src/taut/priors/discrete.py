"""Priors over categories and over bits, every variable independent of the others given what is above.

    p(z | h) = Π_l π_l(h)^{z_l}                            one-hot rows z_l
    p(z | h) = Π_d σ(a_d(h))^{z_d} σ(−a_d(h))^{1 − z_d}    bits z_d

At the top, where h says nothing, the logits are learned numbers that all examples share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.networks.base import Activation, positive
from taut.priors.base import Prior, Space
from taut.priors.normal import from_above

__all__ = ["Bernoulli", "Categorical"]


@dataclass(frozen=True)
class _Independent(Prior):
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
        logits = self.shared.expand(n, *self.event) if self.network is None else self.network(h).view(n, *self.event)
        return self.family(logits)
