"""Vector quantisation: for each latent the nearest of K points, the codes.

The encoder gives L vectors y_l, the codebook is e_1 … e_K, and z_l is e_k with

    k_l = argmin_k ‖y_l − e_k‖²

(van den Oord, Vinyals and Kavukcuoglu 2017). What the model is of are the indices k: q(k|x) has all its mass on one, so
log q = 0, and the divergence from a prior p(k) is exact,

    KL(q ‖ p) = −log p(k)        (N,) nats

z is the indices embedded, (N, L, W), which is what the layers below read. Backwards ∂z/∂y is taken to be the identity, the
straight-through gradient. Two terms of the loss, of no bound, bring codes and vectors together, with sg where gradients stop:

    codebook     ‖sg[y] − e_k‖²
    commitment   c ‖y − sg[e_k]‖²
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.course import Course
from taut.distributions.discrete import one_hot
from taut.distributions.divergence import register_divergence
from taut.distributions.tempered import tempered

__all__ = ["Embedded", "Quantised", "nearest_code"]


def nearest_code(points: Tensor, codebook: Tensor) -> Tensor:
    """The code nearest to each point as a one-hot row, (..., W) and (K, W) → (..., K)."""
    # ‖y − e‖² = ‖y‖² − 2 (y·e − ½ ‖e‖²)
    return one_hot(points @ codebook.T - 0.5 * codebook.square().sum(1))


class _Codes(Course):
    """A course whose elements are the numbers of the codes."""

    codebook: Tensor

    def spell(self, value: Tensor) -> Tensor:
        return nearest_code(value, self.codebook).argmax(-1)

    def read(self, elements: Tensor) -> Tensor:
        return self.codebook[elements]


class Quantised(_Codes, Distribution):
    """All mass on the codes nearest to what the encoder says.

    Args:
        points: y, (N, L, W).
        codebook: e, (K, W).
        commitment: c.

    >>> codebook = torch.tensor([[0.0], [1.0]])
    >>> Quantised(torch.tensor([[[0.2], [0.9]]]), codebook).mean
    tensor([[[0.],
             [1.]]])
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the families see to it

    points: Tensor
    codebook: Tensor
    commitment: float
    index: Tensor
    codes: Tensor

    def __init__(self, points: Tensor, codebook: Tensor, commitment: float = 0.25) -> None:
        self.points, self.codebook, self.commitment = points, codebook, commitment
        self.index = nearest_code(points.detach(), codebook.detach())
        self.codes = self.index @ codebook
        super().__init__(points.shape[:1], points.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.codes

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.codes)

    @property
    def extras(self) -> dict[str, Tensor]:
        """Terms of the loss, (N,) each, that are part of no bound."""
        return {
            "codebook": (self.points.detach() - self.codes).square().sum((1, 2)),
            "commitment": self.commitment * (self.points - self.codes.detach()).square().sum((1, 2)),
        }

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """The codes; gradients pass to y as if they were it."""
        z = self.codes.detach() + (self.points - self.points.detach())
        return z.expand(*sample_shape, *z.shape)

    def rsample_and_log_prob(self) -> tuple[Tensor, Tensor]:
        return self.rsample(), self.points.new_zeros(self.batch_shape)

    def log_prob_parts(self, value: Tensor) -> Tensor:
        """log q(k_l) of each latent, (N, L) nats: 0 at its code, −∞ elsewhere."""
        there = (nearest_code(value, self.codebook) == self.index).all(-1)
        return torch.where(there, 0.0, -torch.inf).to(self.points.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_parts(value).sum(-1)

    def blank(self) -> Tensor:
        return torch.zeros_like(self.index[..., 0], dtype=torch.long)

    def conditional(self, elements: Tensor, position: slice) -> Tensor:
        return self.index[:, position].log()


class Embedded(_Codes, Distribution):
    """A density of one-hot rows, seen as one of the codes that they name.

    Args:
        index: p(k), over rows (N, L, K).
        codebook: e, (K, W).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the families see to it

    index: Distribution
    codebook: Tensor

    def __init__(self, index: Distribution, codebook: Tensor) -> None:
        self.index, self.codebook = index, codebook
        event = torch.Size([index.event_shape[0], codebook.shape[1]])
        super().__init__(index.batch_shape, event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean code, (N, L, W), where the density of the rows has a mean."""
        return self.index.mean @ self.codebook

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.index.sample(sample_shape) @ self.codebook

    @property
    def steps(self) -> Sequence[slice]:
        return self.index.steps

    def blank(self) -> Tensor:
        return self.index.blank()

    def conditional(self, elements: Tensor, position: slice) -> Tensor:
        return self.index.conditional(elements, position)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.index.log_prob(nearest_code(value, self.codebook))

    @property
    def log_prob_parts(self) -> Callable[[Tensor], Tensor]:
        """log p(k_l) of each latent, (N, L) nats, where the density of the rows factorises."""
        parts = self.index.log_prob_parts  # an AttributeError where it does not: so this has none either
        return lambda value: parts(nearest_code(value, self.codebook))


@register_divergence(Quantised, Embedded)
def _code_length(q: Quantised, p: Embedded) -> Tensor:
    """−log p(k), for each latent where p factorises."""
    if hasattr(p.index, "log_prob_parts"):
        return -p.index.log_prob_parts(q.index)
    return -p.index.log_prob(q.index).unsqueeze(1)


@tempered.register
def _(p: Embedded, temperature: float) -> Distribution:
    """The density of the rows has the temperature; the codes stay."""
    return Embedded(tempered(p.index, temperature), p.codebook)
