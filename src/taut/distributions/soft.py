"""A number kept softly within ±b."""

from __future__ import annotations

from torch import Tensor

__all__ = ["soft"]


def soft(raw: Tensor, bound: float) -> Tensor:
    """b tanh(r/b): ``raw`` where it is small, and never beyond ±``bound``.

    >>> import torch
    >>> soft(torch.tensor([0.0, 100.0]), 8.0)
    tensor([0., 8.])
    """
    return bound * (raw / bound).tanh()
