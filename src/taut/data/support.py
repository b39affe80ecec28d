"""What values data can take: the fact that decides whether a likelihood is a probability or a density of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from taut.errors import InputError

__all__ = ["Support", "check_finite", "chunks", "infer_support"]

SMALL_RANGE = 255  # the largest value of "integers of a small range"
MOST_LEVELS = 2**16
CHUNK = 2**24  # elements looked at in one go, so that a memory-mapped array is never read whole


@dataclass(frozen=True)
class Support:
    """The values that an element of x can take.

    Args:
        kind: ``binary`` {0, 1}; ``integers`` 0 to levels − 1; ``counts``: whole numbers from 0 with no greatest;
            ``unit`` [0, 1]; ``positive``: real numbers above 0; ``real``; ``categories``: the numbers 0 to levels − 1 of
            names that have no order; ``columns``: each element has a support of its own.
        levels: how many values there are: 2 for binary, K for integers (bytes: 256) and categories, None where there is no
            such number.
        whole: real numbers that are all whole, of too large a range for levels: they have a probability, so a density
            of them needs dequantisation.
        columns: of ``columns``, the support of each; a cell of them may be missing, and is then NaN.

    >>> print(Support("integers", 256), Support("binary", 2).discrete, Support("unit").discrete)
    integers 0 to 255 True False
    >>> Support("binary", 2).check(np.array([[0, 1], [7, 1]]), "data")
    Traceback (most recent call last):
        ...
    taut.errors.InputError: data: the value 7 at index (1, 0) is outside values {0, 1}; \
give data of this support, or name another with data.support
    """

    kind: Literal["binary", "integers", "counts", "unit", "positive", "real", "categories", "columns"]
    levels: int | None = None
    whole: bool = False
    columns: tuple[Support, ...] = ()

    def __post_init__(self) -> None:
        columns = tuple(Support(**each) if isinstance(each, dict) else each for each in self.columns)
        object.__setattr__(self, "columns", columns)
        if self.kind == "binary" and self.levels is None:
            object.__setattr__(self, "levels", 2)

    @property
    def discrete(self) -> bool:
        """Whether x has a probability, not a density."""
        if self.columns:
            return all(column.discrete for column in self.columns)
        return self.kind in ("binary", "integers", "counts", "categories") or self.whole

    @property
    def mixed(self) -> bool:
        """Whether some columns have a probability and others a density: noise that would serve some is wrong for others."""
        return len({column.discrete for column in self.columns}) > 1

    @property
    def size(self) -> int:
        """K, how many values there are.

        Raises:
            InputError: where there is no such number.
        """
        if self.levels is None:
            raise InputError(
                "data.support", f"is {self}, which have no number of levels", "name one that has, such as integers"
            )
        return self.levels

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The smallest and the largest value, the latter infinite for counts; ``None`` for real numbers and for columns."""
        if self.kind in ("real", "columns"):
            return None
        return 0.0, math.inf if self.kind in ("counts", "positive") else float((self.levels or 2) - 1)

    def __str__(self) -> str:
        if self.columns:
            names = [column.word for column in self.columns]
            return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
        return {
            "binary": "values {0, 1}",
            "integers": f"integers 0 to {(self.levels or 1) - 1:,}",
            "counts": "counts from 0",
            "unit": "floats in [0, 1]",
            "positive": "numbers above 0",
            "categories": f"{self.levels} categories",
            "real": "whole numbers" if self.whole else "real numbers",
        }[self.kind]

    @property
    def numbers(self) -> int:
        """How many numbers a row of columns is, a category counted as one for each name; 0 without columns."""
        return sum(column.size if column.kind == "categories" else 1 for column in self.columns)

    @property
    def word(self) -> str:
        """What a column of such values is called."""
        return {"integers": "ordinal", "real": "whole" if self.whole else "real"}.get(self.kind, self.kind)

    def outside(self, x: np.ndarray) -> np.ndarray:
        """Which numbers x, of any shape, are none of these values; NaN is none of those that have bounds.

        >>> Support("integers", 5).outside(np.array([4.0, 7.0, 0.5]))
        array([False,  True,  True])
        """
        bad = np.zeros(x.shape, bool)
        if self.kind != "real":
            bad = ~(x > 0) if self.kind == "positive" else ~(x >= 0)
        if self.kind not in ("counts", "positive", "real"):
            bad |= ~(x <= 1) if self.kind == "unit" else ~(x < self.levels)
        if self.discrete and x.dtype.kind == "f":
            bad |= x != np.floor(x)
        return bad

    def check(self, x: torch.Tensor | np.ndarray, field: str) -> None:
        """Refuses x, of any shape, if a value is outside; the first such value is named."""
        x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x
        if self.kind == "real" or x.dtype == bool or (x.dtype == np.uint8 and self.levels == 256):
            return
        if self.columns:
            for i, column in enumerate(self.columns):
                seen = ~np.isnan(x[:, i])
                column.check(x[seen, i], f"{field}, column {i}")
            return
        for start, part in chunks(x):
            bad = self.outside(part)
            if bad.any():
                index = np.unravel_index(int(bad.argmax()), bad.shape)
                place = ", ".join(str(int(i)) for i in (index[0] + start, *index[1:]))
                value = f"the value {part[index]:g} at index ({place}) is outside {self}"
                raise InputError(field, value, "give data of this support, or name another with data.support")


