"""The running average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from taut.training.sharding import joined, local, parted

__all__ = ["Average"]


class Average:
    """An exponential moving average of a module's weights (EMA), young at first.

    The decay is min(d, (1 + t)/(10 + t)) after t updates, so that a short run is not held back by its initial weights.

    Args:
        module: whose weights to follow.
        decay: d; ``None`` follows the weights themselves.
        copied: of the module, for the average to be read from; made if left open, as it cannot be where weights are in parts.
    """

    def __init__(self, module: nn.Module, decay: float | None, copied: nn.Module | None = None) -> None:
        self._module = (copy.deepcopy(module) if copied is None else copied).requires_grad_(False).eval()
        self.decay = decay
        self._followed = list(module.parameters())
        self._source = [local(p.detach()) for p in self._followed]
        self._target = list(self._module.parameters())
        self._apart = any(mine.shape != theirs.shape for mine, theirs in zip(self._target, self._source, strict=True))
        if self._apart:
            self._target = [part.clone() for part in self._source]
        self._buffers = list(zip(self._module.buffers(), module.buffers(), strict=True))

    @property
    def module(self) -> nn.Module:
        """The average as a module; where weights are in parts they are gathered, and every process has to ask."""
        if self._apart:
            for mine, part, like in zip(self._module.parameters(), self._target, self._followed, strict=True):
                mine.copy_(joined(part, like))
        return self._module

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from the state of a module."""
        self._module.load_state_dict(state)
        if self._apart:
            for mine, part, like in zip(self._module.parameters(), self._target, self._followed, strict=True):
                part.copy_(local(parted(mine, like)))

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Take in the weights after update t."""
        weight = 1.0 if self.decay is None else 1 - min(self.decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(self._target, self._source, weight)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
