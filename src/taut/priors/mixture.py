"""A learned mixture of normals.

    p(z) = Σ_k w_k N(z; μ_k, diag σ_k²)

It can follow the aggregated posterior, 1/N Σ_n q(z|x_n), where that falls into clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.errors import InputError
from taut.networks.base import positive
from taut.priors.base import Prior

__all__ = ["Mixture"]


@dataclass(frozen=True)
class Mixture(Prior):
    """p(z) = Σ_k w_k N(μ_k, diag σ_k²), weights, means and scales learned (Dilokthanakul et al. 2016).

    It starts near N(0, I): means drawn from N(0, 0.1), variances 0.9, equal weights. Its divergence is sampled. At a
    temperature the spread of every component is scaled. Below the top it is the same whatever the layers above say.

    Args:
        components: K, at most the number of training examples.
    """

    codable: ClassVar[bool] = True

    components: int = 50

    def __post_init__(self) -> None:
        positive("components", self.components)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Mixture(event, self.components)

    def check(self, examples: int) -> None:
        few_enough(self.components, examples)


def few_enough(components: int, examples: int) -> None:
    """Refuse more components than there are training examples to place them by."""
    if components > examples:
        problem = f"is {components:,}, more than there are training examples ({examples:,})"
        raise InputError("model.prior.components", problem, f"give at most {examples}")


class _Mixture(nn.Module):
    apart = 0.1  # the share of the initial variance that lies between the means

    def __init__(self, event: tuple[int, ...], components: int) -> None:
        super().__init__()
        apart = self.apart if components > 1 else 0.0
        self.means = nn.Parameter(math.sqrt(apart) * torch.randn(components, *event))
        self.log_scales = nn.Parameter(torch.full((components, *event), 0.5 * math.log(1 - apart)))
        self.log_weights = nn.Parameter(torch.zeros(components))

    def forward(self, h: Tensor) -> distributions.Mixture:
        normals = distributions.DiagonalNormal(self.means, self.log_scales)
        return distributions.Mixture(normals, self.log_weights, h.shape[0])
