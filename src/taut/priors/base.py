"""What every prior promises."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from taut.config import Part

__all__ = ["Prior"]


class Prior(Part, family=True):
    """The density of one layer's latents given everything above it."""

    @abstractmethod
    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        """A module h (N, state) → a distribution of batch shape (N,) and event shape ``event``.

        Args:
            event: shape of one example's latents in this layer.
            state: width of h, what the layers above hand down; 0 at the top.
        """
