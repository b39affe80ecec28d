"""Densities that are a product of one-dimensional conditionals, p(z) = Π_d p(z_d | z_<d).

An autoregressive network gives each conditional as a mixture of M normals (MADE: Germain et al. 2015),

    log p(z) = Σ_d log Σ_m π_dm N(z_d; μ_dm, σ_dm²),   π, μ, σ functions of z_<d        (N,) nats

and the stationary AR(1) process is the one whose conditionals know only their neighbour (Razavi et al. 2019),

    z_1 ~ N(0, 1),   z_t = α z_{t−1} + s ε_t,   s² = 1 − α²

so that every z_t alone is N(0, 1) and neighbours correlate by α. Against a diagonal normal its divergence is closed:

    KL(q ‖ p) = Σ_t ½ ( (σ_t² + (μ_t − α μ_{t−1})² + α² σ_{t−1}²)/s² − 1 − log σ_t²/s² )

with the first term that against N(0, 1). For |α| > 0 no factorised q makes it zero. The σ_t² come apart, and with Λ the
inverse of the covariance, Λ_tt = (1 + α²)/s² inside the series and 1/s² at its two ends,

    KL(q ‖ p) = ½ μᵀΛμ + Σ_t ½ ( Λ_tt σ_t² − 1 − log Λ_tt σ_t² ) + δ,   δ = ½ ( Σ_t log Λ_tt − log |Λ| )

The sum is zero for σ_t² = 1/Λ_tt and above it elsewhere. So the nearest q has these variances, and the rate that a factorised
posterior cannot help but spend, the δ of the δ-VAE, is by |Λ| = s^{−2(T − 1)}

    δ(α, T) = ½ ( (T − 2) log(1 + α²) − log(1 − α²) )   for T ≥ 2 steps,   0 for one        nats
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.course import Continuum, Course
from taut.distributions.divergence import register_divergence
from taut.distributions.flow import full_precision
from taut.distributions.normal import DiagonalNormal, normal_cdf
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["AR1", "Autoregressive"]

_LOG_2PI = math.log(2 * math.pi)


class Autoregressive(Course, Distribution):
    """Π_d Σ_m π_dm N(z_d; μ_dm, σ_dm²), each conditional given by a network that sees z_<d alone.

    Args:
        conditionals: vectors z (..., N, D) → log π (normalised), μ and log σ, (..., N, D, M) each, row d of z_<d only.
        rows: N.
        event: shape of one z, of D elements.
        like: a tensor whose device and precision samples have.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    conditionals: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    like: Tensor

    def __init__(
        self,
        conditionals: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
        rows: int,
        event: tuple[int, ...],
        like: Tensor,
    ) -> None:
        self.conditionals, self.like = conditionals, like
        super().__init__(torch.Size([rows]), torch.Size(event), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """One dimension after the other: D passes of the network."""
        size = self.event_shape.numel()
        z = self.like.new_zeros(*sample_shape, *self.batch_shape, size)
        with full_precision(z):
            for d in range(size):
                log_pi, mu, log_scale = (tensor[..., d, :] for tensor in self.conditionals(z))
                chosen = (log_pi - torch.empty_like(log_pi).exponential_().log()).argmax(-1, keepdim=True)
                mu, scale = mu.gather(-1, chosen).squeeze(-1), log_scale.gather(-1, chosen).squeeze(-1).exp()
                z[..., d] = mu + scale * torch.randn_like(mu)
        return z.unflatten(-1, self.event_shape)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(z_d | z_<d), (N, D) nats."""
        z = value.flatten(-len(self.event_shape))
        with full_precision(z):
            log_pi, mu, log_scale = self.conditionals(z)
            scaled = (z.unsqueeze(-1) - mu) * (-log_scale).exp()
            return (log_pi - 0.5 * (scaled.square() + _LOG_2PI) - log_scale).logsumexp(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    @property
    def steps(self) -> list[slice]:
        return [slice(d, d + 1) for d in range(self.event_shape.numel())]

    def blank(self) -> Tensor:
        return self.like.new_zeros(*self.batch_shape, self.event_shape.numel())

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        with full_precision(elements):
            log_pi, mu, log_scale = (part[:, position] for part in self.conditionals(elements))
        pi, scale = log_pi.exp(), log_scale.exp()
        mean = (pi * mu).sum(-1)
        spread = (pi * (scale.square() + (mu - mean.unsqueeze(-1)).square())).sum(-1).sqrt()
        return Continuum(lambda value: (pi * normal_cdf(value.unsqueeze(-1), mu, scale)).sum(-1), mean, spread)


class AR1(Course, Distribution):
    """A stationary first-order autoregressive process along the first axis of the event, each series apart.

    Args:
        alpha: the correlation of neighbours, −1 < α < 1.
        zero: zeros of shape (N, T, ...), for device and precision.
        log_scale: the logarithm of the standard deviation of each z_t.

    >>> p = AR1(0.5, torch.zeros(1, 2))
    >>> round(p.log_prob(torch.ones(1, 2)).item(), 4)
    -2.3607
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    alpha: float
    zero: Tensor
    log_scale: float

    def __init__(self, alpha: float, zero: Tensor, log_scale: float = 0.0) -> None:
        self.alpha, self.zero, self.log_scale = alpha, zero, log_scale
        super().__init__(zero.shape[:1], zero.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def variance(self) -> Tensor:
        return self.zero + math.exp(2 * self.log_scale)

    @property
    def log_steps(self) -> Tensor:
        """The logarithms of the standard deviation of each z_t given the one before, broadcasting against an event."""
        steps = self.zero.new_full(self.event_shape[:1], self.log_scale + 0.5 * math.log1p(-(self.alpha**2)))
        steps[0] = self.log_scale
        return steps.view(-1, *[1] * (len(self.event_shape) - 1))

    @property
    def nearest(self) -> DiagonalNormal:
        """The normal of independent elements with the least KL(· ‖ p): mean zero, variances 1/Λ_tt."""
        steps = self.event_shape[0]
        log_scale = self.zero.new_full((steps,), self.log_scale)
        if steps > 1:
            log_scale += 0.5 * math.log1p(-(self.alpha**2))
            log_scale[1:-1] -= 0.5 * math.log1p(self.alpha**2)
        return DiagonalNormal(self.zero, self.zero + log_scale.view(-1, *[1] * (len(self.event_shape) - 1)))

    @property
    def least_rate(self) -> float:
        """That least divergence, δ(α, T) for each series, nats.

        >>> round(AR1(0.5, torch.zeros(1, 4)).least_rate, 4)
        0.367
        """
        steps, series = self.event_shape[0], self.event_shape[1:].numel()
        if steps == 1:
            return 0.0
        return 0.5 * series * ((steps - 2) * math.log1p(self.alpha**2) - math.log1p(-(self.alpha**2)))

    def before(self, z: Tensor) -> Tensor:
        """z_{t−1} in the place of each z_t, zero in that of the first."""
        axis = -len(self.event_shape)
        return torch.cat([torch.zeros_like(z.narrow(axis, 0, 1)), z.narrow(axis, 0, z.shape[axis] - 1)], axis)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = torch.randn((*sample_shape, *self.zero.shape), dtype=self.zero.dtype, device=self.zero.device)
        z = []
        for step in (noise * self.log_steps.exp()).unbind(-len(self.event_shape)):
            z.append(self.alpha * z[-1] + step if z else step)
        return torch.stack(z, -len(self.event_shape))

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z_t = Σ_s α^{t−s} s_s ε_s: the recursion written out, one product."""
        steps = self.log_steps
        place = torch.arange(len(steps), device=noise.device)
        lag = place[:, None] - place
        carried = torch.where(lag >= 0, noise.new_tensor(self.alpha) ** lag.clamp_min(0), 0.0)
        z = torch.einsum("ts,ns...->nt...", carried, noise * steps.exp())
        terms = 0.5 * (noise.square() + _LOG_2PI) + steps
        return z, -terms.flatten(1).sum(1)

    def to_noise(self, value: Tensor) -> Tensor:
        return (value - self.alpha * self.before(value)) * (-self.log_steps).exp()

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(z_t | z_{t−1}), (N, D) nats."""
        log_steps = self.log_steps
        scaled = (value - self.alpha * self.before(value)) * (-log_steps).exp()
        return -(0.5 * (scaled.square() + _LOG_2PI) + log_steps).flatten(-len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    @property
    def steps(self) -> list[slice]:
        """One time after the other, all series at once."""
        series = self.event_shape[1:].numel()
        return [slice(start, start + series) for start in range(0, self.event_shape.numel(), series)]

    def blank(self) -> Tensor:
        return self.zero.new_zeros(self.zero.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        mean = (self.alpha * self.before(self.read(elements))).flatten(1)[:, position]
        scale = (self.zero + self.log_steps.exp()).flatten(1)[:, position]
        return Continuum(partial(normal_cdf, mean=mean, scale=scale), mean, scale)

    def cross_entropy_parts(self, mean: Tensor, variance: Tensor) -> Tensor:
        """E[ −log p(z_t | z_{t−1}) ] for z of independent elements with these moments, (N, *event) each: (N, D) nats."""
        log_steps = self.log_steps
        shift = (mean - self.alpha * self.before(mean)).square()
        spread = variance + self.alpha**2 * self.before(variance)
        return (0.5 * ((shift + spread) * (-2 * log_steps).exp() + _LOG_2PI) + log_steps).flatten(1)


@register_divergence(DiagonalNormal, AR1)
def _normal_ar1(q: DiagonalNormal, p: AR1) -> Tensor:
    """E_q KL( q(z_t) ‖ p(z_t | z_{t−1}) ), for each t."""
    log_steps = p.log_steps
    shift = (q.mu - p.alpha * p.before(q.mu)) * (-log_steps).exp()
    carried = p.alpha**2 * p.before(q.variance) * (-2 * log_steps).exp()
    log_ratio = q.log_scale - log_steps
    return (0.5 * (shift.square() + carried + torch.expm1(2 * log_ratio)) - log_ratio).flatten(1)


@tempered.register
def _(p: AR1, temperature: float) -> Distribution:
    """The whole series is scaled; its correlations stay."""
    log_t = log_temperature(temperature)
    return p if temperature == 1 else AR1(p.alpha, p.zero, p.log_scale + log_t)
