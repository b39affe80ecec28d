"""Posteriors over categories and over bits, sampled as they are: gradients by the score function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taut import distributions
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule
from taut.priors import Space

__all__ = ["Bernoulli", "Categorical"]

BOUND = 16.0
"""|logit|, softly: probabilities as small as 1e-7 for a bit, with a gradient left wherever the encoder may go."""


def bounded(raw: Tensor) -> Tensor:
    """Logits of the encoder's numbers."""
    return BOUND * (raw / BOUND).tanh()


def require_categories(number: int) -> None:
    """Refuse a variable that has no choice.

    Raises:
        InputError: naming the number.
    """
    if number < 2:
        raise InputError("categories", f"is {number}", "give 2 or more")


@dataclass(frozen=True)
class Categorical(Posterior):
    """q(z|x) = Π_l π_l(x)^{z_l}, a category for each latent, as a one-hot row.

    Logits are softly bounded to ±16. Nothing can be moved along a draw, so the gradient is by the score function. Against
    a prior of independent categories the divergence is in closed form and comes per variable.

    Args:
        categories: K, how many values each latent can take.
    """

    space: ClassVar[Space] = "categories"
    estimators: ClassVar[tuple[str, ...]] = ("Score", "RLOO", "VIMCO")

    categories: int = 10

    def __post_init__(self) -> None:
        require_categories(self.categories)

    def event(self, latents: int) -> tuple[int, ...]:
        return (latents, self.categories)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Categories(event)


class _Categories(PosteriorModule):
    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event, math.prod(event))

    def forward(self, params: Tensor) -> distributions.OneHot:
        return distributions.OneHot(bounded(params).view(params.shape[0], *self.event))


@dataclass(frozen=True)
class Bernoulli(Posterior):
    """q(z|x) = Π_d σ(a_d(x))^{z_d} σ(−a_d(x))^{1 − z_d}, a zero or a one for each latent.

    Log-odds are softly bounded to ±16. Nothing can be moved along a draw, so the gradient is by the score function.
    Against a prior of independent bits the divergence is in closed form and comes per bit.
    """

    space: ClassVar[Space] = "bits"
    estimators: ClassVar[tuple[str, ...]] = ("Score", "RLOO", "VIMCO")

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Bits(event)


class _Bits(PosteriorModule):
    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event, math.prod(event))

    def forward(self, params: Tensor) -> distributions.Bits:
        return distributions.Bits(bounded(params).view(params.shape[0], *self.event))
