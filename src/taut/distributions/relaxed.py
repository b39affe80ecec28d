"""Relaxed categories and bits: draws inside the simplex that a gradient can pass through.

The greatest of log π_k + g_k, with g Gumbel-distributed, is k with probability π_k. A softmax at a temperature T in the place
of the greatest gives points of the simplex (Gumbel-Softmax: Jang, Gu and Poole 2017; concrete: Maddison, Mnih and Teh 2017),

    y = softmax( (log π + g)/T ),    log p(y) = log Γ(K) + (K−1) log T − Σ_k log y_k + Σ_k s_k − K logsumexp_k s_k

with s = log π − T log y. For bits, of log-odds a and with a logistic variable λ,

    y = σ( (a + λ)/T ),               log p(y) = log T − log y (1 − y) + log σ(s) + log σ(−s)

with s = a − T log( y/(1 − y) ). The greatest element of y has the probabilities π at every T, and for T → 0 is
all of y. So each of these stands for a discrete density, ``discrete``; its moments, and its divergence from a discrete prior,
are those of what it stands for.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from taut.distributions.discrete import Bits, OneHot, gumbel
from taut.distributions.divergence import closed_form, register_divergence

__all__ = ["RelaxedBits", "RelaxedOneHot", "StraightThrough"]


class _Relaxed(Distribution):
    """A density whose draws stand for those of a discrete one."""

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the families see to it

    temperature: Tensor

    def __init__(self, discrete: OneHot | Bits, temperature: Tensor | float) -> None:
        self.discrete = discrete
        self.temperature = torch.as_tensor(temperature)
        super().__init__(discrete.batch_shape, discrete.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.discrete.mean

    @property
    def variance(self) -> Tensor:
        return self.discrete.variance

    @property
    def centre(self) -> Tensor:
        return self.discrete.centre

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)


class RelaxedOneHot(_Relaxed):
    """L independent points of the simplex of K corners.

    Args:
        discrete: what they stand for.
        temperature: T > 0, a number or a tensor of one element.

    >>> q = RelaxedOneHot(OneHot(torch.tensor([[[0.0, 0.0]]])), 1.0)  # uniform: y_1 = σ(λ)
    >>> round(q.log_prob(torch.tensor([[[0.3, 0.7]]])).item(), 4)
    0.0
    """

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        log_probs = self.discrete.log_probs.expand(*sample_shape, *self.discrete.log_probs.shape)
        return ((log_probs + gumbel(log_probs)) / self.temperature).softmax(-1)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(y_l) of each variable, (N, L) nats; with respect to any K−1 of its elements."""
        k = value.shape[-1]
        log_y = value.clamp_min(torch.finfo(value.dtype).tiny).log()
        score = self.discrete.log_probs - self.temperature * log_y
        constant = math.lgamma(k) + (k - 1) * self.temperature.log()
        return constant + (score - log_y).sum(-1) - k * score.logsumexp(-1)


class RelaxedBits(_Relaxed):
    """Independent numbers between zero and one.

    Args:
        discrete: what they stand for.
        temperature: T > 0, a number or a tensor of one element.

    >>> q = RelaxedBits(Bits(torch.tensor([[0.0]])), 1.0)  # uniform
    >>> round(q.log_prob(torch.tensor([[0.3]])).item(), 4)
    0.0
    """

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        logits = self.discrete.logits.expand(*sample_shape, *self.discrete.logits.shape)
        return ((logits + gumbel(logits) - gumbel(logits)) / self.temperature).sigmoid()

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(y_d) of each bit, (N, D) nats."""
        info = torch.finfo(value.dtype)
        log_one = value.clamp_min(info.tiny).log()
        log_zero = torch.log1p(-value.clamp_max(1 - info.eps))
        score = self.discrete.logits - self.temperature * (log_one - log_zero)
        parts = self.temperature.log() - log_one - log_zero + logsigmoid(score) + logsigmoid(-score)
        return parts.flatten(-len(self.event_shape))


class StraightThrough(_Relaxed):
    """Draws from the discrete density itself, with the gradient of a relaxed one (Jang et al. 2017).

    z is the value nearest to a relaxed draw y, and ∂z/∂φ is taken to be ∂y/∂φ.

    Args:
        relaxed: what the gradient is of.
    """

    def __init__(self, relaxed: RelaxedOneHot | RelaxedBits) -> None:
        super().__init__(relaxed.discrete, relaxed.temperature)
        self.relaxed = relaxed

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        y = self.relaxed.rsample(sample_shape)
        return self.discrete.nearest(y) + (y - y.detach())

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log q(z_l) of each variable under the discrete density, nats."""
        return self.discrete.log_prob_parts(value)


@register_divergence(RelaxedOneHot, OneHot)
@register_divergence(RelaxedBits, Bits)
@register_divergence(StraightThrough, OneHot)
@register_divergence(StraightThrough, Bits)
def _of_what_it_stands_for(q: RelaxedOneHot | RelaxedBits | StraightThrough, p: OneHot | Bits) -> Tensor:
    return closed_form(q.discrete, p)
