"""Probabilities of counts, whole numbers from 0 with no greatest: Σ_k P(x = k) = 1 over all of them.

The parameters are log-means and log-dispersions, so that a known scale of an example, such as the number of molecules
counted in a cell, is an addition to the log-mean. Integers with a greatest value are refused: a count likelihood would
give probability to what cannot be, and its bound could not be set against that of a likelihood on those levels. Who
knows that such numbers are counts, and 16 only the largest seen, says so with ``--data.support counts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch import distributions as td

from taut import distributions
from taut.data import Statistics, Support
from taut.likelihoods.base import Likelihood

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]


class _Counts(Likelihood):
    scales: ClassVar[bool] = True

    def fits(self, support: Support) -> bool:
        return support.kind == "counts"


def _mean(statistics: Statistics) -> Tensor:
    """The mean, kept from 0: a count never seen may yet be."""
    return statistics.mean.clamp_min(1e-4)


def _log_theta(statistics: Statistics) -> Tensor:
    """log θ by the method of moments, θ = μ²/(σ² − μ), within bounds: it is infinite where nothing is overdispersed."""
    mean = _mean(statistics)
    return (mean.square() / (statistics.std.square() - mean).clamp_min(1e-8)).clamp(0.01, 1000).log()


@dataclass(frozen=True)
class Poisson(_Counts):
    """P(x=k) = μ^k e^{−μ}/k!: counts of independent events, mean and variance μ; the decoder gives log μ."""

    def outputs(self, support: Support) -> int:
        return 1

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.Poisson(*params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return _mean(statistics).log().unsqueeze(0)


@dataclass(frozen=True)
class NegativeBinomial(_Counts):
    """Counts of mean μ and variance μ + μ²/θ, more spread than Poisson's, which θ → ∞ is.

    P(x=k) = Γ(θ+k)/(Γ(θ) k!) (θ/(θ+μ))^θ (μ/(θ+μ))^k. The decoder gives log μ and log θ for each element; 1/θ is the
    dispersion. This is the mean–dispersion form NB2 of Cameron and Trivedi (1986), as in scVI (Lopez et al. 2018).
    """

    def outputs(self, support: Support) -> int:
        return 2

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.NegativeBinomial(*params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        return torch.stack([_mean(statistics).log(), _log_theta(statistics)])


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(_Counts):
    """P(x=k) = π [k=0] + (1−π) NB(k; μ, θ): counts with zeros of another cause, such as molecules never caught.

    The decoder gives log μ, log θ and the log-odds of π for each element, NB in the mean–dispersion form of
    ``NegativeBinomial``; the mean is (1−π) μ (Greene 1994, as in scVI, Lopez et al. 2018).
    """

    def outputs(self, support: Support) -> int:
        return 3

    def elementwise(self, params: Tensor, shared: Tensor, support: Support) -> td.Distribution:
        return distributions.ZeroInflatedNegativeBinomial(*params.unbind(1))

    def start(self, support: Support, statistics: Statistics) -> Tensor:
        inflation = torch.full_like(statistics.mean, -3.0)  # 5% of zeros, taken out of the mean
        log_mean = _mean(statistics).log() + torch.nn.functional.softplus(inflation)
        return torch.stack([log_mean, _log_theta(statistics), inflation])
