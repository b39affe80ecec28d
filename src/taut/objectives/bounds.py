"""The evidence lower bound and the importance-weighted one.

    ELBO_β = E_q[ log p(x|z) ] − β KL( q(z|x) ‖ p(z) )

    IWAE_K = E[ log (1/K) Σ_k p(x, z_k)/q(z_k|x) ],   z_1 … z_K ~ q(z|x)

The second rises to log p(x) with K (Burda, Grosse and Salakhutdinov 2016). With β ≠ 1 the weights become
p(x|z) (p(z)/q(z|x))^β, which is no bound; what is reported as the ELBO is always taken at β = 1.

Two other ways to weigh the rate, against a code that dies or for one of a chosen size:

    free bits   Σ_g max( λ, mean over the batch of KL_g )        no pressure on a group below λ   (Kingma et al. 2016)
    capacity    β | KL − C |                                     a rate of C nats                 (Burgess et al. 2018)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from taut.data import Batch
from taut.errors import InputError
from taut.model import Trace
from taut.objectives.base import Objective

__all__ = ["ELBO", "IWAE", "Capacity"]


@dataclass(frozen=True)
class ELBO(Objective):
    """The negative evidence lower bound, distortion + β rate, with the rate in closed form where one exists.

    Args:
        beta: the weight of the rate; 1 is the evidence lower bound.
        samples: posterior samples per example and step.
        schedule: how β is reached.
        penalties: terms added to the loss.
        free_bits: λ, nats that each group may carry free of charge; the clamp is on the mean over the batch.
        group: what a group is: a latent dimension, or a whole layer.
    """

    free_bits: float = 0.0
    group: Literal["dimension", "layer"] = "dimension"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.free_bits < math.inf:
            raise InputError("free_bits", f"is {self.free_bits:g}", "give 0 or more nats")

    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        if beta == 0:
            return distortion.mean()
        return distortion.mean() + beta * self._rate(trace)

    def _rate(self, trace: Trace) -> Tensor:
        if not self.free_bits:
            return trace.rate().mean()
        parts = [step.kl.parts.mean(0) for step in trace.steps]
        if self.group == "layer":
            parts = [part.sum() for part in parts]
        return sum(part.clamp_min(self.free_bits).sum() for part in parts)


@dataclass(frozen=True)
class Capacity(Objective):
    """Distortion + β | rate − C |: the code is held at C nats, which the schedule lets in little by little.

    Args:
        beta: how firmly the rate is held; the schedule moves C, not this.
        samples: posterior samples per example and step.
        schedule: how C is reached.
        penalties: terms added to the loss.
        capacity: C, in nats per example.
    """

    beta: float = 10.0
    capacity: float = 25.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.capacity < math.inf:
            raise InputError("capacity", f"is {self.capacity:g}", "give 0 or more nats")
        if self.beta == 0:
            raise InputError("beta", "is 0, which holds the rate at nothing", "give a number above 0, such as 10")

    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        allowed = self.capacity * beta / self.beta
        return distortion.mean() + self.beta * (trace.rate().mean() - allowed).abs()


@dataclass(frozen=True)
class IWAE(Objective):
    """The negative importance-weighted bound with K samples."""

    needs_density: ClassVar[bool] = True

    samples: int = 5

    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        log_weight = -distortion + beta * (trace.log_prior() - trace.log_posterior())
        return (math.log(self.samples) - log_weight.logsumexp(0)).mean()
