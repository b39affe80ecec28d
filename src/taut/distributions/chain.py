"""Probabilities by the chain rule: p(x) = Π_d p(x_d | x_<d), each x_d one of finitely many levels.

    log p(x) = Σ_d log p(x_d | x_<d)        (N,) nats, exact

There are two ways through it. Where x is known, all conditionals are one pass of a network. Where it is not, they come
one after the other, and each x_d is chosen before the next is asked for: :meth:`Chain.walk`. To draw, to encode and to
decode is the same walk, and differs only in how a value is chosen:

    draw      x_d = F_d^{−1}(u_d),   u_d ~ U[0, 1),   F_d the distribution function of p(x_d | x_<d)
    encode    x_d is what it is; its probability goes to an entropy coder
    decode    x_d is what the coder says, told the same probabilities

**What stands for it.** E[x] is a sum over all x that nobody can do, and the most probable x is a rare one: for strokes
on paper it is the blank sheet. So the one point that stands for p, :attr:`Chain.centre`, is a draw: that of one fixed u,
the same for every density and row. It is a function of p, so that a picture is the same at each look, and two pictures
differ only by what the two densities differ by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.draws import fold
from taut.distributions.flow import full_precision
from taut.errors import InputError

__all__ = ["Chain"]

Choose = Callable[[Tensor, int], Tensor]


class Chain(Distribution):
    """Π_d p(x_d | x_<d) over x of N rows, its elements whole numbers from 0 to L − 1.

    Args:
        conditionals: x (N, *event) → the elementwise distribution whose element d is p(x_d | x_<d).
        course: x (N, *event) → the place of x_d in the flattened event with p(x_d | x_<d), of batch shape (N,), for one d
            after the other; of x it reads what lies before d in this order, and the rest may be filled in on the way.
        event: shape of one x.
        levels: L.
        like: a tensor of N rows whose device and precision samples have.

    >>> from torch.distributions import Bernoulli
    >>> logits = lambda first: first * 2 - 1                      # x₂ likes to be as x₁ is
    >>> def conditionals(x): return Bernoulli(logits=torch.stack([torch.zeros(len(x)), logits(x[:, 0])], 1))
    >>> def course(x):
    ...     yield 0, Bernoulli(logits=torch.zeros(len(x)))
    ...     yield 1, Bernoulli(logits=logits(x[:, 0]))
    >>> p = Chain(conditionals, course, (2,), 2, torch.zeros(4))
    >>> p.log_prob(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])).exp()
    tensor([0.3655, 0.1345, 0.1345, 0.3655])
    """

    exactness = "exact"

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    conditionals: Callable[[Tensor], Distribution]
    course: Callable[[Tensor], Iterator[tuple[int, Distribution]]]
    levels: int
    like: Tensor

    def __init__(
        self,
        conditionals: Callable[[Tensor], Distribution],
        course: Callable[[Tensor], Iterator[tuple[int, Distribution]]],
        event: tuple[int, ...],
        levels: int,
        like: Tensor,
    ) -> None:
        self.conditionals, self.course, self.levels, self.like = conditionals, course, levels, like
        super().__init__(like.shape[:1], torch.Size(event), validate_args=False)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x), (N,) nats.

        Args:
            value: x, (N, *event), or (B, *event) where the N rows are K for each of B examples, sample-major.
            mask: must be left open: that of some elements alone would be a sum over all values of the others.
        """
        if mask is not None:
            why = "has missing cells, and in an autoregressive likelihood each element is told all before it"
            raise InputError("data", why, "fill them in, or choose a likelihood of independent elements")
        value = fold(value, self.batch_shape[0] // len(value))
        return self.conditionals(value).log_prob(value).flatten(1).sum(1)

    @torch.no_grad()
    def walk(self, choose: Choose) -> Tensor:
        """x (N, *event), each element chosen when all before it have been.

        The same choices are offered the same numbers, to the last bit, on the same machine.

        Args:
            choose: called in the order of the chain with log p(x_d = l | x_<d) for every level, (N, L) nats, and the
                place of x_d in the flattened event; gives x_d, (N,).
        """
        x = self.like.new_zeros(*self.batch_shape, *self.event_shape)
        flat, levels = x.flatten(1), torch.arange(self.levels, device=x.device, dtype=x.dtype).unsqueeze(1)
        with full_precision(x):
            for place, conditional in self.course(x):
                flat[:, place] = choose(conditional.log_prob(levels).T, place).to(x.dtype)
        return x

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        def choose(log_probs: Tensor, place: int) -> Tensor:
            return _quantile(log_probs, torch.rand(len(log_probs), device=log_probs.device))

        draws = [self.walk(choose) for _ in range(torch.Size(sample_shape).numel())]
        return torch.stack(draws).view(*sample_shape, *draws[0].shape)

    @property
    def centre(self) -> Tensor:
        """The draw that stands for p, always the same, (N, *event)."""
        u = torch.rand(self.event_shape.numel(), generator=torch.Generator().manual_seed(0)).to(self.like.device)
        return self.walk(lambda log_probs, place: _quantile(log_probs, u[place]))


def _quantile(log_probs: Tensor, u: Tensor) -> Tensor:
    """The least level whose distribution function is above u, of log-probabilities (N, L): (N,)."""
    below = log_probs.double().softmax(1).cumsum(1)[:, :-1]
    return (below <= u.unsqueeze(-1)).sum(1)
