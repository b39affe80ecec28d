"""The latents of one layer as symbols, under its posterior and under its prior.

The two are courses that go side by side: at each step the prior's conditional says what the bins are, and what is popped or
pushed has the weights of the one or of the other. A prior that is a mixture, p(z) = Σ_k w_k p_k(z), is coded by a component,
whose bits come back as those of z do; to push z,

    pop k ~ p(k|z),   push z under p_k,   push k under w          −log w_k − log p_k(z) + log p(k|z) = −log p(z) nats

and to pop z is the same backwards. Its bins are those of its own mean and variance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.codec.coder import Coder
from taut.codec.frames import Frame, Grid, Levels, frame_of
from taut.distributions import Conditional, Continuum, Course, Mixture

__all__ = ["Latents", "Word", "latents"]


@dataclass(frozen=True)
class Stride:
    """One step of a prior's course: where, in which bins, and what the prior itself says there."""

    place: slice
    frame: Frame
    own: Conditional | None = None


@dataclass(frozen=True)
class Word:
    """The latents of a layer: z (N, *event), its elements and their symbols, (N, E) each, and the steps they were chosen in."""

    z: Tensor
    elements: Tensor
    symbols: Tensor
    steps: Sequence[Stride]


class Latents(ABC):
    """The latents of a layer, as its prior has them."""

    @abstractmethod
    def blank(self) -> Tensor:
        """Elements of which none is chosen yet, (N, E)."""

    @abstractmethod
    def read(self, elements: Tensor) -> Tensor:
        """z (N, *event) of elements."""

    @abstractmethod
    def steps(self, elements: Tensor) -> Iterator[Stride]:
        """The steps one after the other, while the elements are being chosen."""

    @abstractmethod
    def pop(self, coder: Coder) -> Word:
        """z under the prior."""

    @abstractmethod
    def push(self, coder: Coder, word: Word) -> None:
        """The inverse of :meth:`pop`."""

    def pop_by(self, coder: Coder, density: Course | None) -> Word:
        """z under a course, in the bins of the prior; under the prior's own conditionals if it is ``None``."""
        elements = self.blank()
        symbols = torch.zeros(elements.shape, dtype=torch.long)
        steps = []
        for step in self.steps(elements):
            for place, frame, conditional in _parts(step, density, elements):
                symbols[:, place] = frame.pop(coder, conditional)
                elements[:, place] = frame.elements(symbols[:, place])
            steps.append(step)
        return Word(self.read(elements), elements, symbols, steps)

    def push_by(self, coder: Coder, density: Course | None, word: Word) -> None:
        """The inverse of :meth:`pop_by`."""
        for step in reversed(word.steps):
            for place, frame, conditional in reversed(list(_parts(step, density, word.elements))):
                frame.push(coder, conditional, word.symbols[:, place])


def _parts(step: Stride, density: Course | None, elements: Tensor) -> Iterator[tuple[slice, Frame, Conditional]]:
    """What is popped at once within a step: all of it, or one element after the other if the course is of single ones."""
    if density is None:
        yield step.place, step.frame, step.own
    elif len(density.steps) == 1:
        yield step.place, step.frame, density.conditional(elements, step.place)
    else:
        start, stop, _ = step.place.indices(elements.shape[1])
        for i in range(start, stop):
            yield slice(i, i + 1), step.frame.at(i - start), density.conditional(elements, slice(i, i + 1))


@dataclass(frozen=True)
class _Direct(Latents):
    """By a prior that is a course itself."""

    p: Course

    def blank(self) -> Tensor:
        return self.p.blank()

    def read(self, elements: Tensor) -> Tensor:
        return self.p.read(elements)

    def steps(self, elements: Tensor) -> Iterator[Stride]:
        for place in self.p.steps:
            own = self.p.conditional(elements, place)
            yield Stride(place, frame_of(own), own)

    def pop(self, coder: Coder) -> Word:
        return self.pop_by(coder, None)

    def push(self, coder: Coder, word: Word) -> None:
        self.push_by(coder, None, word)


@dataclass(frozen=True)
class _Mixed(Latents):
    """By a mixture of courses."""

    p: Mixture

    def blank(self) -> Tensor:
        one = self.p.components.blank()
        return one.new_zeros(self.p.batch_shape[0], one.shape[1])

    def read(self, elements: Tensor) -> Tensor:
        return self.p.components.read(elements)

    def steps(self, elements: Tensor) -> Iterator[Stride]:
        yield Stride(slice(None), self._frame)

    @cached_property
    def _frame(self) -> Frame:
        first = self.p.components.steps[0]
        if isinstance(self.p.components.conditional(self.p.components.blank(), first), Continuum):
            return Grid(self.p.mean.flatten(1), self.p.variance.sqrt().flatten(1))
        return Levels()

    def _shares(self) -> Tensor:
        """w_k, (N, K)."""
        return self.p.log_weights.exp().expand(self.p.batch_shape[0], -1)

    def _told(self, z: Tensor) -> Tensor:
        """p(k|z), (N, K)."""
        return self.p.log_joint(z).softmax(1)

    def pop(self, coder: Coder) -> Word:
        k = coder.pop(self._shares())
        word = self.pop_by(coder, self.p.components.rows(k))
        coder.push(k, self._told(word.z))
        return word

    def push(self, coder: Coder, word: Word) -> None:
        k = coder.pop(self._told(word.z))
        self.push_by(coder, self.p.components.rows(k), word)
        coder.push(k, self._shares())


def latents(p: Distribution) -> Latents:
    """The latents of a layer with the prior p(z_l | z_<l), batch shape (N,)."""
    return _Mixed(p) if isinstance(p, Mixture) else _Direct(p)
