"""Batches on a device: an index goes in, the model's x comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from taut.data.dataset import Split
from taut.data.reading import Reading
from taut.data.stored import Stored
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

    reading: Reading
    dequantise: bool
    x: torch.Tensor
    condition: torch.Tensor | None
    offset: torch.Tensor | None
    gaps: bool

    def __init__(
        self, split: Split, reading: Reading, dequantise: bool = False, device: torch.device | str = "cpu"
    ) -> None:
        if dequantise and not reading.support.discrete:
            raise InputError("dequantise", f"the data are {reading.support}, not integers", "leave it off")
        self.reading, self.dequantise = reading, dequantise
        self.x = split.x.to(device)
        cheap = reading.binarize == "dynamic" and self.x.dtype == torch.uint8 and self.x.device.type == "cpu"
        self._coins = _Coins(self.x, reading.grey) if cheap and reading.grey <= 255 else None
        self.condition, self.offset = (
            None if part is None else part.to(device) for part in (split.condition, split.offset)
        )
        self.gaps = not isinstance(self.x, Stored) and bool(self.x.is_floating_point() and self.x.isnan().any())

    def __len__(self) -> int:
        return len(self.x)

    def order(self, seed: int, rank: int = 0, size: int = 1) -> torch.Tensor:
        """The examples of a pass in an order that a seed decides, every so-many-th of them where several processes share it;
        where x has an order of its own, each process has a stretch of that. On the device, unless x stays on the disk."""
        if isinstance(self.x, Stored):
            self.x.rest()
            if self.x.order is not None:
                return self.x.order(seed, rank, size)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[rank::size]
        return order if isinstance(self.x, Stored) else order.to(self.x.device)

    def expect(self, order: torch.Tensor, share: int, place: int) -> None:
        """Say which batches are going to be asked for: those of a pass from a place on, of so many examples each."""
        if isinstance(self.x, Stored):
            self.x.expect(order, share, place)

    def rest(self) -> None:
        """Say that no more are."""
        if isinstance(self.x, Stored):
            self.x.rest()

    def mark(self) -> dict[str, Any]:
        """What a checkpoint must hold for the pass to be gone on with behind the last batch; empty for most data."""
        if not (isinstance(self.x, Stored) and hasattr(self.x.raw, "mark")):
            return {}
        return self.x.raw.mark(self.x.place)

    def recall(self, told: dict[str, Any]) -> None:
        """Go on from there."""
        if isinstance(self.x, Stored) and hasattr(self.x.raw, "recall"):
            self.x.raw.recall(told)

    def batch(self, index: torch.Tensor) -> Batch:
        """The examples at index (B,), on the device, as float32."""
        if self._coins is not None:
            return self._batch(self._coins.toss(index), index)
        x = self.x.index_select(0, index).float()
        if self.reading.binarize == "dynamic":
            x = (torch.rand_like(x) * self.reading.grey < x).float()
        if self.dequantise:
            x = x + torch.rand_like(x)
        return self._batch(x, index)

    def still(self, index: torch.Tensor) -> Batch:
        """The same without a random draw: each value in its mean, so that what is made of it is always the same."""
        x = self.x.index_select(0, index).float()
        if self.reading.binarize == "dynamic":
            x = x / self.reading.grey
        if self.dequantise:
            x = x + 0.5
        return self._batch(x, index)

    def _batch(self, x: torch.Tensor, index: torch.Tensor) -> Batch:
        """A missing cell is NaN in a split, and zero and masked in a batch."""
        condition, offset = (None if part is None else part[index] for part in (self.condition, self.offset))
        return Batch(x.nan_to_num() if self.gaps else x, ~x.isnan() if self.gaps else None, condition, offset)


class _Coins:
    """x ~ Bernoulli(grey value / g) by one random byte a pixel, on a processor that takes its random numbers one by one.

    u ∈ [0, 1) lies below p = v/g as soon as its first byte b lies below the first byte t of p, and not if b lies above it.
    Where b = t, once in 256, what is left of u is uniform again: one more draw decides between it and the rest of p,
    256 p − t. So the probabilities are as exact as by a whole float for each pixel, at a fifth of the time.

    Args:
        x: (N, *shape), uint8, values v from 0 to g.
        grey: g, at most 255.
    """

    def __init__(self, x: torch.Tensor, grey: float) -> None:
        p = torch.arange(256, dtype=torch.float64) / grey
        first = (256 * p).floor().clamp_max(255)  # white, p = 1, is 0.ff and a rest of 1
        self.rest = torch.zeros(256, dtype=torch.float64)
        inside = p <= 1
        self.rest[first[inside].long()] = (256 * p - first)[inside]
        table = first.to(torch.uint8)
        self.x, self.table = (x, table) if isinstance(x, Stored) else (x if grey == 255 else table[x.long()], None)

    def first(self, index: torch.Tensor) -> torch.Tensor:
        """The first bytes t for the examples at index (B,): (B, *shape)."""
        found = self.x.index_select(0, index)
        return found if self.table is None else self.table[found.long()]

    def toss(self, index: torch.Tensor) -> torch.Tensor:
        """Draws for the examples at index (B,): (B, *shape), float32."""
        first = self.first(index)
        flat = first.flatten()
        words = torch.empty(-(-len(flat) // 8), dtype=torch.int64).random_(-(2**63), None)
        byte = words.view(torch.uint8)[: len(flat)]
        bright = byte < flat
        tied = torch.from_numpy(np.flatnonzero((byte == flat).numpy()))
        bright[tied] = torch.rand(len(tied), dtype=torch.float64) < self.rest[flat[tied].long()]
        return bright.view(torch.uint8).view(first.shape).float()
