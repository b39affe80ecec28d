"""Discrete latents: categories as one-hot rows, and bits.

L independent variables with one of K values each, z of shape (N, L, K) with rows of a single one, and independent bits, z of
shape (N, D). With logits a, and σ the logistic function,

    log p(z) = Σ_l Σ_k z_lk log π_lk,   π_l = softmax(a_l)                             (N,) nats
    log p(z) = Σ_d z_d log σ(a_d) + (1 − z_d) log σ(−a_d)

Both are linear in z, so that they say something of every point between the values too, and both divergences are sums over
the values of each variable, with 0 log 0 = 0:

    KL(q ‖ p) = Σ_l Σ_k π^q_lk ( log π^q_lk − log π^p_lk )

Where each variable depends on those before it, log p(z) = Σ_l Σ_k z_lk log π_lk(z_<l).

Logarithms of probabilities are never taken of probabilities: log-softmax and log σ stay exact where a probability
underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from taut.distributions.course import Course
from taut.distributions.divergence import register_divergence
from taut.distributions.flow import full_precision
from taut.distributions.tempered import log_temperature, tempered

__all__ = ["AutoregressiveOneHot", "Bits", "OneHot", "one_hot"]


def one_hot(scores: Tensor) -> Tensor:
    """A one where a row (..., K) is greatest, zeros elsewhere."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)


def _expected(weight: Tensor, log: Tensor) -> Tensor:
    """weight · log, zero where the weight is, whatever the logarithm."""
    return weight * log.masked_fill(weight == 0, 0.0)


class _Rows(Course):
    """A course whose elements are the numbers of the categories."""

    def spell(self, value: Tensor) -> Tensor:
        return value.argmax(-1)

    def read(self, elements: Tensor) -> Tensor:
        rows = torch.nn.functional.one_hot(elements, self.event_shape[-1])
        return rows.to(self.dtype)


