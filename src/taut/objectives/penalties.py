"""Penalties: terms on a batch of codes that add to any objective.

They shape the aggregate posterior q(z) = mean over x of q(z|x), which no single example sees; each reads the trace of a
batch of B examples, with z of shape (K·B, D) from the steps' draws. None of them is part of a bound, and the reported ELBO
is without them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.config import Part
from taut.distributions import DiagonalNormal
from taut.errors import InputError
from taut.model import Trace

__all__ = ["DIP", "MMD", "Penalty", "TotalCorrelation"]


@dataclass(frozen=True)
class Penalty(Part, family=True):
    """A term added to the loss.

    Args:
        weight: what it is multiplied by.
    """

    by_path: ClassVar[bool] = True
    """Whether its gradient reaches q through z alone."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise InputError("weight", f"is {self.weight:g}", "give a finite number")

    @abstractmethod
    def term(self, trace: Trace) -> Tensor:
        """The term, a scalar, from the pass over a batch."""


@dataclass(frozen=True)
class TotalCorrelation(Penalty):
    """KL( q(z) ‖ Π_d q(z_d) ) in nats, estimated within the batch (Chen et al. 2018, by minibatch-weighted sampling).

    With weight w on top of the ELBO this is the β-TCVAE of β = 1 + w. The estimate replaces q(z) by the mean of q(z|x)
    over the batch; the size of the data set, a constant factor of both densities, cancels but for a constant.
    """

    weight: float = 5.0

    def term(self, trace: Trace) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            pairs = pairwise_log_prob(step.q, step.z)
            joint = pairs.sum(2).logsumexp(1)
            product = pairs.logsumexp(1).sum(1)
            total = total + (joint - product).mean() + (pairs.shape[2] - 1) * math.log(pairs.shape[1])
        return total


@singledispatch
def pairwise_log_prob(q: Distribution, z: Tensor) -> Tensor:
    """log q(z_i,d | x_j) for all pairs, (N, N, D); for posteriors that factorise over dimensions.

    Raises:
        InputError: where q does not factorise.
    """
    name = type(q).__name__
    raise InputError("objective.penalties", f"total correlation needs a posterior that factorises, not {name}",
                     "choose DiagonalNormal, or the MMD penalty")  # fmt: skip


@pairwise_log_prob.register
def _(q: DiagonalNormal, z: Tensor) -> Tensor:
    mu, log_scale, z = q.mu.flatten(1), q.log_scale.flatten(1), z.flatten(1)
    scaled = (z.unsqueeze(1) - mu) * (-log_scale).exp()
    return -0.5 * scaled.square() - log_scale - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class MMD(Penalty):
    """The squared maximum mean discrepancy between the batch's draws of z and as many from the prior (InfoVAE, Zhao et al.
    2019; WAE, Tolstikhin et al. 2018), with inverse multiquadric kernels C/(C + ‖a − b‖²) of seven scales. Unbiased, so
    it may fall below zero.
    """

    weight: float = 100.0

    def term(self, trace: Trace) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            z, drawn = step.z.flatten(1), step.p.sample().flatten(1)
            total = total + _mean_off(_kernel(z, z)) + _mean_off(_kernel(drawn, drawn)) - 2 * _kernel(z, drawn).mean()
        return total


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    square = (a.unsqueeze(1) - b).square().sum(2)
    base = 2.0 * a.shape[1]  # the mean squared distance of two draws from N(0, I)
    return sum(base * scale / (base * scale + square) for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) / 7


def _mean_off(kernel: Tensor) -> Tensor:
    """The mean over pairs of two different draws."""
    n = kernel.shape[0]
    return (kernel.sum() - kernel.diagonal().sum()) / max(1, n * (n - 1))


@dataclass(frozen=True)
class DIP(Penalty):
    """Σ off-diagonal² + Σ (diagonal − 1)² of the covariance of the codes over the batch (DIP-VAE, Kumar et al. 2018).

    Args:
        weight: what it is multiplied by.
        of_means: the covariance of the posterior means (DIP-VAE-I); else that of z, the mean posterior variance added
            (DIP-VAE-II).
        diagonal: the weight of the diagonal relative to the rest.
    """

    by_path: ClassVar[bool] = False

    weight: float = 10.0
    of_means: bool = True
    diagonal: float = 10.0

    def term(self, trace: Trace) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            mean = step.q.mean.flatten(1)
            centred = mean - mean.mean(0)
            covariance = centred.T @ centred / max(1, len(mean) - 1)
            if not self.of_means:
                covariance = covariance + _variance(step.q).flatten(1).mean(0).diag()
            own = covariance.diagonal()
            off = covariance.square().sum() - own.square().sum()
            total = total + off + self.diagonal * (own - 1).square().sum()
        return total


def _variance(q: Distribution) -> Tensor:
    """Var q(z|x), refused where q does not know it."""
    try:
        return q.variance
    except NotImplementedError:
        name = type(q).__name__
        raise InputError("objective.penalties", f"DIP of z needs the variance of the posterior, and {name} knows none",
                         "leave of_means at true, or choose DiagonalNormal") from None  # fmt: skip
