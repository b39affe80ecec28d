"""Posteriors over categories and over bits, sampled as they are: gradients by the score function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from taut.distributions import Bits, OneHot, soft
from taut.errors import InputError
from taut.posteriors.base import Posterior, PosteriorModule
from taut.priors import Space

__all__ = ["Bernoulli", "Categorical"]

BOUND = 16.0
"""|logit|, softly: probabilities as small as 1e-7 for a bit, with a gradient left wherever the encoder may go."""


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

    codable: ClassVar[bool] = True
    space: ClassVar[Space] = "categories"
    factorised: ClassVar[bool] = True
    estimators: ClassVar[tuple[str, ...]] = ("Score", "RLOO", "VIMCO")

    categories: int = 10

    def __post_init__(self) -> None:
        require_categories(self.categories)

    def event(self, latents: int) -> tuple[int, ...]:
        return (latents, self.categories)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return Choices(OneHot, event)


@dataclass(frozen=True)
class Bernoulli(Posterior):
    """q(z|x) = Π_d σ(a_d(x))^{z_d} σ(−a_d(x))^{1 − z_d}, a zero or a one for each latent.

    Log-odds are softly bounded to ±16. Nothing can be moved along a draw, so the gradient is by the score function.
    Against a prior of independent bits the divergence is in closed form and comes per bit.
    """

    codable: ClassVar[bool] = True
    space: ClassVar[Space] = "bits"
    factorised: ClassVar[bool] = True
    estimators: ClassVar[tuple[str, ...]] = ("Score", "RLOO", "VIMCO")

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return Choices(Bits, event)


class Choices(PosteriorModule):
    """Logits of what the encoder says, (N, width) → a density of categories or of bits.

    Args:
        family: which.
        event: the shape of z.
    """

    scale: float

    def __init__(self, family: type[OneHot | Bits], event: tuple[int, ...]) -> None:
        super().__init__(event, math.prod(event))
        self.family = family
        self.scale = float(family(torch.zeros(1, *event)).variance.flatten()[0].sqrt())

    @property
    def values(self) -> Tensor:
        return self.family.values(self.event)

    def place(self, z: Tensor) -> Tensor:
        return self.family.nearest(z)

    def forward(self, params: Tensor) -> OneHot | Bits:
        return self.family(soft(params, BOUND).view(params.shape[0], *self.event))
