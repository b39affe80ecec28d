"""The evidence lower bound and the importance-weighted one.

    ELBO_β = E_q[ log p(x|z) ] − β KL( q(z|x) ‖ p(z) )

    IWAE_K = E[ log (1/K) Σ_k p(x, z_k)/q(z_k|x) ],   z_1 … z_K ~ q(z|x)

The second rises to log p(x) with K (Burda, Grosse and Salakhutdinov 2016). With β ≠ 1 the weights become
p(x|z) (p(z)/q(z|x))^β, which is no bound; what is reported as the ELBO is always taken at β = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taut.data import Batch
from taut.model import Trace
from taut.objectives.base import Objective

__all__ = ["ELBO", "IWAE"]


@dataclass(frozen=True)
class ELBO(Objective):
    """The negative evidence lower bound, distortion + β rate, with the rate in closed form where one exists."""

    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        if beta == 0:
            return distortion.mean()
        return (distortion + beta * trace.rate()).mean()


@dataclass(frozen=True)
class IWAE(Objective):
    """The negative importance-weighted bound with K samples."""

    needs_density: ClassVar[bool] = True

    samples: int = 5

    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        log_weight = -distortion + beta * (trace.log_prior() - trace.log_posterior())
        return (math.log(self.samples) - log_weight.logsumexp(0)).mean()
