"""What symbols the elements of a density become.

Levels are their own numbers. A real number becomes one of K = B² bins of equal mass under a logistic density that has the
location and the width of the prior's conditional: of the u below which lies its mass, the first two digits to the base B,

    d₁ = ⌊B u⌋,   d₂ = ⌊B² u⌋ − B d₁,   u = σ( (z − m)/w )

each a symbol. A density of z with the distribution function F gives the first digit the masses between the edges
F(m + w logit j/B), and the second those between the B + 1 edges inside the bin of the first: 2B values of F, where a symbol of
its own for each bin would take B². What is told to the layers below is the middle of the bin, u = (B d₁ + d₂ + ½)/B².

Bins of equal mass under the prior (Townsend, Bird and Barber 2019) are fine where latents are. With w the standard deviation of
a normal prior the logistic density is 1.8 times as wide, and its bins, w/1024 in the middle, are still w/27 at five
deviations, where a normal's would long have been one: the latents of unlikely data lie there. How fine bins are costs
nothing but the first bits on the stack: those that a finer bin takes come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from taut.codec.coder import Coder
from taut.distributions import Conditional, Continuum

__all__ = ["Frame", "Grid", "Levels", "frame_of"]

BASE = 64
LEAST = 1e-30  # the weight of a bin, so that not all of them are nothing


class Levels:
    """Elements that are the numbers of levels; conditionals are log-probabilities (..., L)."""

    def pop(self, coder: Coder, conditional: Tensor) -> Tensor:
        """Symbols (...)."""
        return coder.pop(conditional.exp())

    def push(self, coder: Coder, conditional: Tensor, symbols: Tensor) -> None:
        coder.push(symbols, conditional.exp())

    def elements(self, symbols: Tensor) -> Tensor:
        return symbols

    def at(self, index: int) -> Levels:
        """Of one element alone."""
        return self


@dataclass(frozen=True)
class Grid:
    """Elements that are real numbers; symbols are the numbers of their bins.

    Args:
        location: m, (N, M).
        width: w, (N, M).
    """

    location: Tensor
    width: Tensor

    def _places(self, u: Tensor) -> Tensor:
        """The real numbers below which lies the mass u of the logistic density, in double precision."""
        return self.location.double() + self.width.double() * u.logit()

    def _weights(self, conditional: Continuum, edges: Tensor) -> Tensor:
        """Masses (..., B) between edges u (B + 1, ...)."""
        masses = conditional.cdf(self._places(edges)).diff(dim=0)
        return masses.clamp_min(LEAST).movedim(0, -1)

    def _first(self, conditional: Continuum) -> Tensor:
        edges = torch.arange(BASE + 1, dtype=torch.float64) / BASE
        return self._weights(conditional, edges.view(-1, *[1] * self.location.dim()))

    def _second(self, conditional: Continuum, first: Tensor) -> Tensor:
        inner = torch.arange(BASE + 1, dtype=torch.float64).view(-1, *[1] * self.location.dim())
        return self._weights(conditional, (BASE * first + inner) / BASE**2)

    def pop(self, coder: Coder, conditional: Continuum) -> Tensor:
        first = coder.pop(self._first(conditional))
        return BASE * first + coder.pop(self._second(conditional, first))

    def push(self, coder: Coder, conditional: Continuum, symbols: Tensor) -> None:
        first = symbols // BASE
        coder.push(symbols % BASE, self._second(conditional, first))
        coder.push(first, self._first(conditional))

    def elements(self, symbols: Tensor) -> Tensor:
        return self._places((symbols + 0.5) / BASE**2).to(self.location.dtype)

    def at(self, index: int) -> Grid:
        """Of one element alone."""
        return Grid(self.location[:, index : index + 1], self.width[:, index : index + 1])


Frame = Levels | Grid


def frame_of(conditional: Conditional) -> Frame:
    """How the elements that a conditional of the prior is of become symbols."""
    return Grid(conditional.location, conditional.width) if isinstance(conditional, Continuum) else Levels()
