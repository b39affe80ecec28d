"""Normals whose elements correlate: of full covariance, and of low rank plus diagonal.

Both mix noises into the elements in units of each element's own σ, by a matrix A with one row an element. With ε ~ N(0, I_D),

    full       z = μ + σ ⊙ (ε + A ε)     A (D, D) strictly lower triangular          K = (I + A)(I + A)ᵀ
    low rank   z = μ + σ ⊙ (ε + A η)     A (D, R), η ~ N(0, I_R) a noise of its own    K = I + A Aᵀ

so that in both q(z) = N(μ, diag σ K diag σ), Var z_d = σ_d² (1 + Σ_r A_dr²), and A = 0 is the diagonal normal. The first is
the general normal, L = diag σ (I + A) its Cholesky factor. With y = (z − μ)/σ,

    log q(z) = −½ ( yᵀ K⁻¹ y + log |K| + D log 2π ) − Σ_d log σ_d        (N,) nats

    full       yᵀ K⁻¹ y = |ε|² for the ε with (I + A) ε = y,                log |K| = 0
    low rank   yᵀ K⁻¹ y = |y − A η|² + |η|² for η = C⁻¹ Aᵀ y,   log |K| = log |C|,   C = I + AᵀA  (R, R)

The last line is the matrix determinant lemma and Woodbury's identity, written as the size of the likeliest two noises that give
y: squares are added, where the identity as it is known, yᵀy − yᵀA C⁻¹ Aᵀy, would take one large number from another.

A divergence from a diagonal normal asks for the two moments of each element; one from an AR(1) process for the covariance of
neighbours too. Both come as one group.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.autoregressive import AR1
from taut.distributions.course import Continuum, Course
from taut.distributions.divergence import register_divergence
from taut.distributions.flow import full_precision
from taut.distributions.normal import DiagonalNormal, normal_cdf
from taut.distributions.once import once
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["FullNormal", "LowRankNormal"]

_LOG_2PI = math.log(2 * math.pi)


class _Correlated(Course, Distribution):
    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    mu: Tensor
    log_scale: Tensor
    mixing: Tensor

    def __init__(self, mean: Tensor, log_scale: Tensor, mixing: Tensor) -> None:
        self.mu, self.log_scale, self.mixing = mean, log_scale, mixing
        super().__init__(mean.shape[:1], mean.shape[1:], validate_args=False)

    @property
    @abstractmethod
    def correlator(self) -> Tensor:
        """K, (N, D, D)."""

    @property
    @abstractmethod
    def factor(self) -> Tensor:
        """F, lower triangular with F Fᵀ = K, (N, D, D)."""

    @abstractmethod
    def half_log_det(self) -> Tensor:
        """½ log |K|, (N,)."""

    @abstractmethod
    def square(self, y: Tensor) -> Tensor:
        """yᵀ K⁻¹ y for y (S, N, D), (S, N)."""

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def mode(self) -> Tensor:
        return self.mu

    @property
    def variance(self) -> Tensor:
        widened = 1 + self.mixing.square().sum(2).view_as(self.log_scale)
        return (2 * self.log_scale).exp() * widened

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    @property
    def covariance_matrix(self) -> Tensor:
        """diag σ K diag σ of the flattened event, (N, D, D)."""
        scale = self.log_scale.exp().flatten(1)
        return scale.unsqueeze(2) * self.correlator * scale.unsqueeze(1)

    @property
    @abstractmethod
    def triangular(self) -> FullNormal:
        """The same density by a triangular A."""

    @property
    def steps(self) -> list[slice]:
        return [slice(d, d + 1) for d in range(self.event_shape.numel())]

    def blank(self) -> Tensor:
        return self.mu.new_zeros(self.mu.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        """z_d given z_<d, which tell ε_<d: N(μ_d + σ_d Σ_{j<d} A_dj ε_j, σ_d²)."""
        d, full = position.start, self.triangular
        mu, scale, mixing = full.mu.flatten(1), full.log_scale.flatten(1).exp(), full.mixing
        before = ((elements - mu) / scale)[:, :d].unsqueeze(2)
        with full_precision(before):
            noise = torch.linalg.solve_triangular(mixing[:, :d, :d], before, upper=False, unitriangular=True)
            carried = mixing[:, position, :d] @ noise
        mean, scale = mu[:, position] + scale[:, position] * carried.squeeze(2), scale[:, position]
        return Continuum(partial(normal_cdf, mean=mean, scale=scale), mean, scale)

    def rows(self, index: Tensor) -> _Correlated:
        """The densities of some rows, (M,) of N."""
        return type(self)(self.mu[index], self.log_scale[index], self.mixing[index])

    def entropy(self) -> Tensor:
        """H(q), (N,) nats."""
        size = self.event_shape.numel()
        return self.log_scale.flatten(1).sum(1) + self.half_log_det() + 0.5 * size * (1 + _LOG_2PI)

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z = μ + σ ⊙ F ε."""
        flat = noise.flatten(1)
        with full_precision(flat):
            y = torch.einsum("nde,ne->nd", self.factor, flat)
        z = torch.addcmul(self.mu, self.log_scale.exp(), y.unflatten(1, self.event_shape))
        return z, 0.5 * (flat.shape[1] - flat.square().sum(1)) - self.entropy()

    def to_noise(self, value: Tensor) -> Tensor:
        y = ((value - self.mu) * (-self.log_scale).exp()).flatten(1)
        with full_precision(y):
            noise = torch.linalg.solve_triangular(self.factor, y.unsqueeze(2), upper=False)
        return noise.squeeze(2).unflatten(1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        y = ((value - self.mu) * (-self.log_scale).exp()).flatten(-len(self.event_shape))
        with full_precision(y):
            square = self.square(y.reshape(-1, *y.shape[-2:])).view(y.shape[:-1])
        return 0.5 * (y.shape[-1] - square) - self.entropy()

    def _noise(self, shape: torch.Size, size: int) -> Tensor:
        return torch.randn((*shape, *self.batch_shape, size), dtype=self.mu.dtype, device=self.mu.device)

    def _placed(self, noise: Tensor, mixed: Tensor) -> Tensor:
        """μ + σ ⊙ (ε + A η) for ε (..., N, D) and the η that A mixes."""
        with full_precision(noise):
            y = noise + torch.einsum("ndr,...nr->...nd", self.mixing, mixed)
        return torch.addcmul(self.mu, self.log_scale.exp(), y.unflatten(-1, self.event_shape))


def _eye(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


class FullNormal(_Correlated):
    """N(μ, L Lᵀ) with L = diag σ (I + A).

    Args:
        mean: μ, shape (N, *event), D elements.
        log_scale: log σ, the same shape.
        mixing: A, strictly lower triangular, (N, D, D).

    >>> q = FullNormal(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))
    >>> q.covariance_matrix
    tensor([[[1., 1.],
             [1., 2.]]])
    """

    @property
    def factor(self) -> Tensor:
        return self.mixing + _eye(self.mixing)

    @property
    def correlator(self) -> Tensor:
        with full_precision(self.mixing):
            return self.factor @ self.factor.mT

    @property
    def triangular(self) -> FullNormal:
        return self

    def half_log_det(self) -> Tensor:
        return self.mixing.new_zeros(self.batch_shape)

    def square(self, y: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(self.mixing, y.permute(1, 2, 0), upper=False, unitriangular=True)
        return noise.square().sum(1).T

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        noise = self._noise(torch.Size(sample_shape), self.event_shape.numel())
        return self._placed(noise, noise)

    def rsample_and_log_prob(self) -> tuple[Tensor, Tensor]:
        """z and log q(z), which the noise knows without a system to solve, however badly conditioned L may be."""
        noise = self._noise(torch.Size(), self.event_shape.numel())
        log_q = 0.5 * (noise.shape[1] - noise.square().sum(1)) - self.entropy()
        return self._placed(noise, noise), log_q


class LowRankNormal(_Correlated):
    """N(μ, diag σ (I + A Aᵀ) diag σ), at the cost of D R numbers.

    Args:
        mean: μ, shape (N, *event), D elements.
        log_scale: log σ, the same shape.
        mixing: A, (N, D, R).

    >>> q = LowRankNormal(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2, 1))
    >>> q.covariance_matrix
    tensor([[[2., 1.],
             [1., 2.]]])
    """

    def __init__(self, mean: Tensor, log_scale: Tensor, mixing: Tensor) -> None:
        super().__init__(mean, log_scale, mixing)
        with full_precision(mixing):
            inner = mixing.mT @ mixing
            self._inner = torch.linalg.cholesky(inner + _eye(inner))  # of C, (N, R, R)

    @property
    def factor(self) -> Tensor:
        with full_precision(self.mixing):
            return torch.linalg.cholesky(self.correlator)

    @property
    def correlator(self) -> Tensor:
        with full_precision(self.mixing):
            outer = self.mixing @ self.mixing.mT
            return outer + _eye(outer)

    @once
    def triangular(self) -> FullNormal:
        """By the Cholesky factor of K, its diagonal taken into σ."""
        factor = torch.linalg.cholesky(self.correlator)
        diagonal = factor.diagonal(dim1=1, dim2=2)
        return FullNormal(
            self.mu, self.log_scale + diagonal.log().view_as(self.mu), (factor / diagonal.unsqueeze(2)).tril(-1)
        )

    def half_log_det(self) -> Tensor:
        return self._inner.diagonal(dim1=1, dim2=2).log().sum(1)

    def square(self, y: Tensor) -> Tensor:
        y = y.permute(1, 2, 0)
        eta = torch.cholesky_solve(self.mixing.mT @ y, self._inner)
        return ((y - self.mixing @ eta).square().sum(1) + eta.square().sum(1)).T

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape)
        noise = self._noise(shape, self.event_shape.numel())
        return self._placed(noise, self._noise(shape, self.mixing.shape[2]))


@tempered.register
def _(p: _Correlated, temperature: float) -> Distribution:
    """The whole is scaled; its correlations stay."""
    log_t = log_temperature(temperature)
    return p if temperature == 1 else type(p)(p.mu, p.log_scale + log_t, p.mixing)


@register_divergence(FullNormal, DiagonalNormal)
@register_divergence(LowRankNormal, DiagonalNormal)
def _from_diagonal(q: _Correlated, p: DiagonalNormal) -> Tensor:
    """½ ( Σ_d ( Var z_d + (μ_q − μ_p)² )/σ_p² − D − log |Σ_q|/|Σ_p| )."""
    return (p.cross_entropy_parts(q.mean, q.variance).sum(1) - q.entropy()).unsqueeze(1)


@register_divergence(FullNormal, AR1)
@register_divergence(LowRankNormal, AR1)
def _from_ar1(q: _Correlated, p: AR1) -> Tensor:
    """As if the elements were independent, and from E (z_t − α z_{t−1})² twice the covariance of neighbours taken away."""
    lag = p.event_shape[1:].numel()
    precision = (-2 * p.log_steps).exp().expand(p.event_shape).flatten()[lag:]
    shared = p.alpha * (q.covariance_matrix.diagonal(-lag, 1, 2) * precision).sum(1)
    return (p.cross_entropy_parts(q.mean, q.variance).sum(1) - shared - q.entropy()).unsqueeze(1)
