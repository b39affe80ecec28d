"""Probabilities of whole numbers: each sums to one over the support, so bounds of one kind of data can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.errors import InputError
from taut.likelihoods.base import Likelihood

__all__ = ["Bernoulli", "Binomial", "Categorical", "DiscretisedLogistic"]


def _logit_of_mean(statistics: Statistics, most: float) -> Tensor:
    """Where a mean starts as a logit, kept from the ends: a pixel never seen on may yet be."""
    return (statistics.mean / most).clamp(0.005, 0.995).logit().unsqueeze(0)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """P(x=1) = σ(logit), for x ∈ {0, 1}: the cross-entropy."""

    def fits(self, support: Support) -> bool:
        return support.kind == "binary"

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return td.Bernoulli(logits=params[:, 0], validate_args=False)

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return _logit_of_mean(statistics, 1)


@dataclass(frozen=True)
class Binomial(Likelihood):
    """x successes in n trials, for x ∈ {0, …, n}: the cross-entropy on grey values with its normalising constant."""

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return _Binomial(support.levels - 1, params[:, 0])

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return _logit_of_mean(statistics, support.levels - 1)


class _Binomial(td.Binomial):
    """torch's, with a log-probability that keeps its accuracy for large n and extreme logits."""

    def __init__(self, trials: int, logits: Tensor) -> None:
        super().__init__(torch.full((), float(trials), dtype=logits.dtype, device=logits.device), logits=logits,
                         validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        n = self.total_count
        choose = torch.lgamma(n + 1) - torch.lgamma(value + 1) - torch.lgamma(n - value + 1)
        up, down = torch.nn.functional.logsigmoid(self.logits), torch.nn.functional.logsigmoid(-self.logits)
        return choose + value * up + (n - value) * down


@dataclass(frozen=True)
class Categorical(Likelihood):
    """A free probability for each of the levels: the most flexible, L numbers an element."""

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def outputs(self, support: Support) -> int:
        return support.levels

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return _Levels(params.movedim(1, -1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        levels = torch.arange(float(support.levels)).view(-1, *[1] * statistics.mean.dim())
        spread = statistics.std.clamp_min(support.levels / 16)
        return (-0.5 * ((levels - statistics.mean) / spread).square()).clamp_min(-6.0)


class _Levels(td.Categorical):
    """A categorical whose categories are whole numbers, so that it has a mean."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.probs @ torch.arange(self.probs.shape[-1], dtype=self.probs.dtype, device=self.probs.device)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return super().sample(sample_shape).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.logits.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class DiscretisedLogistic(Likelihood):
    """A logistic density integrated over the bin of each level, the edge bins taking the tails (Salimans et al. 2017).

    Args:
        floor: the smallest scale s, in levels; below about 0.1 a bin already holds all the probability.
    """

    floor: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise InputError("floor", f"is {self.floor:g}", "give a number above 0")

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def outputs(self, support: Support) -> int:
        return 2

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        half = (support.levels - 1) / 2
        least = math.log(self.floor / half)
        location = half * (1 + params[:, 0])
        log_scale = math.log(half) + least + torch.nn.functional.softplus(params[:, 1] - least)
        return distributions.DiscretisedLogistic(location, log_scale, support.levels)

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        half = (support.levels - 1) / 2
        # a logistic of scale s has standard deviation π s / √3
        scale = (statistics.std * math.sqrt(3) / math.pi / half).clamp_min(0.02)
        return torch.stack([statistics.mean / half - 1, scale.log()])
