"""Location–scale families: z = μ + s ⊙ u, the elements of u independent with one standard density f.

    log q(z) = Σ_d ( log f(u_d) − log s_d ),   u = (z − μ)/s        (N,) nats

The standard densities, their quantiles at v, variances and entropies are

                log f(u)                  u at v                               Var u    H(u)
    Laplace     −|u| − log 2              −sign(v − ½) log(1 − 2|v − ½|)       2        1 + log 2
    logistic    −u − 2 log(1 + e^{−u})    log v − log(1 − v)                   π²/3     2
    Cauchy      −log(1 + u²) − log π      −cot πv                              ∞        log 4π

Divergences. A normal density is a square, so E_q[ −log p(z) ] asks for two moments of q alone, and for every q of independent
elements and of known entropy

    KL(q ‖ p) = E_q[ −log p(z) ] − H(q)        p a diagonal normal or an AR(1) process, per dimension

Between two Laplace densities, with ρ = s_q/s_p and t = |μ_q − μ_p|/s_q, and between two Cauchy densities (Chyzak and Nielsen
2019), with r = log s_q/s_p,

    Laplace   ρ (t + e^{−t}) − 1 − log ρ
    Cauchy    log ( ((s_q + s_p)² + (μ_q − μ_p)²) / 4 s_q s_p )  =  log( 1 + sinh²(r/2) + (μ_q − μ_p)²/4 s_q s_p )

the second forms being those that lose no digit where q is nearly p.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from taut.distributions.autoregressive import AR1
from taut.distributions.course import Continuum, Course
from taut.distributions.divergence import register_divergence
from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["Cauchy", "Laplace", "LocationScale", "Logistic", "open_uniform"]


class LocationScale(Course, Distribution):
    """Independent elements μ + s u, the first axis the batch and all others the event.

    Args:
        location: μ, shape (N, *event).
        log_scale: log s, the same shape.
    """

    has_rsample = True

    unit_variance: ClassVar[float]
    """Var u."""

    unit_entropy: ClassVar[float]
    """H(u) in nats."""

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    location: Tensor
    log_scale: Tensor

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = location, log_scale
        super().__init__(location.shape[:1], location.shape[1:], validate_args=False)

    @staticmethod
    @abstractmethod
    def unit_log_prob(u: Tensor) -> Tensor:
        """log f(u), elementwise."""

    @staticmethod
    @abstractmethod
    def unit_quantile(v: Tensor) -> Tensor:
        """The u below which lies the mass v, 0 < v < 1, elementwise."""

    @staticmethod
    @abstractmethod
    def unit_cdf(u: Tensor) -> Tensor:
        """The mass below u, elementwise."""

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def mode(self) -> Tensor:
        return self.location

    @property
    def variance(self) -> Tensor:
        return self.unit_variance * (2 * self.log_scale).exp()

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(self.unit_variance) * self.log_scale.exp()

    def entropy_parts(self) -> Tensor:
        """H(q(z_d)) of each dimension, (N, D) nats."""
        return (self.log_scale + self.unit_entropy).flatten(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """z = μ + s ⊙ u: gradients reach μ and s."""
        u = self.unit_quantile(open_uniform((*sample_shape, *self.location.shape), self.location))
        return torch.addcmul(self.location, self.log_scale.exp(), u)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log q(z_d) of each dimension, (N, D) nats."""
        scaled = (value - self.location) * (-self.log_scale).exp()
        return (self.unit_log_prob(scaled) - self.log_scale).flatten(-len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    def rows(self, index: Tensor) -> LocationScale:
        """The densities of some rows, (M,) of N."""
        return type(self)(self.location[index], self.log_scale[index])

    def blank(self) -> Tensor:
        return self.location.new_zeros(self.location.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        location, scale = self.location.flatten(1)[:, position], self.log_scale.flatten(1)[:, position].exp()
        return Continuum(lambda value: self.unit_cdf((value - location) / scale), location, scale)


def open_uniform(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform on (0, 1), both ends excluded, so that no quantile of it is infinite."""
    least = torch.finfo(like.dtype).eps / 2
    return torch.rand(shape, dtype=like.dtype, device=like.device).clamp(least, 1 - least)


class Laplace(LocationScale):
    """f(u) = ½ e^{−|u|}.

    Args:
        location: μ, shape (N, *event).
        log_scale: log s, the same shape.

    >>> q = Laplace(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> round(q.log_prob(torch.ones(1, 2)).item(), 4)
    -3.3863
    """

    unit_variance: ClassVar[float] = 2.0
    unit_entropy: ClassVar[float] = 1 + math.log(2)

    @staticmethod
    def unit_log_prob(u: Tensor) -> Tensor:
        return -u.abs() - math.log(2)

    @staticmethod
    def unit_quantile(v: Tensor) -> Tensor:
        w = v - 0.5
        return -w.sign() * torch.log1p(-2 * w.abs())

    @staticmethod
    def unit_cdf(u: Tensor) -> Tensor:
        return 0.5 - 0.5 * u.sign() * torch.expm1(-u.abs())


class Logistic(LocationScale):
    """f(u) = σ(u) σ(−u), the density of which the logistic function is the distribution function.

    Args:
        location: μ, shape (N, *event).
        log_scale: log s, the same shape.

    >>> q = Logistic(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> round(q.log_prob(torch.zeros(1, 2)).item(), 4)
    -2.7726
    """

    unit_variance: ClassVar[float] = math.pi**2 / 3
    unit_entropy: ClassVar[float] = 2.0

    @staticmethod
    def unit_log_prob(u: Tensor) -> Tensor:
        return logsigmoid(u) + logsigmoid(-u)

    @staticmethod
    def unit_quantile(v: Tensor) -> Tensor:
        return v.log() - torch.log1p(-v)

    @staticmethod
    def unit_cdf(u: Tensor) -> Tensor:
        return u.sigmoid()


class Cauchy(LocationScale):
    """f(u) = 1/π(1 + u²). It has no mean: ``mean`` is its location, which is the median, and ``variance`` is infinite.

    In single precision draws reach out to 5·10⁶ scales, beyond which lies a mass of 10⁻⁷.

    Args:
        location: μ, shape (N, *event).
        log_scale: log s, the same shape.

    >>> q = Cauchy(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> round(q.log_prob(torch.zeros(1, 2)).item(), 4)
    -2.2895
    """

    unit_variance: ClassVar[float] = math.inf
    unit_entropy: ClassVar[float] = math.log(4 * math.pi)

    @staticmethod
    def unit_log_prob(u: Tensor) -> Tensor:
        return -torch.log1p(u.square()) - math.log(math.pi)

    @staticmethod
    def unit_quantile(v: Tensor) -> Tensor:
        # by the distance to the nearer end, which is exact in either tail: cot πv = cot π(v − 1)
        return -1 / (math.pi * torch.where(v < 0.5, v, v - 1)).tan()

    @staticmethod
    def unit_cdf(u: Tensor) -> Tensor:
        return 0.5 + u.atan() / math.pi


@tempered.register
def _(p: LocationScale, temperature: float) -> Distribution:
    """The scale is multiplied."""
    log_t = log_temperature(temperature)
    return p if temperature == 1 else type(p)(p.location, p.log_scale + log_t)


@register_divergence(Laplace, DiagonalNormal)
@register_divergence(Laplace, AR1)
@register_divergence(Logistic, DiagonalNormal)
@register_divergence(Logistic, AR1)
def _from_normal(q: LocationScale, p: DiagonalNormal | AR1) -> Tensor:
    """E_q[ −log p(z) ], for which two moments suffice, less the entropy."""
    return p.cross_entropy_parts(q.mean, q.variance) - q.entropy_parts()


@register_divergence(Laplace, Laplace)
def _laplace_laplace(q: Laplace, p: Laplace) -> Tensor:
    log_ratio, distance = q.log_scale - p.log_scale, (q.location - p.location).abs()
    overlap = torch.expm1(-distance * (-q.log_scale).exp())
    return (distance * (-p.log_scale).exp() + log_ratio.exp() * overlap + torch.expm1(log_ratio) - log_ratio).flatten(1)


@register_divergence(DiagonalNormal, Laplace)
def _normal_laplace(q: DiagonalNormal, p: Laplace) -> Tensor:
    """E|z − μ_p| is the mean of a folded normal: σ √(2/π) e^{−d²/2σ²} + d erf(d/σ√2), d = μ_q − μ_p."""
    distance = q.mu - p.location
    scaled = distance * (-q.log_scale).exp() / math.sqrt(2)
    folded = math.sqrt(2 / math.pi) * q.log_scale.exp() * (-scaled.square()).exp() + distance * scaled.erf()
    entropy = q.log_scale + 0.5 * math.log(2 * math.pi * math.e)
    return (folded * (-p.log_scale).exp() + p.log_scale + math.log(2) - entropy).flatten(1)


@register_divergence(Cauchy, Cauchy)
def _cauchy_cauchy(q: Cauchy, p: Cauchy) -> Tensor:
    half = 0.5 * (q.log_scale - p.log_scale)
    shift = 0.5 * (q.location - p.location) * (-0.5 * (q.log_scale + p.log_scale)).exp()
    return torch.log1p(half.sinh().square() + shift.square()).flatten(1)
