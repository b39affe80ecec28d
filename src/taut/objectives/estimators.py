"""Gradient estimators: how the gradient of a bound reaches the parameters of q through what was drawn from it.

With K draws z_k ~ q_φ(z|x) and values v_k, the log-weights log p(x|z_k) + β (log p(z_k) − log q(z_k)), an objective combines
the values to L: their mean (ELBO) or log (1/K) Σ_k exp v_k (IWAE), with w̃_k = ∂L/∂v_k, the normalised weights of IWAE.

Pathwise, z_k = g(ε_k; φ): all of ∂L/∂φ as autograd finds it (Kingma and Welling 2014). Two refinements leave the score
∂ log q(z_k)/∂φ out of it, which is zero on average under q but noise in a single draw:

    STL     ∂L/∂φ = Σ_k w̃_k ∂v_k/∂z_k ∂z_k/∂φ                         unbiased for the ELBO   (Roeder et al. 2017)
    DReG    ∂L/∂φ = Σ_k ( (1 − β) w̃_k + β w̃_k² ) ∂v_k/∂z_k ∂z_k/∂φ     unbiased for IWAE       (Tucker et al. 2019)

DReG follows from E[ w̃_k ∂ log q(z_k)/∂φ ] = E[ ∂w̃_k/∂z_k ∂z_k/∂φ ] with ∂w̃_k/∂z_k = (w̃_k − w̃_k²) ∂v_k/∂z_k. The identity asks
nothing of p, so a prior that shares φ, as VampPrior does, keeps its own gradient Σ_k w̃_k ∂ log p(z_k)/∂φ, which autograd adds.

Score function, for any q that has a density, z_k without a path (Williams 1992):

    ∂E[L]/∂φ = E[ Σ_k (c_k − b_k) ∂ log q(z_k)/∂φ + ∂L/∂φ ]

c_k is the credit of draw k, L itself or the part of it that draw k decides, and b_k a baseline that does not depend on
z_k. With L_−k for the combination of the other draws' values alone, and L_k← for that of all with v_k replaced by the mean
of the others,

    Score   b_k = 0, or a running mean of the credits
    RLOO    c_k − b_k = L − L_−k                                       (Kool, van Hoof and Welling 2019)
    VIMCO   c_k − b_k = L − L_k←                                       (Mnih and Rezende 2016)

Where L is a mean the last two are the same, and STL and DReG are.

Free bits and capacities are no means over draws: what they cost, f, is decided by the mean rate of a batch. The credit of a
draw is then the difference that it makes, f with it less f at the mean over all other draws of the batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from taut.config import Part
from taut.distributions import same_noise, taken
from taut.errors import InputError
from taut.model import Site, Step, draw

__all__ = ["RLOO", "STL", "VIMCO", "DReG", "Estimator", "Pathwise", "Score"]

Combine = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Estimator(Part, family=True):
    """How the gradient reaches the parameters of one layer's posterior."""

    pathwise: ClassVar[bool] = True
    """Whether the gradient passes through z."""

    least: ClassVar[int] = 1
    """The fewest samples per example that it works with."""

    def build(self) -> nn.Module:
        """The estimator's state: a module that :meth:`advantage` may keep numbers in."""
        return nn.Module()

    def advantage(self, values: Tensor, credit: Tensor, combine: Combine, state: nn.Module) -> Tensor:
        """c_k − b_k, (K, B) nats, of one whose gradient does not pass through z.

        Args:
            values: v_k, (K, B) nats, without gradient.
            credit: c_k, (K, B).
            combine: v (K, …) → L (…).
            state: what :meth:`build` made.
        """
        raise TypeError(f"{type(self).__name__} follows the path of z, and weighs no score")

    @abstractmethod
    def pick(self, site: Site) -> Step:
        """Pick a value at a site, with the path that this estimator wants."""


@dataclass(frozen=True)
class Pathwise(Estimator):
    """Through the reparameterised draw, the divergence in closed form where one exists (Kingma and Welling 2014)."""

    def pick(self, site: Site) -> Step:
        return draw(site)