def chunks(x: np.ndarray, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive runs of examples of x (N, ...), of about so many elements, each with the index of its first."""
    step = max(1, size // max(1, x[:1].size))
    for start in range(0, len(x), step):
        yield start, x[start : start + step]


def check_finite(x: np.ndarray, field: str, columns: tuple[str, ...] | None = None, missing: bool = False) -> None:
    """Refuses x (N, ...) if a value is NaN or infinite, or is so once it is a float32: how many, and where first; NaN may be
    where cells may be ``missing``."""
    if x.dtype.kind != "f":
        return
    count, first = 0, None
    for start, part in chunks(x):
        with np.errstate(over="ignore"):
            found = part.astype(np.float32, copy=False)
            bad = np.isinf(found) if missing else ~np.isfinite(found)
        count += int(bad.sum())
        if first is None and bad.any():
            index = np.unravel_index(int(bad.argmax()), bad.shape)
            place = f"row {index[0] + start}"
            place += f", column {columns[index[1]]!r}" if columns else f", position {tuple(int(i) for i in index[1:])}"
            first = f"{part[index]:g} at {place} (counted from 0)"
    if first:
        some = "1 value is" if count == 1 else f"{count:,} values are"
        raise InputError(
            field,
            f"{some} {'' if missing else 'NaN, '}infinite or beyond float32, the first {first}",
            "remove or fill them",
        )


def infer_support(parts: list[np.ndarray], choice: str, image: bool, field: str) -> Support:
    """The support of finite raw arrays, by the rule (``auto``) or as chosen; refused if the values contradict it.

    >>> infer_support([np.array([[0, 3, 16]])], "auto", image=True, field="data")
    Support(kind='integers', levels=17, whole=False, columns=())
    >>> infer_support([np.array([[0.0, 3.0, 16.0]])], "auto", image=False, field="data")
    Support(kind='integers', levels=17, whole=False, columns=())
    >>> infer_support([np.zeros((2, 8, 8), np.uint8) + 9], "auto", image=True, field="data")
    Support(kind='integers', levels=256, whole=False, columns=())
    """
    whole = all(part.dtype.kind in "iub" for part in parts)
    if choice == "real":
        return Support("real", whole=whole)
    chosen = {"binary": Support("binary", 2), "bytes": Support("integers", 256)}
    chosen |= {kind: Support(kind) for kind in ("counts", "unit", "positive")}
    if choice in chosen:
        support = chosen[choice]
    else:
        low = min(chunk.min() for part in parts for _, chunk in chunks(part))
        high = max(chunk.max() for part in parts for _, chunk in chunks(part))
        if choice == "integers":
            if high >= MOST_LEVELS:
                problem = f"integers up to {high:g} have too many levels to be told apart (more than {MOST_LEVELS:,})"
                raise InputError("data.support", problem, "leave it auto, or give counts or real")
            support = Support("integers", max(2, int(high) + 1))
        else:
            return _rule(parts, float(low), float(high), image)
    for part in parts:
        support.check(part, field)
    return support


def _rule(parts: list[np.ndarray], low: float, high: float, image: bool) -> Support:
    # whole numbers have a probability, whatever type they are stored in
    whole = all(part.dtype.kind in "iub" or (c == np.floor(c)).all() for part in parts for _, c in chunks(part))
    inside = low >= 0 and high <= 1
    if inside and whole:
        return Support("binary", 2)
    if image and all(part.dtype == np.uint8 for part in parts):
        return Support("integers", 256)
    if whole and low >= 0 and high <= SMALL_RANGE:
        return Support("integers", int(high) + 1)
    if whole and low == 0 and not image:  # such as molecules counted; wide pictures have a ceiling, and years no zero
        return Support("counts")
    return Support("unit") if inside else Support("real", whole=whole)
