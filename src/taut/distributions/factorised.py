"""Likelihoods that factorise over the elements of x, and the change of units.

    log p(x|z) = Σ_d log p(x_d | z)        summed over observed elements only, (N,) nats

A continuous density of standardised values y = (x − a)/b becomes one of x with its Jacobian, so a bound is always a
statement on the data as they came:  log p(x) = log p(y) − log b.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.course import Choose, Course
from taut.distributions.draws import fold
from taut.errors import InputError

__all__ = ["Affine", "Factorised"]


class Affine(Distribution):
    """The density of x = a + b·y, elementwise, for y with an elementwise density.

    Args:
        base: the density of y, batch shape (N, *shape).
        shift: a, broadcasts against it.
        scale: b > 0, likewise.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    base: Distribution
    shift: Tensor
    scale: Tensor

    def __init__(self, base: Distribution, shift: Tensor, scale: Tensor) -> None:
        self.base, self.shift, self.scale = base, shift, scale
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.shift + self.scale * self.base.mean

    @property
    def stddev(self) -> Tensor:
        return self.scale * self.base.stddev

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.shift + self.scale * self.base.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob((value - self.shift) / self.scale) - self.scale.log()


def scaled(density: Distribution, offset: Tensor) -> Factorised:
    """A density of counts with known log-scales (N, 1) added to its log-means.

    Raises:
        InputError: where it is of something else.
    """
    if not isinstance(density, Factorised):
        raise InputError("model.likelihood", f"gives a {type(density).__name__}, which has no log-mean",
                         "choose one of counts, such as NegativeBinomial")  # fmt: skip
    return density.scaled(offset)


class Factorised(Course, Distribution):
    """Independent elements: event shape (*shape), batch shape (N,).

    Args:
        base: an elementwise distribution of batch shape (N, *shape).
    """

    exactness = "exact"

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape[:1], base.batch_shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[x|z], shape (N, *shape), in the data's units."""
        return self.base.mean

    def scaled(self, offset: Tensor) -> Factorised:
        """The same with known log-scales (N, 1) added to the log-means, of counts alone."""
        return Factorised(self.base.scaled(offset.view(-1, *[1] * len(self.event_shape))))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.base.sample(sample_shape)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x|z) of the observed elements.

        Args:
            value: x, shape (N, *shape), or (B, *shape) where the N rows are K for each of B examples, sample-major.
            mask: true where an element is observed, the same shape as x; ``None`` means all.

        Returns:
            (N,) nats.
        """
        if mask is None and hasattr(self.base, "joint_log_prob"):
            return self.base.joint_log_prob(value)
        return self.elements(value, mask).flatten(1).sum(1)

    def elements(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same of each element, (N, *shape), zero where it is not observed."""
        samples = self.batch_shape[0] // len(value)
        if mask is not None:
            value = torch.where(mask, value, 0.0)  # a missing cell may hold NaN, which would poison the gradient
            mask = fold(mask, samples)
        terms = self.base.log_prob(fold(value, samples))
        if mask is not None:
            terms = torch.where(mask, terms, 0.0)
        return terms

    def conditional(self, elements: Tensor | None, position: slice) -> Tensor:
        """log p(x_d = level | z) of every level, (N, M, L) nats, for an elementwise probability that knows its levels: by
        its ``level_log_probs``, or as torch's own do by ``enumerate_support``.
        """
        if hasattr(self.base, "level_log_probs"):
            log_probs = self.base.level_log_probs()
        else:
            log_probs = self.base.log_prob(self.base.enumerate_support(expand=False)).movedim(0, -1)
        return log_probs.flatten(1, -2)[:, position]

    def walk(self, choose: Choose) -> Tensor:
        return self.read(choose(self.conditional(None, slice(None)), slice(None)))
