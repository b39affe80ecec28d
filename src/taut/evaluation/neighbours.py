"""Nearest neighbours: is a sample new, or a copy of a training example?"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest"]


def nearest(queries: Tensor, examples: Tensor, chunk: int = 4096, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest example of each query in Euclidean distance.

    Args:
        queries: (Q, …).
        examples: (N, …).
        chunk: examples looked at together.
        exclude_self: queries are the first Q examples, and none is its own neighbour.

    Returns:
        Indices (Q,) and distances (Q,), in units of the values.

    >>> nearest(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [4.5], [9.0]]))
    (tensor([0, 1]), tensor([1.0000, 0.5000]))
    """
    flat = queries.flatten(1).float()
    best = torch.full((len(flat),), torch.inf)
    where = torch.zeros(len(flat), dtype=torch.int64)
    for start in range(0, len(examples), chunk):
        distances = torch.cdist(flat, examples[start : start + chunk].flatten(1).float())
        if exclude_self:
            own = torch.arange(len(flat)) - start
            inside = (own >= 0) & (own < distances.shape[1])
            distances[inside, own[inside]] = torch.inf
        values, indices = distances.min(1)
        closer = values < best
        best = torch.where(closer, values, best)
        where = torch.where(closer, indices + start, where)
    return where, best
