"""Examples that stay on the disk: a batch of them is fetched when it is asked for, the same to the bit as from memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from taut.data.reading import Reading

__all__ = ["Rows", "Stored", "memory"]


def memory() -> int:
    """How many bytes of memory this machine has for us: all of its own, or what its control group grants."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    with (
        contextlib.suppress(OSError, ValueError),
        open("/sys/fs/cgroup/memory.max") as file,
    ):  # "max" where there is no limit
        size = min(size, int(file.read()))
    return size


class Rows(Protocol):
    """Raw examples, of which a few are read: a mapped array, or shards."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Those at a rising index (M,), (M, *raw shape)."""


class Stored:
    """x of a split, as :class:`taut.data.Split` holds it, read when it is indexed.

    Args:
        raw: where examples are read from.
        reading: how they become x.
        rows: (N,), which of them are of this split, in its order; all of them if left open.
        order: seed, this process's rank and how many there are → the examples of a pass that are its own, in order;
            any order is as good as another if left open.
        checked: whether every value has been seen, so that it need not be looked at again.
        device: where what is read goes.

    >>> data = np.arange(40, dtype=np.float32).reshape(10, 4)
    >>> reading = Reading.of([data])
    >>> x = Stored(data, reading, np.array([7, 2, 5]))
    >>> len(x), x[torch.tensor([1, 1, 0])][:, 0].tolist(), x[:2].shape
    (3, [8, 8, 28], torch.Size([2, 4]))
    """

    def __init__(
        self,
        raw: Rows,
        reading: Reading,
        rows: np.ndarray | None = None,
        order: Callable[[int, int, int], torch.Tensor] | None = None,
        checked: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.raw, self.reading, self.rows, self.order, self.checked = raw, reading, rows, order, checked
        self.device = torch.device(device)
        self.dtype = reading.dtype
        self.shape = torch.Size((len(raw) if rows is None else len(rows), *reading.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def to(self, device: torch.device | str) -> Stored:
        """The same, read onto a device."""
        return Stored(self.raw, self.reading, self.rows, self.order, self.checked, device)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """The examples at an index (M,) or of a slice, in memory."""
        index = torch.arange(len(self))[index].numpy() if isinstance(index, slice) else index.cpu().numpy()
        places = index if self.rows is None else self.rows[index]
        rising, back = np.unique(places, return_inverse=True)  # a disk is read in one direction, and once
        raw = np.asarray(self.raw[rising])
        x = self.reading.convert(raw) if self.checked else self.reading.apply(raw)
        return x[torch.from_numpy(back)].to(self.device)

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """As a tensor has it, of examples."""
        return self[index]

    def numpy(self) -> _Sliced:
        """As an array that is looked at a slice at a time; never whole."""
        return _Sliced(self)


class _Sliced:
    def __init__(self, stored: Stored) -> None:
        self.stored, self.shape = stored, tuple(stored.shape)
        self.dtype = np.dtype(str(stored.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice) -> np.ndarray:
        return self.stored[index].cpu().numpy()
