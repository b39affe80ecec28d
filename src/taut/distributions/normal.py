"""The diagonal normal, kept in log σ, and the point mass.

With z, μ, σ of shape (N, *event),

    log N(z; μ, diag σ²) = −½ Σ ( log 2π + 2 log σ + ((z − μ)/σ)² )        (N,) nats

Keeping log σ means that no pass takes the logarithm of an exponential: σ is always positive, and the Kullback–Leibler
terms stay exact where σ is tiny.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.course import Continuum, Course

__all__ = ["Delta", "DiagonalNormal", "normal_cdf"]

_LOG_2PI = math.log(2 * math.pi)


def normal_cdf(value: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The mass of N(μ, σ²) below a value, elementwise, as exact as the type of the value."""
    return 0.5 * (1 + torch.erf((value - mean) / (math.sqrt(2) * scale)))


class DiagonalNormal(Course, Distribution):
    """N(μ, diag σ²), the first axis the batch and all others the event.

    Args:
        mean: μ, shape (N, *event).
        log_scale: log σ, the same shape.

    >>> q = DiagonalNormal(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> round(q.log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    mu: Tensor
    log_scale: Tensor

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.mu, self.log_scale = mean, log_scale
        super().__init__(mean.shape[:1], mean.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def mode(self) -> Tensor:
        return self.mu

    @property
    def stddev(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_scale).exp()

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """z = μ + σ ⊙ ε with ε ~ N(0, I): gradients reach μ and σ (Kingma and Welling 2014)."""
        noise = torch.randn((*sample_shape, *self.mu.shape), dtype=self.mu.dtype, device=self.mu.device)
        return torch.addcmul(self.mu, self.log_scale.exp(), noise)

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.log_scale.expand_as(noise)
        terms = noise.square().mul(0.5).add(scale).flatten(1).sum(1)
        return torch.addcmul(self.mu, self.log_scale.exp(), noise), -(terms + 0.5 * _LOG_2PI * self.event_shape.numel())

    def to_noise(self, value: Tensor) -> Tensor:
        return (value - self.mu) * (-self.log_scale).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        scaled = (value - self.mu) * (-self.log_scale).exp()
        terms = scaled.square().mul(0.5).add(self.log_scale)
        event = tuple(range(-len(self.event_shape), 0))
        return -(terms.sum(event) + 0.5 * _LOG_2PI * self.event_shape.numel())

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log N(z_d; μ_d, σ_d²) of each dimension, (N, D) nats; their sum is the density's logarithm."""
        scaled = (value - self.mu) * (-self.log_scale).exp()
        return -(scaled.square().mul(0.5).add(self.log_scale) + 0.5 * _LOG_2PI).flatten(-len(self.event_shape))

    def rows(self, index: Tensor) -> DiagonalNormal:
        """The densities of some rows, (M,) of N."""
        return DiagonalNormal(self.mu[index], self.log_scale[index])

    def blank(self) -> Tensor:
        return self.mu.new_zeros(self.mu.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Continuum:
        mean, scale = self.mu.flatten(1)[:, position], self.log_scale.flatten(1)[:, position].exp()
        return Continuum(partial(normal_cdf, mean=mean, scale=scale), mean, scale)

    def cross_entropy_parts(self, mean: Tensor, variance: Tensor) -> Tensor:
        """E[ −log N(z_d; μ_d, σ_d²) ] for z of these moments, (N, *event) each: (N, D) nats."""
        shift = (mean - self.mu) * (-self.log_scale).exp()
        spread = variance * (-2 * self.log_scale).exp()
        return (0.5 * (shift.square() + spread + _LOG_2PI) + self.log_scale).flatten(1)

    @property
    def nearest(self) -> DiagonalNormal:
        """The normal of independent elements with the least KL(· ‖ p): itself."""
        return self

    @property
    def least_rate(self) -> float:
        """That least divergence, nats."""
        return 0.0


class Delta(Distribution):
    """All mass at one point: what makes a VAE a plain autoencoder.

    It has no density, so a model with it has no evidence lower bound (``proper`` is false); ``log_prob`` is zero by
    convention, and its divergence from a prior is −log p(z), the infinite entropy term left out.

    Args:
        point: shape (N, *event).
    """

    has_rsample = True
    proper = False

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:1], point.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def mode(self) -> Tensor:
        return self.point

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.point)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.point.expand(*sample_shape, *self.point.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value.flatten(-len(self.event_shape))[..., 0])
