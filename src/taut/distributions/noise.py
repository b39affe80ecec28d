"""Densities that know the noise behind a value.

    z = T(ε),   ε ~ N(0, I) of as many elements as z,   T invertible,   log p(z) = log N(ε; 0, I) − log |det ∂T/∂ε|

In coordinates ε such a density is the plainest there is, however narrow, correlated or bent it is in z: a walk in them takes
steps of one size everywhere (the non-centred parameterisation of Papaspiliopoulos, Roberts and Sköld 2007).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["NonCentred"]


@runtime_checkable
class NonCentred(Protocol):
    """A density of batch shape (N,) that is standard normal noise seen through a map, quick to apply.

    >>> import torch
    >>> from taut.distributions import DiagonalNormal, Mixture
    >>> q = DiagonalNormal(torch.ones(1, 2), torch.zeros(1, 2))
    >>> isinstance(q, NonCentred), isinstance(Mixture(q, torch.zeros(1), 1), NonCentred)
    (True, False)
    """

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """T(ε) (N, *event) and its log-density (N,) nats, for ε (N, *event); gradients reach ε through both."""
        ...

    def to_noise(self, value: Tensor) -> Tensor:
        """T⁻¹(z), (N, *event)."""
        ...
