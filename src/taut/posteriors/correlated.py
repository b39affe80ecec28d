"""Normals of latents that correlate given x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from taut import distributions
from taut.distributions import soft
from taut.errors import InputError
from taut.networks.base import positive
from taut.posteriors.base import Posterior, PosteriorModule

__all__ = ["FullNormal"]


@dataclass(frozen=True)
class FullNormal(Posterior):
    """q(z|x) = N(μ, L Lᵀ), a normal of full covariance, or of low rank plus diagonal (Rezende, Mohamed and Wierstra 2014).

    L = diag σ (I + A), with A strictly lower triangular; with ``rank`` R the covariance is diag σ (I + A Aᵀ) diag σ with A of D
    rows and R columns. The encoder gives μ, log σ, softly bounded to ±8, and the numbers of A, softly bounded to ±8 and
    divided by the root of the number of columns, so that latents start nearly independent. The divergence uses this density
    itself, and so does every bound; from normal and AR(1) priors it is in closed form, from others sampled, and one group
    for the layer. Log q(z) of a draw is found from its noise; where it must be found from z alone, as by the estimators STL
    and DReG, full covariances of very strong correlations lose digits, which low ranks do not.

    Args:
        rank: R, columns of A; the full covariance if left open.
    """

    codable: ClassVar[bool] = True

    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None:
            positive("rank", self.rank)

    def check(self, latents: int) -> None:
        if self.rank is not None and self.rank > latents:
            raise InputError("model.posterior.rank", f"is {self.rank}, more than there are latents ({latents})",
                             f"give at most {latents}, or leave it open")  # fmt: skip

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Full(event) if self.rank is None else _LowRank(event, self.rank)


class _Correlated(PosteriorModule):
    bound = 8.0

    def __init__(self, event: tuple[int, ...], mixing: int, columns: int) -> None:
        self.size = math.prod(event)
        super().__init__(event, 2 * self.size + mixing)
        self.columns = columns

    def numbers(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """μ and log σ, (N, *event) each, and the numbers of A, (N, ·)."""
        mean, raw, mixing = params.split([self.size, self.size, self.width - 2 * self.size], 1)
        log_scale = soft(raw, self.bound).view(-1, *self.event)
        return mean.view(-1, *self.event), log_scale, soft(mixing, self.bound) / math.sqrt(self.columns)


class _Full(_Correlated):
    below: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        size = math.prod(event)
        super().__init__(event, size * (size - 1) // 2, size)
        self.register_buffer("below", torch.tril_indices(size, size, -1), persistent=False)

    def forward(self, params: Tensor) -> distributions.FullNormal:
        mean, log_scale, numbers = self.numbers(params)
        mixing = numbers.new_zeros(len(numbers), self.size, self.size)
        mixing[:, self.below[0], self.below[1]] = numbers
        return distributions.FullNormal(mean, log_scale, mixing)


class _LowRank(_Correlated):
    def __init__(self, event: tuple[int, ...], rank: int) -> None:
        super().__init__(event, math.prod(event) * rank, rank)

    def forward(self, params: Tensor) -> distributions.LowRankNormal:
        mean, log_scale, numbers = self.numbers(params)
        return distributions.LowRankNormal(mean, log_scale, numbers.view(-1, self.size, self.columns))
