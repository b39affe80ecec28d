"""Densities on the sphere S^{D−1} of unit vectors of R^D, with respect to its surface measure.

The von Mises–Fisher density with mean direction μ, |μ| = 1, and concentration κ ≥ 0 is, with t = μᵀz and ν = D/2 − 1,

    q(z) = C_D(κ) e^{κt},     C_D(κ) = κ^ν / ( (2π)^{D/2} I_ν(κ) ),     C_D(0) = 1/|S^{D−1}| = Γ(D/2) / 2 π^{D/2}

(Mardia and Jupp 2000). With F_ν(κ) = C_D(0)/C_D(κ) = Γ(ν + 1) (2/κ)^ν I_ν(κ), which :mod:`taut.distributions.bessel` finds,
and r = I_{ν+1}/I_ν = d log F_ν/dκ,

    log q(z) = −κ (1 − t) − (log F_ν − κ) − log |S|         1 − t = ½ |z − μ|²
    E[z] = r μ
    KL( q ‖ uniform ) = −κ (1 − r) − (log F_ν − κ)

so that nothing of the size of κ cancels: q keeps its precision where 1 − t is 1e-6.

**Drawing.** t alone has the density f(t) ∝ (1 − t²)^{(D−3)/2} e^{κt}; given t, the part of z across μ has a uniform direction.
Wood (1994) proposes t from a density of heavier tails. With b = (D − 1)/(2κ + √(4κ² + (D − 1)²)) and u = sin² ½φ,

    1 − t = w = 2bu/Δ,     Δ = 1 − (1 − b) u,     u ~ Beta( ½(D − 1), ½(D − 1) )

is kept with probability a(φ) = e^{κ(w₀ − w)} ( (1 + b)/2Δ )^{D−1}, which is 1 where φ = ½π, w = w₀ = 2b/(1 + b), and 0.65 or
more on average for every D and κ. So the density of φ ∈ (0, π) is ∝ a(φ) sin^{D−2} φ: smooth in every dimension, of a width
that hardly depends on κ.

**Gradients.** When μ or κ change, a draw is moved: with μ by the smallest rotation that takes it to μ + dμ, with κ along the
great circle through μ so that its place in the distribution function F(t; κ) of t stays (implicit reparameterisation:
Figurnov, Mohamed and Mnih 2018),

    dz = t dμ − (zᵀdμ) μ + (μ − t z) s dκ,     s = (dt/dκ)/(1 − t²),     dt/dκ = −(∂F/∂κ)(t) / f(t)

Draws so moved follow the density of the new μ and κ, so gradients of expectations are unbiased without the correction for
rejections of Davidson et al. (2018). In the angle of the proposal, with r = E[t],

    s = (1/sin φ) ∫ | r − t(ϕ) | ( a(ϕ) sin^{D−2} ϕ ) / ( a(φ) sin^{D−2} φ ) dϕ

over (0, φ) where t ≥ r and over (φ, π) elsewhere: ∂F/∂κ = ∫_{−1}^t (τ − r) f(τ) dτ = −∫_t^1, and on the side that does not
hold r nothing cancels. 32 nodes of Gauss and Legendre find s to eight digits.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.bessel import bessel
from taut.distributions.divergence import register_divergence
from taut.distributions.precision import wide

__all__ = ["UniformSphere", "VonMisesFisher", "unit"]

NODES = 32  # of the quadrature
WIDTH = 9.0  # from ½π, in units of 1/√(D − 2): the density of φ is below e^{−40} of its greatest value beyond it
TINY = 1e-12  # a length below which a vector has no direction


def log_area(size: int) -> float:
    """log |S^{D−1}|, the surface of the unit sphere of R^D."""
    return math.log(2) + 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size)


class UniformSphere(Distribution):
    """The uniform density over unit vectors of R^D.

    Args:
        zero: zeros of shape (N, D), D ≥ 2, for device and precision.

    >>> p = UniformSphere(torch.zeros(1, 3))
    >>> round(p.log_prob(torch.eye(3)[:1]).exp().item() * 4 * math.pi, 4)
    1.0
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    def __init__(self, zero: Tensor) -> None:
        self.zero = zero
        super().__init__(zero.shape[:1], zero.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.zero

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return unit(torch.randn((*sample_shape, *self.zero.shape), dtype=self.zero.dtype, device=self.zero.device))

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.full_like(value[..., 0], -log_area(value.shape[-1]))

    def entropy(self) -> Tensor:
        """log |S|, (N,) nats."""
        return self.zero.new_full(self.batch_shape, log_area(self.event_shape[0]))


class VonMisesFisher(Distribution):
    """The density ∝ exp(κ μᵀz) over unit vectors z of R^D.

    Args:
        mean_direction: μ, unit vectors, (N, D) with D ≥ 2.
        concentration: κ ≥ 0, (N,); at 0 the density is uniform.

    >>> q = VonMisesFisher(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([2.0]))
    >>> round(q.log_prob(q.centre).item(), 4)  # log( κ/4π sinh κ ) + κ
    -1.1262
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the posteriors see to it

    mu: Tensor
    kappa: Tensor
    log_f: Tensor
    ratio: Tensor
    rest: Tensor

    def __init__(self, mean_direction: Tensor, concentration: Tensor) -> None:
        self.mu, self.kappa = mean_direction, concentration
        size = mean_direction.shape[-1]
        self.log_f, self.ratio, self.rest = bessel(size / 2 - 1, concentration)  # log F_ν − κ, r, 1 − r
        super().__init__(concentration.shape, mean_direction.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[z] = r μ, inside the ball."""
        return self.ratio.unsqueeze(-1) * self.mu

    @property
    def centre(self) -> Tensor:
        """μ, the likeliest value."""
        return self.mu

    @property
    def mode(self) -> Tensor:
        return self.mu

    def log_prob(self, value: Tensor) -> Tensor:
        apart = 0.5 * (value - self.mu).square().sum(-1)  # 1 − t, exact where t is nearly 1
        return -self.kappa * apart - self.log_f - log_area(self.event_shape[0])

    def entropy(self) -> Tensor:
        """−E[log q(z)], (N,) nats."""
        return self.kappa * self.rest + self.log_f + log_area(self.event_shape[0])

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        mu, kappa = self.mu.detach(), self.kappa.detach()
        with torch.no_grad():
            angle = _Angle(self.event_shape[0], wide(kappa).expand(*sample_shape, *kappa.shape))
            phi = angle.sample()
            still = _about(wide(mu), *angle.place(phi)).to(mu.dtype)
            t = (still * mu).sum(-1, keepdim=True)
        z = still
        if torch.is_grad_enabled() and self.mu.requires_grad:
            turn = self.mu - mu  # zero, with a gradient
            z = z + (t * turn - (still * turn).sum(-1, keepdim=True) * mu)
        if torch.is_grad_enabled() and self.kappa.requires_grad:
            pull = angle.pull(phi, wide(self.rest.detach())).to(mu.dtype) * (self.kappa - kappa)
            z = z + pull.unsqueeze(-1) * (mu - t * still)
        return z


class _Angle:
    """The angle φ of Wood's proposal, which decides t = μᵀz; all in the notation of the module's docstring.

    Args:
        size: D.
        kappa: κ, the shape of all that comes out.
    """

    def __init__(self, size: int, kappa: Tensor) -> None:
        self.size, self.kappa = size, kappa
        self.b = (size - 1) / (2 * kappa + (4 * kappa.square() + (size - 1) ** 2).sqrt())

    def place(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """1 − t and √(1 − t²)."""
        half_sine = (0.5 * phi).sin().square()
        delta = self._delta(phi)
        return 2 * self.b * half_sine / delta, self.b.sqrt() * phi.sin() / delta

    def sample(self) -> Tensor:
        """φ, by proposing again what was refused."""
        kappa = self.kappa.flatten()
        phi, refused = torch.empty_like(kappa), torch.arange(len(kappa), device=kappa.device)
        while len(refused):
            some = _Angle(self.size, kappa[refused])
            proposed = some._propose()
            kept = some._log_kept(proposed) >= -torch.empty_like(proposed).exponential_()
            phi[refused[kept]] = proposed[kept]
            refused = refused[~kept]
        return phi.view(self.kappa.shape)

    def pull(self, phi: Tensor, rest: Tensor) -> Tensor:
        """s(φ), for ``rest`` = 1 − r."""
        nodes, weights = (torch.as_tensor(v, dtype=phi.dtype, device=phi.device) for v in _legendre())
        reach = min(0.5 * math.pi, WIDTH / math.sqrt(max(1, self.size - 2)))
        near = self.place(phi)[0] <= rest  # t ≥ r
        start = torch.where(near, 0.5 * math.pi - reach, phi)
        half = 0.5 * (torch.where(near, phi, 0.5 * math.pi + reach) - start)
        at = start.unsqueeze(-1) + half.unsqueeze(-1) * (1 + nodes)
        fine = _Angle(self.size, self.kappa.unsqueeze(-1))
        density = (fine._log_density(at) - self._log_density(phi).unsqueeze(-1)).exp()
        apart = (fine.place(at)[0] - rest.unsqueeze(-1)).abs()
        return half * ((apart * density) @ weights) / phi.sin()

    def _propose(self) -> Tensor:
        shape = torch.full_like(self.kappa, 0.5 * (self.size - 1))
        one, other = (torch._standard_gamma(shape).clamp_min(torch.finfo(shape.dtype).tiny) for _ in range(2))
        return 2 * torch.atan2(one.sqrt(), other.sqrt())  # u = one/(one + other)

    def _delta(self, phi: Tensor) -> Tensor:
        return (0.5 * phi).cos().square() + self.b * (0.5 * phi).sin().square()

    def _log_kept(self, phi: Tensor) -> Tensor:
        """log a(φ)."""
        nearer = 2 * self.b / (1 + self.b) - self.place(phi)[0]
        return self.kappa * nearer + (self.size - 1) * ((1 + self.b) / (2 * self._delta(phi))).log()

    def _log_density(self, phi: Tensor) -> Tensor:
        return self._log_kept(phi) + (self.size - 2) * phi.sin().log()


@cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)


def unit(x: Tensor) -> Tensor:
    """The unit vectors in the direction of x, (…, D); the first axis where x is zero."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    first = torch.zeros_like(x)
    first[..., 0] = 1
    return torch.where(length > TINY, x / length.clamp_min(TINY), first)


def _about(mu: Tensor, apart: Tensor, radius: Tensor) -> Tensor:
    """z with 1 − μᵀz = ``apart`` (…,) and a uniform direction across μ (…, D), in which its length is ``radius`` (…,).

    It is drawn about the first axis e and brought to μ by the reflection across a = μ ± e, with the sign of μ_1, which
    takes e to ∓μ and is stable wherever μ lies: |a|² = 2 (1 + |μ_1|) ≥ 2.
    """
    noise = torch.randn((*apart.shape, mu.shape[-1] - 1), dtype=mu.dtype, device=mu.device)
    z = torch.cat([1 - apart.unsqueeze(-1), radius.unsqueeze(-1) * unit(noise)], -1)
    first = mu[..., :1]
    sign = torch.where(first < 0, -1.0, 1.0).to(mu.dtype)
    axis = torch.cat([first + sign, mu[..., 1:]], -1)
    return sign * (axis * (axis * z).sum(-1, keepdim=True) / (1 + first.abs()) - z)


@register_divergence(VonMisesFisher, UniformSphere)
def _vmf_uniform(q: VonMisesFisher, p: UniformSphere) -> Tensor:
    """−κ (1 − r) − (log F_ν − κ), one group: no coordinate of z is independent of the others."""
    return (-q.kappa * q.rest - q.log_f).unsqueeze(-1)
