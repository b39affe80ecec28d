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
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from taut.errors import InputError
from taut.layers import Layer
from taut.likelihoods import Likelihood
from taut.model import Trace
from taut.objectives.base import Objective

__all__ = ["ELBO", "IWAE", "Capacity"]


@dataclass(frozen=True)
class _Mean(Objective):
    """The mean distortion, and a price of the mean divergences."""

    @property
    def linear(self) -> bool:
        """Whether the price is β times the rate, so that each draw pays for its own."""
        return False

    @abstractmethod
    def price(self, rates: Sequence[Tensor], sizes: Sequence[int], beta: float) -> Tensor:
        """What the mean KL of each layer's parts, (…, G) nats, costs: (…) nats; of layers of so many numbers each."""

    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        return distortion.mean() + self.price([step.kl.parts.mean(0) for step in trace.steps], _sizes(trace), beta)

    def values(self, distortion: Tensor, trace: Trace, beta: float, layer: int) -> Tensor:
        rates = [trace.unfold(trace.steps[i].kl.total) for i in _decided(trace, layer)] if self.linear else []
        return -distortion - beta * sum(rates)

    def shared(self, trace: Trace, beta: float, layer: int) -> Tensor | float:
        # the gain of a draw is the price without it, at the mean over all others, less the price with it
        decided = [] if self.linear else _decided(trace, layer)
        if not decided:
            return 0.0
        parts = [step.kl.parts.detach() for step in trace.steps]
        n = len(parts[0])
        means = [part.mean(0) for part in parts]
        without = [
            (n * mean - part) / max(1, n - 1) if i in decided else mean
            for i, (mean, part) in enumerate(zip(means, parts, strict=True))
        ]
        sizes = _sizes(trace)
        return n / trace.samples * trace.unfold(self.price(without, sizes, beta) - self.price(means, sizes, beta))

    def combine(self, values: Tensor) -> Tensor:
        return values.mean(0)

    def credit(self, values: Tensor) -> Tensor:
        return values / len(values)


def _decided(trace: Trace, layer: int) -> Sequence[int]:
    """The layers whose divergence depends on the draw of one: not those above it, which were picked before, and its own
    only where no closed form speaks for all draws."""
    return range(layer + (trace.steps[layer].kl.kind == "closed"), len(trace.steps))


def _sizes(trace: Trace) -> list[int]:
    """D_l, the numbers in a z of each layer: its KL need not come apart into as many parts."""
    return [step.z[0].numel() for step in trace.steps]


def _balanced(rates: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """The mean KL of each layer's parts, (…, G_l) nats, by its γ_l."""
    # where a KL is sampled its mean may fall below zero, and a share must not
    shares = [rate.detach().sum(-1).clamp_min(0) * size for rate, size in zip(rates, sizes, strict=True)]
    shares = torch.stack(torch.broadcast_tensors(*shares))
    weights = len(rates) * shares / shares.sum(0).clamp_min(torch.finfo(shares.dtype).tiny)
    return [weight.unsqueeze(-1) * rate for weight, rate in zip(weights, rates, strict=True)]


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
        balance: while β rises, weigh each layer's rate by γ_l ∝ D_l KL_l, with mean 1 and no gradient, D_l the number of its
            latents: layers that say little pay little, and do not die early (Vahdat and Kautz 2020).
    """

    free_bits: float = 0.0
    group: Literal["dimension", "layer"] = "dimension"
    balance: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.free_bits < math.inf:
            raise InputError("free_bits", f"is {self.free_bits:g}", "give 0 or more nats")

    def resolved(self, layers: Sequence[Layer], likelihood: Likelihood | None = None) -> Self:
        if self.balance and len(layers) == 1:
            raise InputError(
                "objective.balance", "weighs layers against each other, and the model has one", "leave it off"
            )
        if self.balance and self.schedule.factor(0, 2, 1) >= 1:
            raise InputError("objective.balance", f"acts while β rises, and under {type(self.schedule).__name__} it never does",
                             "leave it off, or choose another objective.schedule")  # fmt: skip
        return super().resolved(layers, likelihood)

    @property
    def linear(self) -> bool:
        return not (self.free_bits or self.balance)

    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        if not isinstance(beta, Tensor) and beta == 0:  # as a tensor it is never 0
            return distortion.mean()
        return super().loss(distortion, trace, beta)

    def price(self, rates: Sequence[Tensor], sizes: Sequence[int], beta: float) -> Tensor:
        if self.balance and beta < self.beta:
            rates = _balanced(rates, sizes)
        groups = [rate.sum(-1, keepdim=True) for rate in rates] if self.group == "layer" else rates
        if self.free_bits:
            groups = [group.clamp_min(self.free_bits) for group in groups]
        return beta * torch.as_tensor(sum(group.sum(-1) for group in groups))


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

    def price(self, rates: Sequence[Tensor], sizes: Sequence[int], beta: float) -> Tensor:
        return self.beta * abs(torch.as_tensor(sum(rate.sum(-1) for rate in rates)) - self.capacity * beta / self.beta)


@dataclass(frozen=True)
class IWAE(Objective):
    """The negative importance-weighted bound with K samples, nats (Burda, Grosse and Salakhutdinov 2016).

    Args:
        beta: the weight of log p(z) − log q(z|x) in each log-weight; 1 is the bound.
        samples: K, posterior samples per example and step.
        estimator: of the gradient, one or one for each layer; by the posterior if left open.
        schedule: how β is reached.
        penalties: terms added to the loss.
    """

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
