"""A density seen through one invertible map that is quick in both directions.

u ~ q₀,   z = F(u),   log q(z) = log q₀(u) − log |det ∂F/∂u|        (N,) nats
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.draws import drawn

__all__ = ["Bent"]


class Map(Protocol):
    """An invertible map of vectors (N, D) with a context (N, …)."""

    def __call__(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, D) and log |det ∂z/∂u| (N,)."""
        ...

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """u (N, D) and log |det ∂z/∂u| (N,)."""
        ...


class Bent(Distribution):
    """The density of z = F(u).

    Args:
        base: the density of u, batch shape (N,), of any event.
        through: F, a map of flattened events.
        context: what F reads, (N, …).
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: whoever bends sees to it

    base: Distribution
    through: Map
    context: Tensor

    def __init__(self, base: Distribution, through: Map, context: Tensor) -> None:
        self.base, self.through, self.context = base, through, context
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        if sample_shape:
            raise NotImplementedError("a bent density gives one draw for each of its rows")
        return self.rsample_and_log_prob()[0]

    def rsample_and_log_prob(self) -> tuple[Tensor, Tensor]:
        """z ~ q and log q(z), (N, *event) and (N,) nats."""
        u, log_base = drawn(self.base)
        z, log_det = self.through(u.flatten(1), self.context)
        return z.view_as(u), log_base - log_det

    def log_prob(self, value: Tensor) -> Tensor:
        u, log_det = self.through.inverse(value.flatten(1), self.context)
        return self.base.log_prob(u.view_as(value)) - log_det
