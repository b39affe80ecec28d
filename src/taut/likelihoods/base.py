"""What every likelihood promises, and the head that turns a decoder's numbers into a distribution of x.

A likelihood says how many numbers it needs for each element of x and which elementwise distribution they make. Its
head adds a learned offset per element that starts at the data's mean, so that training starts from the marginal of each
element instead of from nowhere, and for densities brings the change of units whose Jacobian belongs to the bound.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from taut.config import Part
from taut.data import Statistics, Support
from taut.distributions import Affine, Exactness, Factorised

__all__ = ["LARGEST", "Head", "Likelihood", "bounded"]


LARGEST = math.log(100.0)
"""The largest log-scale, in the units in which data are about one wide: beyond it only an overflow is to be had."""


def bounded(raw: Tensor, low: float | Tensor, high: float) -> Tensor:
    """A number kept smoothly between two bounds; well between them it is hardly changed."""
    below = high - softplus(high - raw)
    return low + softplus(below - low)


class Likelihood(Part, family=True):
    """The distribution of each element of x given what the decoder says."""

    continuous: ClassVar[bool] = False
    """True for densities: whole-numbered data are dequantised for them, and values are standardised first."""

    weaker: ClassVar[str | None] = None
    """How a decoder that can do without z is made to need it, as advice that names the option; None where it cannot."""

    averaged: ClassVar[bool] = True
    """Whether E[x|z] can be had: else a draw stands for it, always the same."""

    exactness: ClassVar[Exactness] = "exact"
    """What its log p(x|z) is: see :mod:`taut.distributions.exactness`."""

    joint: ClassVar[bool] = False
    """Whether it is a model of all elements together, so that it cannot be the likelihood of one of them in another."""

    entire: ClassVar[bool] = False
    """Whether all elements must be known: no cell that is missing can be left out of it."""

    codable: ClassVar[bool] = False
    """Whether x given z can be walked through, element by element, each one of finitely many levels."""

    scales: ClassVar[bool] = False
    """Whether a known log-scale of an example can be added to its log-mean."""

    shared: ClassVar[int] = 0
    """How many learned numbers there are that no example changes."""

    @property
    def name(self) -> str:
        """What it is called where it is refused."""
        return type(self).__name__

    @abstractmethod
    def fits(self, support: Support) -> bool:
        """Whether this is a probability or density of such values."""

    def density(self, support: Support) -> bool:
        """Whether it is a density of such values, and no probability."""
        return self.continuous

    @property
    def within(self) -> dict[str, Likelihood]:
        """The likelihoods of single elements that it was given to make itself of, by the options that name them."""
        return {}

    @abstractmethod
    def outputs(self, support: Support) -> int:
        """How many numbers per element the decoder gives."""

    @abstractmethod
    def elementwise(self, params: Tensor, shared: Tensor | None, support: Support) -> Distribution:
        """The distribution of each element.

        Args:
            params: (N, outputs, *shape) real numbers.
            shared: (shared,) real numbers; None where there are none.
            support: what values an element can take.

        Returns:
            A distribution of batch shape (N, *shape), in standardised units where ``continuous``.
        """

    @abstractmethod
    def start(self, support: Support, statistics: Statistics) -> Tensor:
        """The parameters (outputs, *shape) at which the distribution has about the mean of the data."""

    def in_words(self, support: Support) -> str:
        """What the line about the data calls it."""
        dequantised = self.density(support) and support.discrete
        return f"{self.name} (values dequantised by uniform noise)" if dequantised else self.name

    def units(self, support: Support, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """(a, b) with x = a + b·y, for y in the units of :meth:`elementwise`; only densities use it."""
        return torch.zeros(()), torch.ones(())

    def build(self, shape: tuple[int, ...], support: Support, statistics: Statistics) -> HeadModule:
        """The head: (N, outputs, *shape) → a distribution of x."""
        return Head(self, support, statistics)


class HeadModule(nn.Module):
    """What turns a decoder's numbers into a distribution of x.

    Attributes:
        outputs: how many of them it asks for, of each element.
        dequantise: whether x must be given as whole numbers plus uniform noise.
    """

    outputs: int
    dequantise: bool = False


class Head(HeadModule):
    """(N, outputs, *shape) → p(x|z), an independent distribution for each element, in the data's own units."""

    spec: Likelihood
    support: Support
    outputs: int
    dequantise: bool
    offset: nn.Parameter
    shared: nn.Parameter | None
    shift: Tensor
    scale: Tensor

    def __init__(self, spec: Likelihood, support: Support, statistics: Statistics) -> None:
        super().__init__()
        self.spec, self.support = spec, support
        self.outputs = spec.outputs(support)
        self.dequantise = spec.continuous and support.discrete
        self.offset = nn.Parameter(spec.start(support, statistics))
        if spec.shared:
            self.shared = nn.Parameter(torch.zeros(spec.shared))
        else:
            self.shared = None
        if spec.continuous:
            shift, scale = spec.units(support, statistics)
            self.register_buffer("shift", shift.clone())
            self.register_buffer("scale", scale.clone())

    def params(self, out: Tensor) -> Tensor:
        """The distribution's parameters, (N, outputs, *shape), of the decoder's numbers."""
        out = out.float() if out.dtype in (torch.bfloat16, torch.float16) else out  # the bound stays in float32
        return out + self.offset

    def forward(self, out: Tensor) -> Factorised:
        base = self.spec.elementwise(self.params(out), self.shared, self.support)
        return Factorised(Affine(base, self.shift, self.scale) if self.spec.continuous else base)
