"""The running average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["Average"]


class Average:
    """An exponential moving average of a module's weights (EMA), young at first.

    The decay is min(d, (1 + t)/(10 + t)) after t updates, so that a short run is not held back by its initial weights.

    Args:
        module: whose weights to follow; its copy ``self.module`` holds the average.
        decay: d; ``None`` follows the weights themselves.
    """

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self._source = [p.detach() for p in module.parameters()]
        self._target = list(self.module.parameters())
        self._buffers = list(zip(self.module.buffers(), module.buffers(), strict=True))

    @torch.no_grad()
    def update(self, t: int) -> None:
        """Take in the weights after update t."""
        weight = 1.0 if self.decay is None else 1 - min(self.decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(self._target, self._source, weight)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
