"""Batches on a device: an index goes in, the model's x comes out."""

from __future__ import annotations

from typing import NamedTuple

import torch

from taut.data.dataset import Split
from taut.data.reading import Reading
from taut.errors import InputError

__all__ = ["Batch", "Feed"]


class Batch(NamedTuple):
    """What a model is given at once.

    Args:
        x: examples (B, *shape), float32.
        mask: which cells are observed (B, *shape); None if all are.
        condition: what the model is conditioned on (B, ...).
        offset: known log-scales, such as library sizes (B, ...).
    """

    x: torch.Tensor
    mask: torch.Tensor | None = None
    condition: torch.Tensor | None = None
    offset: torch.Tensor | None = None


class Feed:
    """A split on a device that gives batches.

    Random draws come from torch's default generator of the device: dynamic binarisation draws x ~ Bernoulli(grey)
    anew each time, and dequantisation adds u ~ U[0, 1) to integers, so that the result has a density on [0, levels).

    Args:
        split: the examples.
        reading: how they were read.
        dequantise: whether to add the noise.
        device: where the split is kept and the batches are made.

    >>> import numpy as np
    >>> from taut.data import open_array
    >>> data = open_array(np.arange(80.0).reshape(20, 4) / 80)
    >>> feed = Feed(data.train, data.reading)
    >>> len(feed), feed.batch(torch.tensor([0, 3])).x.shape
    (16, torch.Size([2, 4]))
    """

    def __init__(
        self, split: Split, reading: Reading, dequantise: bool = False, device: torch.device | str = "cpu"
    ) -> None:
        if dequantise and not reading.support.discrete:
            raise InputError("dequantise", f"the data are {reading.support}, not integers", "leave it off")
        self.reading, self.dequantise = reading, dequantise
        self.x = split.x.to(device)
        self.condition, self.offset = (
            None if part is None else part.to(device) for part in (split.condition, split.offset)
        )
        self.gaps = bool(self.x.is_floating_point() and self.x.isnan().any())

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: torch.Tensor) -> Batch:
        """The examples at index (B,), on the device, as float32."""
        x = self.x[index].float()
        if self.reading.binarize == "dynamic":
            x = (torch.rand_like(x) * self.reading.grey < x).float()
        if self.dequantise:
            x = x + torch.rand_like(x)
        return self._batch(x, index)

    def still(self, index: torch.Tensor) -> Batch:
        """The same without a random draw: each value in its mean, so that what is made of it is always the same."""
        x = self.x[index].float()
        if self.reading.binarize == "dynamic":
            x = x / self.reading.grey
        if self.dequantise:
            x = x + 0.5
        return self._batch(x, index)

    def _batch(self, x: torch.Tensor, index: torch.Tensor) -> Batch:
        """A missing cell is NaN in a split, and zero and masked in a batch."""
        condition, offset = (None if part is None else part[index] for part in (self.condition, self.offset))
        return Batch(x.nan_to_num() if self.gaps else x, ~x.isnan() if self.gaps else None, condition, offset)
