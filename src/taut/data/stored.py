"""Examples that stay on the disk, or elsewhere: a batch is fetched when it is asked for, the same to the bit as from memory.

What is going to be asked for is known beforehand, since the order of a pass is: so the next batches are read and decoded in a
thread beside the step that does not need them yet. Nothing is drawn there, and whatever fails fails at the batch that it is in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch

from taut.data.conditions import numbers_of
from taut.data.reading import Reading

__all__ = ["Given", "Rows", "Stored", "Stream"]

AHEAD = 4  # batches that are read before they are needed, at most


class Rows(Protocol):
    """Raw examples, of which a few are read: a mapped array, or shards."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Those at a rising index (M,), (M, *raw shape)."""
        ...


class Stream(Rows, Protocol):
    """Raw examples in files, which are best read in an order of their own."""

    def order(self, buffer: int, seed: int, rank: int, size: int) -> torch.Tensor:
        """The examples of a pass that are this process's own, in order, each moved by at most ``buffer`` places."""
        ...

    def known(self, index: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        """What else is known of those at a rising index: values (M,) by their names.

        Raises:
            InputError: where it is not known of all.
        """
        ...

    def labels_of(self, index: np.ndarray) -> list[str] | None:
        """The labels of those at a rising index; none where some have none."""
        ...

    def marks(self) -> Iterator[str]:
        """What changes if the files do."""
        ...

    def mark(self, place: int) -> dict[str, Any]:
        """What a checkpoint must hold for the pass to be gone on with at a place; JSON can hold it."""
        ...

    def recall(self, told: dict[str, Any]) -> None:
        """Be ready to go on from a mark. The pass is the same without it, and takes longer to find its place."""


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
        told: whether the conditions of examples are read with them.

    >>> data = np.arange(40, dtype=np.float32).reshape(10, 4)
    >>> reading = Reading.of([data])
    >>> x = Stored(data, reading, np.array([7, 2, 5]))
    >>> len(x), x[torch.tensor([1, 1, 0])][:, 0].tolist(), x[:2].shape
    (3, [8, 8, 28], torch.Size([2, 4]))
    """

    raw: Rows
    reading: Reading
    rows: np.ndarray | None
    order: Callable[[int, int, int], torch.Tensor] | None
    checked: bool
    told: bool
    device: torch.device
    place: int
    dtype: torch.dtype
    shape: torch.Size

    def __init__(
        self,
        raw: Rows,
        reading: Reading,
        rows: np.ndarray | None = None,
        order: Callable[[int, int, int], torch.Tensor] | None = None,
        checked: bool = True,
        device: torch.device | str = "cpu",
        told: bool = False,
    ) -> None:
        self.raw, self.reading, self.rows, self.order = raw, reading, rows, order
        self.checked, self.told, self.device = checked, told, torch.device(device)
        self.place = 0  # of a pass, behind the last example that was asked for
        self._elsewhere: dict[torch.device, Stored] = {}
        self._last: tuple[Any, tuple[torch.Tensor, torch.Tensor | None]] | None = None
        self._expected: Iterator[torch.Tensor] = iter(())
        self._ahead: deque[tuple[torch.Tensor, Future]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._one = Lock()
        self.dtype = reading.dtype
        self.shape = torch.Size((len(raw) if rows is None else len(rows), *reading.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def to(self, device: torch.device | str) -> Stored:
        """The same, read onto a device."""
        device = torch.device(device)
        if device == self.device:
            return self
        there = Stored(self.raw, self.reading, self.rows, self.order, self.checked, device, self.told)
        return self._elsewhere.setdefault(device, there)

    def expect(self, order: torch.Tensor, share: int, place: int) -> None:
        """Begin to read ahead.

        Args:
            order: the examples of a pass.
            share: how many of them are asked for at a time.
            place: which of these shares is the next.
        """
        self.rest()
        self._thread = self._thread or ThreadPoolExecutor(1, "reading")
        self._expected = iter(order[place * share : len(order) // share * share].split(share))
        self._read_on()

    def rest(self) -> None:
        """Read no further ahead."""
        self._expected = iter(())
        wait([future for _, future in self._ahead if not future.cancel()])  # what is being read is read to its end
        self._ahead.clear()
        self._last = None

    def _read_on(self) -> None:
        while len(self._ahead) < AHEAD and (index := next(self._expected, None)) is not None:
            self._ahead.append((index, self._thread.submit(self._read, index)))

    def _read(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The examples at an index (M,), and what they are conditioned on."""
        places = index.numpy() if self.rows is None else self.rows[index.numpy()]
        rising, back = np.unique(places, return_inverse=True)  # a disk is read in one direction, and once
        condition = None
        with self._one:
            raw = np.asarray(self.raw[rising])
            if self.told:
                conditions = self.reading.conditions
                condition = numbers_of(conditions, self.raw.known(rising, [each.name for each in conditions]))
        x = self.reading.convert(raw) if self.checked else self.reading.apply(raw)
        back = torch.from_numpy(back)
        return x[back].to(self.device), None if condition is None else condition[back].to(self.device)

    def both(self, index: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The examples at an index (M,) or of a slice, in memory, and what they are conditioned on, read at once."""
        if self._last is not None and self._last[0] is index:
            return self._last[1]
        wanted = torch.arange(len(self))[index] if isinstance(index, slice) else index.cpu()
        if self._ahead and torch.equal(self._ahead[0][0], wanted):
            found = self._ahead.popleft()[1].result()
            self._read_on()
        else:
            found = self._read(wanted)
        if len(wanted):
            self.place = int(wanted[-1]) + 1
        self._last = (index, found) if self.told else None
        return found

    def __getitem__(self, index: Any) -> torch.Tensor:
        """The examples at an index (M,) or of a slice, in memory."""
        return self.both(index)[0]

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """As a tensor has it, of examples."""
        return self[index]

    def numpy(self) -> _Sliced:
        """As an array that is looked at a slice at a time; never whole."""
        return _Sliced(self)


class Given:
    """What stored examples are conditioned on, (N, C) float32, read with them.

    Args:
        stored: the examples.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self.stored.both(index)[1]

    def to(self, device: torch.device | str) -> Given:
        """The same, read onto a device."""
        return Given(self.stored.to(device))


class _Sliced:
    stored: Stored
    shape: tuple[int, ...]
    dtype: np.dtype

    def __init__(self, stored: Stored) -> None:
        self.stored, self.shape = stored, tuple(stored.shape)
        self.dtype = np.dtype(str(stored.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice) -> np.ndarray:
        return self.stored[index].cpu().numpy()
