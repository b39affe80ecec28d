"""Where data come from: shape, support, splits and binarisation. Knows no model."""

from __future__ import annotations

from taut.data.batches import Batch, Feed
from taut.data.dataset import Dataset, Split, Statistics, open_array, open_data, read_like
from taut.data.hub import whole_path
from taut.data.reading import Reading
from taut.data.spec import Data
from taut.data.support import Support

__all__ = [
    "Batch",
    "Data",
    "Dataset",
    "Feed",
    "Reading",
    "Split",
    "Statistics",
    "Support",
    "open_array",
    "open_data",
    "read_like",
    "whole_path",
]
