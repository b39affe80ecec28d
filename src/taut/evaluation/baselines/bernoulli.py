"""A mixture of products of Bernoulli densities, fitted by expectation and maximisation in turn.

    p(x) = Σ_k π_k Π_d μ_kd^{x_d} (1 − μ_kd)^{1 − x_d},   x ∈ {0, 1}^D

With a Beta(1 + a, 1 + a) prior of every μ_kd the two steps, each of which raises log p(X, μ) or leaves it,

    E   r_nk ∝ π_k p_k(x_n)
    M   π_k = Σ_n r_nk / N,   μ_kd = ( a + Σ_n r_nk x_nd ) / ( 2a + Σ_n r_nk )

are coordinate ascent on a bound of it (Neal and Hinton 1998). With one component the elements are independent, and one step
of each is all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["BernoulliMixture"]

PRIOR = 0.1  # a


@dataclass(frozen=True)
class BernoulliMixture:
    """Σ_k π_k Π_d Bernoulli(x_d; μ_kd).

    Args:
        log_weights: log π, (K,).
        logits: of μ, (K, D).

    >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(50, 1)
    >>> alone, pair = (BernoulliMixture.fit(x, k) for k in (1, 2))
    >>> (alone.log_prob(x).mean() / math.log(2)).round().item(), (pair.log_prob(x).mean() / math.log(2)).round().item()
    (-2.0, -1.0)
    """

    log_weights: Tensor
    logits: Tensor

    @classmethod
    def fit(
        cls, x: Tensor, components: int, rounds: int = 100, enough: float = 1e-3, seed: int = 0
    ) -> BernoulliMixture:
        """The mixture at which the two steps no longer raise log p by ``enough`` nats an example.

        Args:
            x: zeros and ones, (N, D).
            components: K.
            rounds: at most.
            enough: nats.
            seed: of the examples, softened, at which components start.
        """
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:components]
        mean = x.mean(0)
        mixture = cls._of(
            torch.full_like(x[chosen, 0], 1 / len(chosen)), 0.25 * x[chosen] + 0.75 * mean, len(x) / len(chosen)
        )
        level = -math.inf
        for _ in range(rounds):
            joint = mixture._joint(x)
            log_p = joint.logsumexp(1, keepdim=True)
            reached = float(log_p.mean())
            if reached - level <= enough:
                break
            level, share = reached, (joint - log_p).exp()
            count = share.sum(0)
            mixture = cls._of(count / len(x), share.T @ x / count.clamp_min(1e-30).unsqueeze(1), count.unsqueeze(1))
        return mixture

    @classmethod
    def _of(cls, weights: Tensor, means: Tensor, counts: Tensor | float) -> BernoulliMixture:
        """The M step, of weights (K,), mean values (K, D) and how many examples those are of."""
        ones, zeros = PRIOR + counts * means, PRIOR + counts * (1 - means)
        return cls(weights.clamp_min(1e-30).log(), ones.log() - zeros.log())

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), (N,) nats."""
        return self._joint(x).logsumexp(1)

    def _joint(self, x: Tensor) -> Tensor:
        """log π_k p_k(x), (N, K): x·logit μ + Σ_d log(1 − μ_d) for each component."""
        return torch.addmm(self.log_weights + logsigmoid(-self.logits).sum(1), x, self.logits.T)