@dataclass(frozen=True)
class STL(Estimator):
    """Sticking the landing: the pathwise gradient without the score, so that its noise vanishes as q nears the posterior
    (Roeder, Wu and Duvenaud 2017).

    The divergence is sampled. Unbiased for the ELBO; for IWAE with several samples it leaves out a term that is not zero.
    """

    def pick(self, site: Site) -> Step:
        z = site.q.rsample()
        with site.stopped() as q:
            return Step(site.q, site.p, z, q.log_prob(z), density=q)


@dataclass(frozen=True)
class DReG(Estimator):
    """Doubly reparameterised: STL with each path weighed as IWAE needs it, so that the encoder's signal does not fade as
    the number of samples grows (Tucker, Lawson, Gu and Maddison 2019). Under the ELBO it is STL.
    """

    def pick(self, site: Site) -> Step:
        if not site.h.requires_grad:  # nothing above that a path could lead to
            z = site.q.rsample()
            with site.stopped() as q:
                return Step(site.q, site.p, z, q.log_prob(z), density=q, drawn=z)
        # the path to this layer's own parameters is weighed, the one to the layers above is not: they weigh their own
        own = site.posterior(site.h.detach())
        with same_noise(site.h.device):
            z = own.rsample()
        with site.stopped() as q:
            through = q.rsample()
            both = z + (through - through.detach())
            return Step(site.q, site.p, both, q.log_prob(both), density=q, drawn=z)


@dataclass(frozen=True)
class _ScoreFunction(Estimator):
    pathwise: ClassVar[bool] = False

    def pick(self, site: Site) -> Step:
        q = site.q  # made outside of what keeps the draw without a path
        with torch.no_grad():
            z, _ = taken(q)
        return Step(q, site.p, z)


class _Running(nn.Module):
    """The mean of credits, and whether there was one."""

    mean: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))


@dataclass(frozen=True)
class Score(_ScoreFunction):
    """The score function, also known as REINFORCE (Williams 1992).

    Args:
        baseline: ``running``, the mean of the credits so far, fading by a tenth at each step; or ``none``.
    """

    baseline: Literal["running", "none"] = "running"

    def build(self) -> nn.Module:
        return _Running() if self.baseline == "running" else nn.Module()

    def advantage(self, values: Tensor, credit: Tensor, combine: Combine, state: nn.Module) -> Tensor:
        if not isinstance(state, _Running):
            return credit
        level = torch.where(state.seen > 0, state.mean, 0.0).clone()  # of earlier steps only: it must not know this z
        with torch.no_grad():
            here = credit.mean().to(state.mean.dtype)
            state.mean.copy_(torch.where(state.seen > 0, torch.lerp(state.mean, here, 0.1), here))
            state.seen.fill_(1)
        return credit - level


@dataclass(frozen=True)
class RLOO(_ScoreFunction):
    """The score function with the other draws as the baseline, leave-one-out (Kool, van Hoof and Welling 2019)."""

    least: ClassVar[int] = 2

    def advantage(self, values: Tensor, credit: Tensor, combine: Combine, state: nn.Module) -> Tensor:
        return combine(values) - combine(_others(values))


@dataclass(frozen=True)
class VIMCO(_ScoreFunction):
    """The score function for the importance-weighted bound: each draw against the bound with its value replaced by the
    mean of the others' (Mnih and Rezende 2016). Under the ELBO it is RLOO.
    """

    least: ClassVar[int] = 2

    def advantage(self, values: Tensor, credit: Tensor, combine: Combine, state: nn.Module) -> Tensor:
        others = _others(values)
        return combine(values) - combine(torch.cat([others, others.mean(0, keepdim=True)]))


def _others(values: Tensor) -> Tensor:
    """(K, B) → (K − 1, K, B): column k holds the values of the others."""
    k = len(values)
    index = torch.arange(k, device=values.device)
    return values[(index[:-1, None] + index + 1) % k]


def require_samples(estimator: Estimator, samples: int) -> None:
    """Refuse fewer samples than an estimator works with.

    Raises:
        InputError: with the fewest that do.
    """
    if samples < estimator.least:
        name = type(estimator).__name__
        raise InputError("objective.samples", f"is {samples}, and {name} compares draws of one example",
                         f"give {estimator.least} or more, or choose Score")  # fmt: skip
