"""Penalties: terms that add to any objective.

Most shape the aggregate posterior q(z) = mean over x of q(z|x), which no single example sees; these read the trace of a
batch of B examples, with z of shape (K·B, D) from the steps' draws. None of them is part of a bound, and the reported ELBO
is without them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut.config import Part
from taut.errors import InputError
from taut.model import VAE, Trace
from taut.networks.cells import Place
from taut.posteriors import Posterior

__all__ = ["DIP", "MMD", "Penalty", "Spectral", "TotalCorrelation"]


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
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", f"is {self.weight:g}", "give 0 or more")

    def check(self, posterior: Posterior) -> None:
        """Refuse a posterior that the term does not exist for.

        Raises:
            InputError: with what would do.
        """

    def require(self, vae: VAE) -> None:
        """Refuse a model that has nothing for the term to act on.

        Raises:
            InputError: with what would do.
        """

    @abstractmethod
    def term(self, trace: Trace, vae: VAE) -> Tensor:
        """The term, a scalar, from the pass over a batch and the model that made it."""


@dataclass(frozen=True)
class TotalCorrelation(Penalty):
    """KL( q(z) ‖ Π_d q(z_d) ) in nats, estimated within the batch (Chen et al. 2018, by minibatch-weighted sampling).

    With weight w on top of the ELBO this is the β-TCVAE of β = 1 + w. The estimate replaces q(z) by the mean of q(z|x)
    over the batch; the size of the data set, a constant factor of both densities, cancels but for a constant.

    Args:
        weight: w.
    """

    weight: float = 5.0

    def check(self, posterior: Posterior) -> None:
        if not posterior.factorised:
            able = [
                name
                for name, member in sorted(Posterior.members.items())
                if member.factorised and "Pathwise" in member.estimators  # the term acts through the path of z
            ]
            name = type(posterior).__name__
            raise InputError("objective.penalties", f"TotalCorrelation needs a posterior of independent dimensions, not {name}",
                             f"choose one of {', '.join(able)}, or the MMD penalty")  # fmt: skip

    def term(self, trace: Trace, vae: VAE) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            pairs = step.q.log_prob_parts(step.z.unsqueeze(1))  # log q(z_i,d | x_j), (N, N, D)
            joint = pairs.sum(2).logsumexp(1)
            product = pairs.logsumexp(1).sum(1)
            total = total + (joint - product).mean() + (pairs.shape[2] - 1) * math.log(pairs.shape[1])
        return total


@dataclass(frozen=True)
class MMD(Penalty):
    """The squared maximum mean discrepancy between the batch's draws of z and as many from the prior (InfoVAE, Zhao et al.
    2019; WAE, Tolstikhin et al. 2018), with inverse multiquadric kernels C/(C + ‖a − b‖²) of seven scales about the
    median squared distance of two draws from the prior, or about 1 where that is zero, as of few bits or one draw alone.
    Unbiased, so it may fall below zero.

    Args:
        weight: what it is multiplied by.
    """

    weight: float = 100.0

    def term(self, trace: Trace, vae: VAE) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            z, drawn = step.z.flatten(1), step.p.sample().flatten(1)
            width = torch.cdist(drawn, drawn).square().median()
            width = torch.where(width > 0, width, 1.0)
            alike = [_kernel(one, two, width) for one, two in ((z, z), (drawn, drawn), (z, drawn))]
            total = total + _mean_off(alike[0]) + _mean_off(alike[1]) - 2 * alike[2].mean()
        return total


def _kernel(a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    square = (a.unsqueeze(1) - b).square().sum(2)
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    return sum((width * scale / (width * scale + square) for scale in scales), torch.zeros_like(width)) / 7


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

    def check(self, posterior: Posterior) -> None:
        if (posterior.heavy or not posterior.varied) and not self.of_means:
            name = f"{type(posterior).__name__} {'has' if posterior.heavy else 'knows'} none"
            raise InputError("objective.penalties", f"DIP of the variance of z needs one, and {name}",
                             "give of_means true, or choose another posterior")  # fmt: skip

    def term(self, trace: Trace, vae: VAE) -> Tensor:
        total = torch.zeros((), device=trace.steps[0].z.device)
        for step in trace.steps:
            mean = step.q.mean.flatten(1)
            centred = mean - mean.mean(0)
            covariance = centred.T @ centred / max(1, len(mean) - 1)
            if not self.of_means:
                covariance = covariance + step.q.variance.flatten(1).mean(0).diag()
            own = covariance.diagonal()
            off = covariance.square().sum() - own.square().sum()
            total = total + off + self.diagonal * (own - 1).square().sum()
        return total


@dataclass(frozen=True)
class Spectral(Penalty):
    """Σ over convolutions of the largest singular value of their weights, (out, in·kernel): a deep model whose maps
    stretch little changes little where x does, and its KL does not run away (NVAE, Vahdat and Kautz 2020).

    Each value is found from below by a few steps of power iteration. Maps of one place count as the convolutions they are.

    Args:
        weight: what it is multiplied by.
    """

    by_path: ClassVar[bool] = False

    weight: float = 0.1

    def require(self, vae: VAE) -> None:
        if not self._maps(vae):
            raise InputError("objective.penalties", "Spectral is of convolutions, and the model has none",
                             "choose a network of convolutions, or leave it off")  # fmt: skip

    def term(self, trace: Trace, vae: VAE) -> Tensor:
        return torch.stack([_stretch(weight) for weight in self._maps(vae)]).sum()

    def _maps(self, vae: VAE) -> list[Tensor]:
        return [module.weight.flatten(1) for module in vae.modules() if isinstance(module, nn.Conv2d | Place)]


def _stretch(weight: Tensor, steps: int = 8) -> Tensor:
    """About the largest singular value of a matrix, never more."""
    with torch.no_grad():
        right = weight.square().sum(0).sqrt()
        for _ in range(steps):
            right = weight.T @ (weight @ (right / right.norm().clamp_min(1e-12)))
        right = right / right.norm().clamp_min(1e-12)
    return (weight @ right).norm()
