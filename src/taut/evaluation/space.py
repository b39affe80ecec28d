"""Where a distance between examples means something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from taut.data import Dataset, Reading, Split

__all__ = ["Space"]


@dataclass(frozen=True)
class Space:
    """Examples of one data set as the user stores them, and as points.

    The elements of an image all have one unit and are compared as they are. The columns of a table have each their own,
    and are divided by their standard deviation over the training data first.

    Attributes:
        reading: how the data were read.
        scale: (D,) what each raw column is divided by; None where nothing is.
        middle: (D,) what stands for cells that are missing.
    """

    reading: Reading
    scale: np.ndarray | None = None
    middle: np.ndarray | None = None

    @classmethod
    def of(cls, data: Dataset) -> Space:
        """The space of a data set."""
        reading = data.reading
        if reading.layout != "vector" or reading.support.kind == "binary":
            return cls(reading)
        scale = np.ones(reading.raw_shape)
        kept = np.setdiff1d(np.arange(reading.raw_shape[0]), [i for i, _ in reading.dropped])
        middle, statistics = np.zeros(reading.raw_shape), data.statistics()
        scale[kept], middle[kept] = statistics.std.numpy(), statistics.mean.numpy()
        return cls(reading, scale, middle)

    @property
    def unit(self) -> str:
        """The unit of a difference, in words."""
        return "units of the data" if self.scale is None else "standard deviations of the columns"

    def still(self, split: Split, index: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Examples as the user stores them, (N, *raw shape); grey values where they are binarised anew each time."""
        x = split.x if index is None else split.x[torch.as_tensor(np.asarray(index), dtype=torch.int64)]
        return self.reading.restore(x.float() / self.reading.grey if self.reading.binarize == "dynamic" else x)

    def points(self, raw: ArrayLike) -> Tensor:
        """Examples as the user stores them (N, *raw shape), as points (N, D) of this space."""
        raw = np.asarray(raw) if self.reading.centre is None else np.asarray(raw) - np.array(self.reading.centre)
        flat = torch.as_tensor(raw.astype(np.float32)).flatten(1)
        if self.middle is not None:
            flat = torch.where(flat.isnan(), torch.as_tensor(self.middle, dtype=torch.float32), flat)
        return flat if self.scale is None else flat / torch.as_tensor(self.scale, dtype=torch.float32)
