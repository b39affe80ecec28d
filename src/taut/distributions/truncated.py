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

h is convex, so Newton's steps from the right of the root come down to it; a last one, in which κ and E are not constants,
carries the gradient of z (the implicit reparameterisation of Figurnov, Mohamed and Mnih 2018).

Where σ ≫ b the density is nearly uniform and S is a small difference: all is in double precision, of which a relative
(σ/b)³ 10⁻¹⁶ is lost. On devices without it, single precision has to do.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.autoregressive import AR1
from taut.distributions.divergence import register_divergence
from taut.distributions.locationscale import by_moments, open_uniform
from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["TruncatedNormal"]

_NEWTON = 8  # steps, after which no digit changes: see the tests


class _Cut(NamedTuple):
    """What the interval leaves of the normal, (N, *event) each: r, σ, κ, S(ℓ₋), N."""

    mode: Tensor
    scale: Tensor
    kappa: Tensor
    left: Tensor
    mass: Tensor


class TruncatedNormal(Distribution):
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

    arg_constraints: ClassVar[dict] = {}  # nothing is checked here: the heads see to it

    def __init__(self, location: Tensor, log_scale: Tensor, bound: float) -> None:
        self.location, self.log_scale, self.bound = location, log_scale, bound
        super().__init__(location.shape[:1], location.shape[1:], validate_args=False)

    @cached_property
    def _cut(self) -> _Cut:
        location, scale = _wide(self.location), _wide(self.log_scale).exp()
        mode = location.clamp(-self.bound, self.bound)
        kappa = (mode - location) / scale
        left = _side(kappa.abs(), (mode + self.bound) / scale)[0]
        right = _side(kappa.abs(), (self.bound - mode) / scale)[0]
        return _Cut(mode, scale, kappa, left, left + right)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """E[z], Var z and H(q(z_d))."""
        mode, scale, kappa, _, mass = self._cut
        first, second, surplus = 0, 0, 0
        for sign in (-1, 1):
            length = (self.bound - sign * mode) / scale
            s, end = _side(kappa.abs(), length)
            reach = kappa.abs() + length
            t1 = _deficit(kappa.abs()) - end * (_deficit(reach) + length * _mills(reach))
            first = first + sign * t1 / mass
            second = second + (s - length * end - kappa.abs() * t1) / mass
            surplus = surplus + (kappa.abs() * t1 - length * end) / mass
        mean, variance = mode + scale * first, scale.square() * (second - first.square()).clamp_min(0)
        entropy = _wide(self.log_scale) + mass.log() + 0.5 * (1 + surplus)
        return tuple(moment.to(self.location.dtype) for moment in (mean, variance, entropy))

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def mode(self) -> Tensor:
        return self.location.clamp(-self.bound, self.bound)

    @property
    def variance(self) -> Tensor:
        return self._moments[1]

    def entropy_parts(self) -> Tensor:
        """H(q(z_d)) of each dimension, (N, D) nats."""
        return self._moments[2].flatten(1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """z by the inverse of the distribution function: gradients reach μ and σ."""
        mode, scale, kappa, left, mass = self._cut
        place = open_uniform((*sample_shape, *mode.shape), mode) * mass - left
        share = (place.abs() / _mills(kappa.abs())).clamp_max(1 - torch.finfo(mode.dtype).eps)
        z = mode + place.sign() * scale * _root(kappa.abs(), -torch.log1p(-share))
        return z.to(self.location.dtype).clamp(-self.bound, self.bound)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log q(z_d) of each dimension, (N, D) nats; −∞ outside the interval."""
        mode, scale, kappa, _, mass = self._cut
        scaled = (_wide(value) - mode) / scale
        inside = -scaled * (scaled / 2 + kappa) - _wide(self.log_scale) - mass.log()
        parts = torch.where(value.abs() <= self.bound, inside, -math.inf)
        return parts.to(value.dtype).flatten(-len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)


def _wide(values: Tensor) -> Tensor:
    """In double precision, where the device has it."""
    return values if values.device.type == "mps" else values.double()


def _mills(x: Tensor) -> Tensor:
    """R(x) for x ≥ 0."""
    return math.sqrt(math.pi / 2) * torch.special.erfcx(x / math.sqrt(2))


def _deficit(x: Tensor) -> Tensor:
    """D(x) = 1 − x R(x) for x ≥ 0: x⁻² − 3 x⁻⁴ + 15 x⁻⁶ − …, an alternating series, where x is large."""
    w = x.clamp_min(50.0).pow(-2)
    series = w * (1 - 3 * w * (1 - 5 * w * (1 - 7 * w * (1 - 9 * w))))
    return torch.where(x > 50, series, 1 - x * _mills(x))


def _side(kappa: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """S(ℓ) and e."""
    end = (-length * (length / 2 + kappa)).exp()
    return _mills(kappa) - end * _mills(kappa + length), end


def _root(kappa: Tensor, level: Tensor) -> Tensor:
    """The ζ ≥ 0 with h(ζ) = 0 at E = ``level``, differentiable in both."""
    with torch.no_grad():
        # two bounds from above: the hazard 1/R grows from 1/R(κ), and is never below its argument
        zeta = torch.minimum(level * _mills(kappa), (kappa.square() + 2 * level).sqrt() - kappa)
        for _ in range(_NEWTON):
            zeta = zeta - _newton(zeta, kappa, level)
    return zeta - _newton(zeta, kappa, level)


def _newton(zeta: Tensor, kappa: Tensor, level: Tensor) -> Tensor:
    """h/h′."""
    reach = _mills(kappa + zeta)
    return reach * (zeta * (zeta / 2 + kappa) + (_mills(kappa) / reach).log() - level)


@tempered.register
def _(p: TruncatedNormal, temperature: float) -> Distribution:
    """The deviation before truncation is scaled."""
    log_t = log_temperature(temperature)
    return p if temperature == 1 else TruncatedNormal(p.location, p.log_scale + log_t, p.bound)


for _p in (DiagonalNormal, AR1):
    register_divergence(TruncatedNormal, _p)(by_moments)
