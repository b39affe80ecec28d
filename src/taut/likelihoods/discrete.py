"""Probabilities of whole numbers: each sums to one over the support, so bounds of one kind of data can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.errors import InputError
from taut.likelihoods.base import LARGEST, Likelihood, bounded

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
]


def _logit_of_mean(statistics: Statistics, most: float) -> Tensor:
    """Where a mean starts as a logit, kept from the ends: a pixel never seen on may yet be."""
    return (statistics.mean / most).clamp(0.005, 0.995).logit().unsqueeze(0)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """P(x=1) = σ(logit), for x ∈ {0, 1}: the cross-entropy."""

    codable: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind == "binary"

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.Bernoulli(*params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return _logit_of_mean(statistics, 1)


@dataclass(frozen=True)
class Binomial(Likelihood):
    """x successes in n trials, for x ∈ {0, …, n}: the cross-entropy on grey values with its normalising constant."""

    codable: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def in_words(self, support: Support) -> str:
        return f"Binomial({support.size - 1})"

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.Binomial(support.size - 1, *params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return _logit_of_mean(statistics, support.size - 1)


@dataclass(frozen=True)
class BetaBinomial(Likelihood):
    """A binomial whose chance p is itself Beta(νp, ν(1−p))-distributed, for x ∈ {0, …, n}: grey values that vary more.

    The decoder gives the log-odds of p and log ν for each element; the mean is np and the variance
    np(1−p)(1 + (n−1)/(1+ν)), from the binomial's (ν → ∞) to that of only 0 and n (ν → 0) (Skellam 1948). With two
    levels ν would say nothing, so values {0, 1} have Bernoulli.
    """

    codable: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind == "integers"

    def outputs(self, support: Support) -> int:
        return 2

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.BetaBinomial(support.size - 1, *params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        n = support.size - 1
        p = (statistics.mean / n).clamp(0.005, 0.995)
        excess = statistics.std.square() / (n * p * (1 - p)) - 1  # (n − 1)/(1 + ν)
        return torch.stack([p.logit(), -(excess / max(1, n - 1)).clamp(0.01, 0.9).logit()])


@dataclass(frozen=True)
class Categorical(Likelihood):
    """A free probability for each of the levels: the most flexible, L numbers an element."""

    codable: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers", "categories")

    def outputs(self, support: Support) -> int:
        return support.size

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        if support.kind == "categories":
            return _Names(params.movedim(1, -1))
        return _Levels(params.movedim(1, -1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        levels = torch.arange(float(support.size)).view(-1, *[1] * statistics.mean.dim())
        spread = statistics.std.clamp_min(support.size / 16)
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
        value, logits = torch.broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def level_log_probs(self) -> Tensor:
        return self.logits


class _Names(_Levels):
    """A categorical whose categories have no order, so that only the likeliest stands for it."""

    @property
    def likeliest(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits.dtype)


@dataclass(frozen=True)
class DiscretisedLogistic(Likelihood):
    """A logistic density integrated over the bin of each level, the edge bins taking the tails (Salimans et al. 2017).

    Args:
        floor: the smallest scale s, in levels; below about 0.1 a bin already holds all the probability.
    """

    codable: ClassVar[bool] = True

    floor: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise InputError("floor", f"is {self.floor:g}", "give a number above 0")

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def in_words(self, support: Support) -> str:
        return f"{support.size}-level discretised logistic"

    def outputs(self, support: Support) -> int:
        return 2

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        location, log_scale = _in_levels(*params.unbind(1), support.size, self.floor)
        return distributions.DiscretisedLogistic(location, log_scale, support.size)

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        half = (support.size - 1) / 2
        return torch.stack([statistics.mean / half - 1, _logistic_scale(statistics, half).log()])


@dataclass(frozen=True)
class DiscretisedLogisticMixture(Likelihood):
    """A mixture of logistic densities integrated over the bin of each level, for each element (Salimans et al. 2017).

    The decoder gives location, log-scale and log-weight of each component: 3 numbers a component and element. The edge
    bins take the tails. The channels of a colour image are independent given z; PixelCNN++ also makes green depend on
    red and blue on both, which this one does not by itself, and under ``PixelCNN`` does.

    Args:
        components: how many logistics there are.
        floor: the smallest scale s, in levels; below about 0.1 a bin already holds all the probability.
    """

    codable: ClassVar[bool] = True

    components: int = 5
    floor: float = 0.05

    def __post_init__(self) -> None:
        if self.components < 1:
            raise InputError("components", f"is {self.components}", "give 1 or more")
        if not 0 < self.floor < math.inf:
            raise InputError("floor", f"is {self.floor:g}", "give a number above 0")

    def fits(self, support: Support) -> bool:
        return support.kind in ("binary", "integers")

    def outputs(self, support: Support) -> int:
        return 3 * self.components

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        parts = params.unflatten(1, (self.components, 3)).movedim(1, -1)  # (N, 3, *shape, components)
        location, log_scale, log_weight = parts.unbind(1)
        location, log_scale = _in_levels(location, log_scale, support.size, self.floor)
        return distributions.DiscretisedLogisticMixture(log_weight, location, log_scale, support.size)

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        half = (support.size - 1) / 2
        places = torch.linspace(-0.5, 0.5, self.components) if self.components > 1 else torch.zeros(1)
        scale = _logistic_scale(statistics, half).log()
        return torch.cat(
            [
                torch.stack([(statistics.mean + place * statistics.std) / half - 1, scale, torch.zeros_like(scale)])
                for place in places
            ]
        )


def _in_levels(location: Tensor, log_scale: Tensor, levels: int, floor: float) -> tuple[Tensor, Tensor]:
    """m and log s in levels, of numbers in units of half the range, s smoothly kept above its floor."""
    half = (levels - 1) / 2
    return half * (1 + location), math.log(half) + bounded(log_scale, math.log(floor / half), LARGEST)


def _logistic_scale(statistics: Statistics, half: float) -> Tensor:
    """s of the data's standard deviation π s / √3, in units of half the range."""
    return (statistics.std * math.sqrt(3) / math.pi / half).clamp_min(0.02)
