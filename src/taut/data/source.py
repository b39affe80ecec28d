"""What a source gives: raw arrays, perhaps in splits of its own, perhaps with labels, and what there is to say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taut.data.columns import Field
from taut.errors import InputError

__all__ = ["MOST_BYTES", "Source", "unpack"]

MOST_BYTES = 2**33  # that a compressed file may hold unpacked: one of megabytes can be made to fill any memory


@dataclass
class Source:
    """Raw data as they were found, before anything is decided about them.

    Args:
        name: what the data are called.
        origin: named, npy, npz, h5ad, images, sounds, shards, hub, table or array.
        parts: raw arrays (N, ...), under ``all``, or under some of ``train``, ``valid``, ``test``.
        labels: arrays (N,) of any type, under the same names; may be empty.
        columns: the names of a table's columns.
        order: the same with those that are labels or conditions, as they stand in the table.
        names: the names of labels that are 0, 1, 2 ...; None if the labels are their own names.
        factors: what the examples were made of, arrays (N, F) of numbers, under the names of the parts; may be empty.
        factor_names: of the F factors; None if they have none.
        fields: how each column is read, where each is of its own kind; x is then float64, and NaN where a cell is missing.
        given: what examples are conditioned on: for each part the values (N,) by their names; may be empty.
        counts: whether they are a matrix of counts.
        rate: of sounds, samples a second.
        commas: whether commas began fractions in a table's file.
        stream: what training examples are read from as they are needed; those of ``parts`` are a sample then.
        notes: what was decided in reading them, in sentences without a full stop.
    """

    name: str
    origin: str
    parts: dict[str, np.ndarray]
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    order: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    factors: dict[str, np.ndarray] = field(default_factory=dict)
    factor_names: tuple[str, ...] | None = None
    fields: tuple[Field, ...] | None = None
    given: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    counts: bool = False
    rate: int | None = None
    commas: bool = False
    stream: Any = None
    notes: list[str] = field(default_factory=list)


def unpack(packed: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Bits packed along axis 1, (N, ceil(D / 8)) bytes, as an array (N, *shape) of 0 and 1, with D the product of shape.

    >>> unpack(np.packbits(np.eye(9, dtype=np.uint8), axis=1), (3, 3), "x")[8].tolist()
    [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    """
    d = math.prod(shape)
    if packed.dtype != np.uint8 or packed.ndim != 2:
        problem = f"{name} has type {packed.dtype} and shape {packed.shape}, so its rows are no packed bits"
        raise InputError("data.packed", problem, "give bytes (N, D/8) as np.packbits makes them")
    if packed.shape[1] != -(-d // 8):
        problem = f"{d} bits fill {-(-d // 8)} bytes, but rows of {name} have {packed.shape[1]}"
        raise InputError(
            "data.shape", problem, f"give a shape of {8 * packed.shape[1] - 7} to {8 * packed.shape[1]} values"
        )
    return np.unpackbits(packed, axis=1, count=d).reshape(len(packed), *shape)
