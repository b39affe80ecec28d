"""Densities as courses of one-dimensional conditionals: what drawing one element after the other, and coding, ask of them.

    p(x) = Π_i p(x_i | x_<i)

Such a density offers

    walk(choose) → x, (N, *event)

It runs through its elements in an order of its own, calls ``choose(conditional, position)`` for each, and takes the answer
for the element's value, on which the conditionals of those to come may depend:

    conditional   log p(x_i = level | x_<i) of every level, (N, L) nats; or a :class:`Continuum`, for real numbers
    position      where the element lies in the flattened event
    the answer    (N,): the number of a level, 0 … L − 1; or a real number

Elements that do not depend on each other may be asked for at once: then the position is a slice that holds M of them, the
conditional (N, M, L), and the answer (N, M).

What the walk is, ``choose`` decides: it may draw (:func:`draw_levels`), answer with values that are known and note what they
cost, or pop the values from an entropy coder. The three run the same operations on the same shapes, which is what coding to
the bit needs: a conditional that were off in its last digit would be another code.

A density without a state to carry along inherits :class:`Course` and gives ``conditional`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Choose", "Conditional", "Continuum", "Course", "Position", "draw_levels"]


@dataclass(frozen=True)
class Continuum:
    """The conditional densities of real elements.

    Attributes:
        cdf: places (..., N, M) → the mass below each, of the same shape; also of ±∞.
        location: about where the mass lies, (N, M).
        width: how far it spreads, (N, M): a standard deviation, or the like.
    """

    cdf: Callable[[Tensor], Tensor]
    location: Tensor
    width: Tensor


Position: TypeAlias = int | slice
Conditional: TypeAlias = Tensor | Continuum
Choose: TypeAlias = Callable[[Conditional, Position], Tensor]


def draw_levels(log_probs: Tensor, position: Position = 0) -> Tensor:
    """A level from each row of log-probabilities (..., L), a draw: the ``choose`` that samples."""
    noise = torch.empty_like(log_probs, memory_format=torch.contiguous_format).exponential_()
    return (log_probs - noise.log()).argmax(-1)


class Course:
    """A density whose conditionals are functions of what was chosen before; its first axis is the batch.

    What is chosen are ``elements`` (N, E): the real numbers of the flattened event, or the numbers of levels. Every position
    is a slice, also that of a single element.
    """

    @property
    def steps(self) -> Sequence[slice]:
        """The positions in the order in which they are chosen: all at once where elements are independent."""
        return (slice(None),)

    def blank(self) -> Tensor:
        """Elements of which none is chosen yet, zeros (N, E)."""
        raise NotImplementedError

    def conditional(self, elements: Tensor, position: slice) -> Conditional:
        """That of the elements at a position; of ``elements``, only those before it have a say."""
        raise NotImplementedError

    def spell(self, value: Tensor) -> Tensor:
        """The elements of values (N, *event)."""
        return value.flatten(1)

    def read(self, elements: Tensor) -> Tensor:
        """The values (N, *event) of elements."""
        return elements.view(-1, *self.event_shape)

    def walk(self, choose: Choose) -> Tensor:
        elements = self.blank()
        for position in self.steps:
            elements[:, position] = choose(self.conditional(elements, position), position).to(elements.dtype)
        return self.read(elements)
