"""The ``data:`` section of a configuration: which data, how they are split and read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from taut.errors import InputError, nearest

__all__ = ["KINDS", "Data"]

SupportName = Literal["auto", "binary", "bytes", "integers", "counts", "unit", "positive", "real", "columns"]
KINDS = ("real", "positive", "whole", "counts", "ordinal", "binary", "categories", "none")
Layout = Literal["auto", "signal"]
Offset = Literal["auto", "library", "none"]
Binarize = Literal["none", "threshold", "static", "dynamic"]
Keep = Literal["auto", "memory", "disk"]


@dataclass(frozen=True)
class Data:
    """Which data to use, and how to read them.

    Args:
        source: ``digits``, ``shapes``, ``mnist``, ``fashion-mnist``, ``binarized-mnist``, or the path of a .npy, .npz,
            .csv, .parquet or .h5ad file, of a folder of images or of .wav files, or of WebDataset shards: a folder of .tar
            files, or their names with braces, as in ``train-{000..127}.tar``; or ``hf:owner/name``, a set of the Hugging Face
            hub (``hf:owner/name@revision:configuration``; a folder laid out as one), which is streamed.
        root: the folder with the named sets; the environment's TAUT_DATA if not given.
        array: the name of the array in a .npz, or of the column of images or arrays in a set of the hub.
        labels: the name of the label array in a .npz, or of the label column of a table or a set of the hub.
        factors: the name of an array (N, F) in a .npz: numbers that say what each example was made of, such as place and
            size, only to measure codes by; an array of the same name with ``_names`` added names them.
        condition: what the model is conditioned on: ``labels``, or names of columns of a table or a set of the hub, or of
            arrays (N,) in a .npz; kinds and quantities, with commas between.
        shape: the shape of one example, such as 28,28 for flat rows; needed for packed bits.
        layout: ``signal``: an example is a course in time, (length) or (channels, length); sounds are always so.
        packed: whether rows are bits packed along axis 1, as by ``np.packbits``.
        support: the values that an element can take; ``auto`` goes by the values themselves; ``counts``
            are whole numbers from 0 of which the largest seen is not the largest possible; ``columns``: each column of a
            table by its own values, as is done where these are of more than one kind or cells are missing.
        kinds: of columns that are not to be taken for what their values look like, as in ``zip=categories,id=none``: real,
            positive, whole, counts, ordinal, binary, categories; none leaves a column out. Of a condition, real or categories.
        offset: ``library``: each example's total is a known scale, and what is bounded is log p(x) given it; ``auto`` does
            so for matrices of counts, .h5ad and sparse .npz; ``none``.
        binarize: ``threshold`` at half grey; ``static``: drawn once, with the grey as probability; ``dynamic``: anew
            each time an example is used.
        valid: the share of examples for validation, where the source brings no split of its own.
        test: the share of examples for the test, likewise.
        seed: of the split, of static binarisation, and of what ``shapes`` draws.
        keep: where training examples are kept: in ``memory``, or on the ``disk`` and read batch by batch, which a .npy can be;
            ``auto``: on the disk where they would fill more than a quarter of this machine's memory. Results are the same.
        buffer: of shards and sets of the hub, by how many places an example moves at most where a pass is shuffled.
        limit: use only the first so many training examples, for trying things out.

    >>> Data("digits", valid=0.7, test=0.4)
    Traceback (most recent call last):
        ...
    taut.errors.InputError: data.valid: 0.7 and data.test 0.4 leave nothing to train on; give shares that sum to below 1
    """

    source: str
    root: str | None = None
    array: str | None = None
    labels: str | None = None
    factors: str | None = None
    condition: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    layout: Layout = "auto"
    packed: bool = False
    support: SupportName = "auto"
    kinds: tuple[str, ...] = ()
    offset: Offset = "auto"
    binarize: Binarize = "none"
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0
    keep: Keep = "auto"
    buffer: int = 10_000
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", str(self.source))
        for name, kind in (("support", SupportName), ("binarize", Binarize), ("offset", Offset), ("layout", Layout),
                           ("keep", Keep)):  # fmt: skip
            if (value := getattr(self, name)) not in get_args(kind):
                problem = f"{value!r} is not one of its values"
                raise InputError(f"data.{name}", problem, nearest(str(value), get_args(kind)))
        for item in self.kinds:
            column, _, kind = item.rpartition("=")
            if not column or kind not in KINDS:
                mend = nearest(kind, KINDS) if column else "give NAME=KIND, as in zip=categories"
                raise InputError("data.kinds", f"{item!r} names no {'kind' if column else 'column'}", mend)
        for name in ("valid", "test"):
            share = getattr(self, name)
            if not (isinstance(share, int | float) and math.isfinite(share) and 0 < share < 1):
                raise InputError(f"data.{name}", f"the share {share} is not between 0 and 1", "give one such as 0.1")
        if self.valid + self.test >= 1:
            problem = f"{self.valid} and data.test {self.test} leave nothing to train on"
            raise InputError("data.valid", problem, "give shares that sum to below 1")
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))
            if not 1 <= len(self.shape) <= 3 or min(self.shape) < 1:
                problem = f"{_times(self.shape)} is no shape of an example"
                raise InputError("data.shape", problem, "give one to three whole numbers above 0, such as 28,28")
        if self.packed and self.shape is None:
            raise InputError("data.shape", "is not given, but packed bits need it", "give one such as 28,28")
        if not 0 <= self.seed < 2**32:
            raise InputError("data.seed", f"{self.seed} is out of range", "give 0 to 4294967295")
        if self.buffer < 1:
            raise InputError("data.buffer", f"is {self.buffer}", "give 1 or more")
        if self.limit is not None and self.limit < 2:
            raise InputError("data.limit", f"{self.limit} is too few examples to train on", "give 2 or more")

    @property
    def by_column(self) -> dict[str, str]:
        """The kinds that are asked for, by the names of columns."""
        return dict(item.rpartition("=")[::2] for item in self.kinds)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(s) for s in shape) or "nothing"
