"""What every posterior promises."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import nn

from taut.config import Part

__all__ = ["Posterior"]


class Posterior(Part, family=True):
    """A family of densities of one layer's latents, indexed by the numbers that the encoder gives."""

    proper: ClassVar[bool] = True
    """Whether its members have densities, so that an evidence lower bound exists."""

    @abstractmethod
    def build(self, event: tuple[int, ...]) -> nn.Module:
        """A module (N, width) → a distribution of batch shape (N,), event shape ``event``; ``width`` is an attribute."""
