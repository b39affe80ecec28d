"""The normal truncated to an interval, exact however far its mean lies outside and however narrow it is.

All is reckoned from the mode r, the point of [−b, b] nearest to μ, in units of σ: ζ = (z − r)/σ, κ = (r − μ)/σ, which is
zero unless μ lies outside. Then

    q(z) ∝ exp( −ζ(ζ/2 + κ) )

has its peak, one, at ζ = 0, and no term of it overflows. The ends of the interval lie ℓ₋ = (r + b)/σ and ℓ₊ = (b − r)/σ
away; where κ ≠ 0 one of them is zero. With Mills' ratio R(x) = (1 − Φ(x))/φ(x) = √(π/2) erfcx(x/√2) of arguments x ≥ 0 alone,
and e = exp( −ℓ(ℓ/2 + |κ|) ), a side of length ℓ has the mass and moments

    S(ℓ)  = ∫₀^ℓ exp( −t(t/2 + |κ|) ) dt   = R(|κ|) − e R(|κ| + ℓ)
    T₁(ℓ) = ∫₀^ℓ t exp( −t(t/2 + |κ|) ) dt = 1 − e − |κ| S    = D(|κ|) − e ( D(|κ| + ℓ) + ℓ R(|κ| + ℓ) )
    T₂(ℓ) = ∫₀^ℓ t² exp( −t(t/2 + |κ|) ) dt = S − ℓ e − |κ| T₁

with D(x) = 1 − x R(x), for large x by a series, since there the difference would leave no digit. With N = S(ℓ₋) + S(ℓ₊)

    log q(z) = −ζ(ζ/2 + κ) − log σ − log N,            E[z] = r + σ ( T₁(ℓ₊) − T₁(ℓ₋) )/N
    H(q) = log σ + log N + ½ + ½ Σ ( |κ| T₁ − ℓ e )/N,   E[(z − r)²] = σ² ( T₂(ℓ₋) + T₂(ℓ₊) )/N

Draws invert the distribution function. For v uniform on (0, 1), y = v N − S(ℓ₋) says by its sign on which side z lies, and
S(ζ) = |y| there; in logarithms, with E = −log(1 − |y|/R(|κ|)),

    h(ζ) = ζ(ζ/2 + |κ|) + log R(|κ|) − log R(|κ| + ζ) − E = 0,   h′(ζ) = 1/R(|κ| + ζ)

Two of Halley's steps, for which h″ = h′(h′ − |κ| − ζ) is known too, leave an error below 10⁻⁸; the last is Newton's, which
squares that, and in which κ and E are not constants, so that it carries the gradient of z (the implicit reparameterisation
of Figurnov, Mohamed and Mnih 2018).

Where σ ≫ b the density is nearly uniform and S is a small difference: all is in double precision, of which the variance loses
a relative (σ/b)³ 10⁻¹⁵. On devices without it, single precision has to do.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.autoregressive import AR1
from taut.distributions.course import Continuum, Course
from taut.distributions.divergence import register_divergence
from taut.distributions.locationscale import open_uniform
from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["TruncatedNormal"]


class _Cut(NamedTuple):
    """What the interval leaves of the normal, (N, *event) each; the last three of both sides, (2, N, *event)."""

    mode: Tensor  # r
    scale: Tensor  # σ
    kappa: Tensor  # κ
    start: Tensor  # R(|κ|)
    lengths: Tensor  # ℓ₋ and ℓ₊
    ends: Tensor  # e
    reaches: Tensor  # R(|κ| + ℓ)

    @classmethod
    def of(cls, location: Tensor, scale: Tensor, bound: float) -> _Cut:
        mode = location.clamp(-bound, bound)
        kappa = (mode - location) / scale
        lengths = torch.stack([mode + bound, bound - mode]) / scale
        ends = (-lengths * (lengths / 2 + kappa.abs())).exp()
        return cls(mode, scale, kappa, _mills(kappa.abs()), lengths, ends, _mills(kappa.abs() + lengths))

    @property
    def masses(self) -> Tensor:
        """S(ℓ₋) and S(ℓ₊)."""
        return self.start - self.ends * self.reaches


class TruncatedNormal(Course, Distribution):
    """N(μ, diag σ²) truncated to [−b, b] in every element, the first axis the batch and all others the event.

    Args:
        location: μ, shape (N, *event), inside the interval or not.
        log_scale: log σ, the same shape.
        bound: b.

    >>> q = TruncatedNormal(torch.zeros(1, 2), torch.zeros(1, 2), bound=1.0)
    >>> round(q.log_prob(torch.zeros(1, 2)).item(), 4), round(q.variance[0, 0].item(), 4)
    (-1.0744, 0.2911)
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    location: Tensor
    log_scale: Tensor
    bound: float

    def __init__(self, location: Tensor, log_scale: Tensor, bound: float) -> None:
        self.location, self.log_scale, self.bound = location, log_scale, bound
        self._cut = _Cut.of(_wide(location), _wide(log_scale).exp(), bound)
        super().__init__(location.shape[:1], location.shape[1:], validate_args=False)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """E[z], Var z and H(q(z_d)) of each element, (N, *event) each."""
        cut, kappa, mass = self._cut, self._cut.kappa.abs(), self._cut.masses.sum(0)
        beyond = _deficit(kappa + cut.lengths, cut.reaches) + cut.lengths * cut.reaches
        first = _deficit(kappa, cut.start) - cut.ends * beyond
        surplus = kappa * first - cut.lengths * cut.ends
        shift = (first[1] - first[0]) / mass
        second = (cut.masses - cut.lengths * cut.ends - kappa * first).sum(0) / mass
        variance = cut.scale.square() * (second - shift.square()).clamp_min(0)
        entropy = _wide(self.log_scale) + mass.log() + 0.5 * (1 + surplus.sum(0) / mass)
        moments = cut.mode + cut.scale * shift, variance, entropy
        return tuple(moment.to(self.location.dtype) for moment in moments)

    @property
    def mean(self) -> Tensor:
        return self.moments()[0]

    @property
    def mode(self) -> Tensor:
        return self.location.clamp(-self.bound, self.bound)

    @property
    def variance(self) -> Tensor:
        return self.moments()[1]

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """z by the inverse of the distribution function: gradients reach μ and σ."""
        cut, kappa = self._cut, self._cut.kappa.abs()
        left, right = cut.masses
        place = open_uniform((*sample_shape, *left.shape), left) * (left + right) - left
        level = -torch.log1p(-(place.abs() / cut.start).clamp_max(1 - torch.finfo(place.dtype).eps))
        z = cut.mode + place.sign() * cut.scale * _root(kappa, cut.start, level)
        return z.to(self.location.dtype).clamp(-self.bound, self.bound)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log q(z_d) of each dimension, (N, D) nats; −∞ outside the interval."""
        cut = self._cut
        scaled = (_wide(value) - cut.mode) / cut.scale
        inside = -scaled * (scaled / 2 + cut.kappa) - _wide(self.log_scale) - cut.masses.sum(0).log()
        parts = torch.where(value.abs() <= self.bound, inside, -math.inf)
        return parts.to(value.dtype).flatten(-len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    def rows(self, index: Tensor) -> TruncatedNormal:
        """The densities of some rows, (M,) of N."""
        return TruncatedNormal(self.location[index], self.log_scale[index], self.bound)

    def blank(self) -> Tensor:
        return self.location.new_zeros(self.location.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        mean, variance, _ = (moment.flatten(1)[:, position] for moment in self.moments())
        return Continuum(partial(self._cdf, position=position), mean, variance.sqrt())

    def _cdf(self, value: Tensor, position: slice) -> Tensor:
        """( S(ℓ₋) ± S(|ζ|) ) / N, for places (..., N, M)."""
        cut = self._cut
        mode, scale, kappa, start = (
            part.flatten(1)[:, position] for part in (cut.mode, cut.scale, cut.kappa.abs(), cut.start)
        )
        left, right = cut.masses.flatten(2)[:, :, position]
        scaled = (_wide(value).clamp(-self.bound, self.bound) - mode) / scale
        way = scaled.abs()
        side = start - (-way * (way / 2 + kappa)).exp() * _mills(kappa + way)
        return ((left + scaled.sign() * side) / (left + right)).to(value.dtype)


def _wide(values: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    return values if values.device.type == "mps" else values.double()


def _mills(x: Tensor) -> Tensor:
    """R(x) for x ≥ 0."""
    return math.sqrt(math.pi / 2) * torch.special.erfcx(x / math.sqrt(2))


def _deficit(x: Tensor, mills: Tensor) -> Tensor:
    """D(x) for x ≥ 0 from R(x); x⁻² − 3 x⁻⁴ + 15 x⁻⁶ − 105 x⁻⁸ + …, an alternating series, where x is large."""
    w = x.clamp_min(50.0).pow(-2)
    series = w * (1 - 3 * w * (1 - 5 * w * (1 - 7 * w * (1 - 9 * w))))
    return torch.where(x > 50, series, 1 - x * mills)


def _root(kappa: Tensor, start: Tensor, level: Tensor) -> Tensor:
    """The ζ ≥ 0 with h(ζ) = 0, for |κ|, R(|κ|) and E, differentiable in all."""

    def newton(zeta: Tensor) -> tuple[Tensor, Tensor]:
        """h/h′, and h′."""
        reach = _mills(kappa + zeta)
        return reach * (zeta * (zeta / 2 + kappa) + (start / reach).log() - level), 1 / reach

    with torch.no_grad():
        # two bounds from above: the hazard h′ grows from 1/R(κ), and is never below κ + ζ
        zeta = torch.minimum(level * start, (kappa.square() + 2 * level).sqrt() - kappa)
        for _ in range(2):
            step, slope = newton(zeta)
            zeta = zeta - step / (1 - 0.5 * step * (slope - kappa - zeta))
    return zeta - newton(zeta)[0]


@tempered.register
def _(p: TruncatedNormal, temperature: float) -> Distribution:
    """The deviation before truncation is scaled."""
    log_t = log_temperature(temperature)
    return p if temperature == 1 else TruncatedNormal(p.location, p.log_scale + log_t, p.bound)


@register_divergence(TruncatedNormal, DiagonalNormal)
@register_divergence(TruncatedNormal, AR1)
def _from_normal(q: TruncatedNormal, p: DiagonalNormal | AR1) -> Tensor:
    """E_q[ −log p(z) ], for which two moments suffice, less the entropy, per dimension."""
    mean, variance, entropy = q.moments()
    return p.cross_entropy_parts(mean, variance) - entropy.flatten(1)
