"""A normal posterior that cannot collapse: its divergence from the prior has a floor.

For a normal prior p whose covariance has the inverse Λ, and q = N(μ, diag σ²) in terms of ρ_d = Λ_dd σ_d²,

    KL(q ‖ p) = ½ (μ − m)ᵀ Λ (μ − m) + Σ_d f(ρ_d) + δ_p,   f(ρ) = ½ ( ρ − 1 − log ρ ) ≥ 0

with δ_p the least rate of independent normals (:mod:`taut.distributions.autoregressive`), zero for N(0, I). f falls from ∞ to
zero as ρ rises to one. So a ceiling ρ_max < 1 on every ρ_d makes

    KL(q ‖ p) ≥ D f(ρ_max) + δ_p = δ,   with equality at μ = m and ρ_d = ρ_max

and ρ_max solves f(ρ_max) = (δ − δ_p)/D. Where the prior alone commits δ or more there is no ceiling. With σ_max² = ρ_max/Λ_dd,
and σ̃ what the encoder asks for,

    1/σ = 1/σ_max + 1/σ̃
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from taut import distributions
from taut.distributions import soft
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule

__all__ = ["CommittedNormal"]

MOST = 7.0  # nats committed for each latent, at most


@dataclass(frozen=True)
class CommittedNormal(Posterior):
    """q(z|x) = N(μ(x), diag σ²(x)) with σ held so narrow that every example spends a rate of δ nats or more, whatever the
    encoder says: the δ-VAE (Razavi, van den Oord, Poole and Vinyals 2019).

    It goes with priors that are one normal which nothing moves. Against AR1, δ counts what that prior commits by itself, and
    where this is the whole of δ or more, q is the diagonal normal; against N(0, I) it is all q's doing. The decoder gets a
    code that it pays for in any case, so it may as well use it. The divergence uses this density itself, and so does every
    bound; it is in closed form.

    Args:
        delta: δ, the committed rate, nats per example.
    """

    codable: ClassVar[bool] = True
    factorised: ClassVar[bool] = True
    reads_prior: ClassVar[bool] = True

    delta: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.delta < math.inf:
            raise InputError("delta", f"is {self.delta:g}", "give a number of nats above 0, or choose DiagonalNormal")

    def check(self, latents: int) -> None:
        if self.delta > MOST * latents:  # σ would be lost beside μ in single precision, and with it the bound
            some = f"{latents} latent{'s'[: latents != 1]}"
            mend = f"give at most {MOST:g} a latent, {MOST * latents:g}, or more latents"
            raise InputError("model.posterior.delta", f"is {self.delta:g} nats for {some}", mend)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Committed(event, self.delta)


class _Committed(PosteriorModule):
    bound = 8.0

    def __init__(self, event: tuple[int, ...], delta: float) -> None:
        self.size = math.prod(event)
        super().__init__(event, 2 * self.size)
        self.delta = delta

    def forward(
        self, params: Tensor, p: distributions.DiagonalNormal | distributions.AR1 | None = None
    ) -> distributions.DiagonalNormal:
        """q beside a prior p; beside N(0, I) if none is given."""
        mean, raw = params.view(params.shape[0], 2, *self.event).unbind(1)
        if p is None:
            p = distributions.DiagonalNormal(torch.zeros_like(mean), torch.zeros_like(mean))
        ceiling = raw.new_full((), 0.5 * log_ceiling((self.delta - p.least_rate) / self.size))
        log_scale = p.nearest.log_scale - torch.logaddexp(-soft(raw, self.bound), -ceiling)
        return distributions.DiagonalNormal(mean, log_scale)


@lru_cache
def log_ceiling(rate: float) -> float:
    """log ρ < 0 with f(ρ) = ``rate`` nats; ∞ for a rate that needs no ceiling.

    Newton's steps on y = log ρ for the convex e^y − 1 − y = 2 f, from −1 − 2f, which lies left of the root: they rise to it.
    """
    if rate <= 0:
        return math.inf
    y = -1 - 2 * rate
    while True:
        step = (math.expm1(y) - y - 2 * rate) / math.expm1(y)
        if y - step <= y:
            return y
        y -= step