class OneHot(_Rows, Distribution):
    """L independent variables of K categories, each value a row of one one and zeros.

    Args:
        logits: log π up to a constant a row, (N, L, K).

    >>> q = OneHot(torch.tensor([[[0.0, 0.0], [2.0, 0.0]]]))
    >>> q.log_prob_parts(q.centre).exp()
    tensor([[0.5000, 0.8808]])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the families see to it

    log_probs: Tensor

    def __init__(self, logits: Tensor) -> None:
        self.log_probs = logits.log_softmax(-1)
        super().__init__(logits.shape[:1], logits.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """π, (N, L, K)."""
        return self.log_probs.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    @property
    def centre(self) -> Tensor:
        """The most probable value."""
        return one_hot(self.log_probs)

    @staticmethod
    def nearest(points: Tensor) -> Tensor:
        """The value nearest to each point."""
        return one_hot(points)

    @staticmethod
    def values(event: tuple[int, ...]) -> Tensor:
        """What one variable of an event can be, (K, K)."""
        return torch.eye(event[-1])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """The greatest of log π + g, with g Gumbel-distributed, is k with probability π_k."""
        log_probs = self.log_probs.expand(*sample_shape, *self.log_probs.shape)
        return one_hot(log_probs + gumbel(log_probs))

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(z_l) of each variable, (N, L) nats."""
        return _expected(value, self.log_probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    @property
    def dtype(self) -> torch.dtype:
        return self.log_probs.dtype

    def rows(self, index: Tensor) -> OneHot:
        """The densities of some rows, (M,) of N."""
        return OneHot(self.log_probs[index])

    def blank(self) -> Tensor:
        return self.log_probs.new_zeros(self.log_probs.shape[:-1], dtype=torch.long)

    def conditional(self, elements: Tensor, position: slice) -> Tensor:
        return self.log_probs[:, position]


def gumbel(like: Tensor) -> Tensor:
    """Gumbel noise −log e with e ~ Exp(1), of the shape, device and precision of a tensor."""
    noise = torch.empty_like(like, memory_format=torch.contiguous_format).exponential_()
    return -noise.clamp_min(torch.finfo(like.dtype).tiny).log()


class AutoregressiveOneHot(_Rows, Distribution):
    """Π_l p(z_l | z_<l) over one-hot rows, each conditional given by a network that sees z_<l alone.

    Args:
        conditionals: rows z (..., N, L, K) → log π (..., N, L, K), row l normalised and of z_<l only.
        rows: N.
        event: (L, K).
        like: a tensor whose device and precision samples have.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    conditionals: Callable[[Tensor], Tensor]
    like: Tensor

    def __init__(
        self, conditionals: Callable[[Tensor], Tensor], rows: int, event: tuple[int, ...], like: Tensor
    ) -> None:
        self.conditionals, self.like = conditionals, like
        super().__init__(torch.Size([rows]), torch.Size(event), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """One variable after the other: L passes of the network."""
        z = self.like.new_zeros(*sample_shape, *self.batch_shape, *self.event_shape)
        with full_precision(z):
            for i in range(self.event_shape[0]):
                log_probs = self.conditionals(z)[..., i, :]
                z[..., i, :] = one_hot(log_probs + gumbel(log_probs))
        return z

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(z_l | z_<l), (N, L) nats."""
        with full_precision(value):
            return _expected(value, self.conditionals(value)).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    @property
    def dtype(self) -> torch.dtype:
        return self.like.dtype

    @property
    def steps(self) -> list[slice]:
        return [slice(i, i + 1) for i in range(self.event_shape[0])]

    def blank(self) -> Tensor:
        return self.like.new_zeros(*self.batch_shape, self.event_shape[0], dtype=torch.long)

    def conditional(self, elements: Tensor, position: slice) -> Tensor:
        with full_precision(self.like):
            return self.conditionals(self.read(elements))[:, position]


class Bits(Course, Distribution):
    """Independent zeros and ones, the first axis the batch and all others the event.

    Args:
        logits: the log-odds of a one, (N, *event).

    >>> q = Bits(torch.tensor([[0.0, 2.0]]))
    >>> q.log_prob_parts(q.centre).exp()
    tensor([[0.5000, 0.8808]])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the families see to it

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:1], logits.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The probability of a one, (N, *event)."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        return self.logits.sigmoid() * (-self.logits).sigmoid()

    @property
    def centre(self) -> Tensor:
        """The most probable value; zero where both are."""
        return (self.logits > 0).to(self.logits.dtype)

    @staticmethod
    def nearest(points: Tensor) -> Tensor:
        """The value nearest to each point; zero half-way."""
        return (points > 0.5).to(points.dtype)

    @staticmethod
    def values(event: tuple[int, ...]) -> Tensor:
        """What one bit of an event can be, (2, 1)."""
        return torch.tensor([[0.0], [1.0]])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        mean = self.mean.expand(*sample_shape, *self.logits.shape)
        return (torch.rand_like(mean, memory_format=torch.contiguous_format) < mean).to(mean.dtype)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log p(z_d) of each bit, (N, D) nats."""
        one, zero = logsigmoid(self.logits), logsigmoid(-self.logits)
        return (_expected(value, one) + _expected(1 - value, zero)).flatten(-len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    def rows(self, index: Tensor) -> Bits:
        """The densities of some rows, (M,) of N."""
        return Bits(self.logits[index])

    def blank(self) -> Tensor:
        return self.logits.new_zeros(self.logits.shape).flatten(1)

    def conditional(self, elements: Tensor, position: slice) -> Tensor:
        logits = self.logits.flatten(1)[:, position]
        return torch.stack([logsigmoid(-logits), logsigmoid(logits)], -1)


@register_divergence(OneHot, OneHot)
def _categories(q: OneHot, p: OneHot) -> Tensor:
    """Σ_k π^q_k log (π^q_k / π^p_k), for each variable."""
    return _expected(q.mean, q.log_probs - p.log_probs).sum(-1)


@register_divergence(Bits, Bits)
def _bits(q: Bits, p: Bits) -> Tensor:
    """Σ over zero and one, for each bit."""
    one = _expected(q.mean, logsigmoid(q.logits) - logsigmoid(p.logits))
    zero = _expected((-q.logits).sigmoid(), logsigmoid(-q.logits) - logsigmoid(-p.logits))
    return (one + zero).flatten(1)


@tempered.register
def _(p: OneHot, temperature: float) -> Distribution:
    """The logits are divided by T: below 1 the probable becomes more so."""
    log_temperature(temperature)
    return p if temperature == 1 else OneHot(p.log_probs / temperature)


@tempered.register
def _(p: Bits, temperature: float) -> Distribution:
    log_temperature(temperature)
    return p if temperature == 1 else Bits(p.logits / temperature)


@tempered.register
def _(p: AutoregressiveOneHot, temperature: float) -> Distribution:
    """The logits of each conditional are divided by T."""
    log_temperature(temperature)
    if temperature == 1:
        return p

    def conditionals(z: Tensor) -> Tensor:
        return (p.conditionals(z) / temperature).log_softmax(-1)

    return AutoregressiveOneHot(conditionals, p.batch_shape[0], p.event_shape, p.like)
