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

from taut.errors import InputError
from taut.model import Trace
from taut.objectives.base import Objective

__all__ = ["ELBO", "IWAE", "Capacity"]


@dataclass(frozen=True)
class _Mean(Objective):
    """Distortion and rate weighed against one another, the mean over draws."""

    def pressure(self, trace: Trace, beta: float) -> list[Tensor | float]:
        """∂ loss / ∂ mean KL of each layer's parts: a number, or one a part, (G,)."""
        return [beta] * len(trace.steps)

    def values(self, distortion: Tensor, trace: Trace, beta: float, layer: int) -> Tensor:
        # what was picked further up is not this draw's doing; its own rate is, where no closed form speaks for all draws
        rest = [(step, weight) for step, weight in zip(trace.steps, self.pressure(trace, beta), strict=True)][layer:]
        if rest[0][0].kl.kind == "closed":
            rest = rest[1:]
        return -distortion - sum(trace.unfold((weight * step.kl.parts).sum(1)) for step, weight in rest)

    def combine(self, values: Tensor) -> Tensor:
        return values.mean(0)

    def credit(self, values: Tensor) -> Tensor:
        return values / len(values)


@dataclass(frozen=True)
class ELBO(_Mean):
    """The negative evidence lower bound, distortion + β rate, with the rate in closed form where one exists.

    Args:
        beta: the weight of the rate; 1 is the evidence lower bound.
        samples: posterior samples per example and step.
        estimator: of the gradient, one or one for each layer; by the posterior if left open.
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

    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        if beta == 0 and distortion.requires_grad:  # else only a prior learns, and the rate is all that it reads
            return distortion.mean()
        return distortion.mean() + beta * self._rate(trace)

    def _rate(self, trace: Trace) -> Tensor:
        if not self.free_bits:
            return trace.rate().mean()
        return sum(group.clamp_min(self.free_bits).sum() for group in self._groups(trace))

    def _groups(self, trace: Trace) -> list[Tensor]:
        parts = [step.kl.parts.mean(0) for step in trace.steps]
        return [part.sum(0, keepdim=True) for part in parts] if self.group == "layer" else parts

    def pressure(self, trace: Trace, beta: float) -> list[Tensor | float]:
        if not self.free_bits:
            return super().pressure(trace, beta)
        return [beta * (group > self.free_bits).to(group.dtype) for group in self._groups(trace)]


@dataclass(frozen=True)
class Capacity(_Mean):
    """Distortion + β | rate − C |: the code is held at C nats, which the schedule lets in little by little.

    Args:
        beta: how firmly the rate is held; the schedule moves C, not this.
        samples: posterior samples per example and step.
        estimator: of the gradient, one or one for each layer; by the posterior if left open.
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

    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        return distortion.mean() + self.beta * self._excess(trace, beta).abs()

    def _excess(self, trace: Trace, beta: float) -> Tensor:
        return trace.rate().mean() - self.capacity * beta / self.beta

    def pressure(self, trace: Trace, beta: float) -> list[Tensor | float]:
        return [self.beta * self._excess(trace, beta).sign()] * len(trace.steps)


@dataclass(frozen=True)
class IWAE(Objective):
    """The negative importance-weighted bound with K samples."""

    weighs: ClassVar[bool] = True

    samples: int = 5

    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        return -self.combine(self.values(distortion, trace, beta, 0)).mean()

    def values(self, distortion: Tensor, trace: Trace, beta: float, layer: int) -> Tensor:
        return beta * (trace.log_prior() - trace.log_posterior()) - distortion

    def combine(self, values: Tensor) -> Tensor:
        return values.logsumexp(0) - math.log(len(values))

    def credit(self, values: Tensor) -> Tensor:
        return self.combine(values).expand_as(values)

    def path_weight(self, values: Tensor, beta: float) -> Tensor:
        return (1 - beta) + beta * values.softmax(0)
