"""How raw arrays become the model's x, and how x becomes raw arrays again: the part of the data that a run keeps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import field as attribute
from typing import Any, Literal

import numpy as np
import torch

from taut.data.columns import UNSEEN, Field, Title
from taut.data.conditions import Condition
from taut.data.support import Support, check_finite, chunks, infer_support
from taut.errors import InputError

__all__ = ["Reading"]

FAR = 1000  # deviations from 0 beyond which a column is centred: float32 then still tells apart a ten-thousandth of one
TINY = 1e-18  # the least range of a column, and the inverse of the greatest: their squares are numbers of 32 bits
LOOK = 100_000  # rows of each part that say where its columns lie
MOST_NOTES = 5  # of columns that have cells which the model holds impossible

Origin = Literal["named", "npy", "npz", "h5ad", "images", "sounds", "shards", "table", "array"]


@dataclass(frozen=True)
class Reading:
    """How raw arrays are read; saved with a run as JSON, so that new data are read as the old were.

    Args:
        name: what the data are called: ``mnist``, or a file's stem.
        layout: what an example is, and so what picture to draw of it.
        shape: one example as the model sees it: (C, H, W), of signals (C, 1, length), or (D,) without what is
            dropped.
        raw_shape: one example as the user stores it: (H, W), (H, W, C), (C, H, W), (D,), (length,) or (C, length).
        raw_dtype: numpy's name for the stored type.
        support: the values of the model's x, after binarisation.
        binarize: ``none``, ``threshold``, ``static`` or ``dynamic``.
        grey: what a raw value is divided by to be the probability of a one; None where nothing is binarised.
        columns: the names of a table's columns, constant ones included.
        dropped: the constant columns, as (raw index, value).
        centre: of real numbers that lie far from 0 beside their spread, what is taken from each raw column, or of images and
            signals from all values, before they become float32, which would else not tell them apart; None where none are such.
        fields: how each of a table's columns is read, where they are of more than one kind.
        conditions: what the model is conditioned on.
        library: of data whose examples' totals are known scales the mean of their logarithms.
        origin: where the data came from.
        options: what else is needed to read another file the same way.

    >>> raw = np.array([[1.5, 7.0], [2.5, 7.0]])
    >>> reading = Reading.of([raw], name="pair", origin="array", columns=("a", "b"))
    >>> reading.shape, reading.dropped, str(reading.support)
    ((1,), ((1, 7.0),), 'real numbers')
    >>> x = reading.apply(raw)
    >>> x.tolist(), reading.restore(x).tolist()
    ([[1.5], [2.5]], [[1.5, 7.0], [2.5, 7.0]])
    >>> Reading.from_dict(reading.to_dict()) == reading
    True
    """

    name: str
    layout: Literal["image", "vector", "signal"]
    shape: tuple[int, ...]
    raw_shape: tuple[int, ...]
    raw_dtype: str
    support: Support
    binarize: str = "none"
    grey: float | None = None
    columns: tuple[str, ...] | None = None
    dropped: tuple[tuple[int, float], ...] = ()
    centre: tuple[float, ...] | None = None
    fields: tuple[Field, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    library: float | None = None
    origin: Origin = "array"
    options: dict[str, Any] = attribute(default_factory=dict)

    @classmethod
    def of(
        cls,
        parts: list[np.ndarray],
        name: str = "array",
        origin: Origin = "array",
        columns: tuple[str, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        support: str = "auto",
        binarize: str = "none",
        options: dict[str, Any] | None = None,
        field: str = "data",
        signal: bool = False,
    ) -> Reading:
        """Finds how to read raw arrays (N, ...) that are parts of one data set; looks at every value once."""
        for part in parts:
            check_array(part, field)
        if len({part.shape[1:] for part in parts}) > 1:
            found = ", ".join(times(part.shape[1:]) for part in parts)
            raise InputError(field, f"the splits have examples of different shapes ({found})", "give one shape")
        raw_shape = signal_shape(parts[0].shape[1:], shape, field) if signal else None
        raw_shape = raw_shape or example_shape(parts[0].shape[1:], shape, field)
        image = len(raw_shape) > 1 or signal
        for part in parts:
            check_finite(part, field, columns)
        dropped = (
            () if image or binarize != "none" else constant_columns([part.reshape(len(part), -1) for part in parts])
        )
        if dropped and len(dropped) == raw_shape[0]:
            raise InputError(field, "every column is constant, so there is nothing to model", "give data that vary")
        values = infer_support(
            [_Kept(part.reshape(len(part), *raw_shape), dropped) for part in parts], support, image, field
        )
        if values.kind == "binary" and {value for _, value in dropped} <= {0, 1}:
            dropped = ()  # binary vectors stay whole
        if binarize != "none" and values.kind == "binary":
            binarize = "none"  # nothing to do; the data set's notes say so
        reading = cls(
            name=name,
            layout="signal" if signal else "image" if image else "vector",
            shape=one_high(raw_shape)
            if signal
            else channels_first(raw_shape)
            if image
            else (raw_shape[0] - len(dropped),),
            raw_shape=raw_shape,
            raw_dtype=np.result_type(*parts).name,
            support=values,
            columns=columns,
            dropped=dropped,
            centre=far_centres(parts, [True] * (1 if image else raw_shape[0]), columns)
            if values.kind == "real"
            else None,
            origin=origin,
            options=dict(options or {}),
        )
        if binarize == "none":
            return reading
        return replace(reading, support=Support("binary", 2), binarize=binarize, grey=grey_of(values))

    @classmethod
    def of_table(
        cls,
        parts: list[np.ndarray],
        columns: tuple[str, ...] | None,
        fields: tuple[Field, ...],
        name: str = "table",
        origin: Origin = "table",
        options: dict[str, Any] | None = None,
        field: str = "data",
    ) -> Reading:
        """The reading of a table of several kinds, as numbers (N, D) with NaN where a cell is missing.

        What is constant, or missing in every row, is dropped and put back.
        """
        for part in parts:
            check_array(part, field)
            check_finite(part, field, columns, missing=True)
        low = np.min([_extreme(part, np.fmin) for part in parts], 0)
        high = np.max([_extreme(part, np.fmax) for part in parts], 0)
        dropped = tuple((i, float(value)) for i, value in enumerate(low) if not value < high[i])
        kept = [i for i, value in enumerate(low) if value < high[i]]
        if not kept:
            raise InputError(field, "every column is constant, so there is nothing to model", "give data that vary")
        return cls(
            name=name,
            layout="vector",
            shape=(len(kept),),
            raw_shape=(len(fields),),
            raw_dtype="float64",
            support=Support("columns", columns=tuple(fields[i].support for i in kept)),
            columns=columns,
            dropped=dropped,
            centre=far_centres(parts, [each.support.kind == "real" for each in fields], columns),
            fields=fields,
            origin=origin,
            options=dict(options or {}),
        )

    def offsets(self, raw: np.ndarray) -> torch.Tensor | None:
        """The known log-scale of each raw example (N, 1): of its total, beside that of a typical one."""
        if self.library is None:
            return None
        return torch.from_numpy(log_totals(raw) - self.library).float()[:, None]

    @property
    def density(self) -> str:
        """What a model of these data is a density of, as it is written: ``p(x)``, or ``p(x | labels, total)``."""
        given = [condition.name for condition in self.conditions] + ["total"] * (self.library is not None)
        told = ", ".join(given) if len(given) < 4 else f"{len(given)} conditions"
        return f"p(x | {told})" if given else "p(x)"

    @property
    def conditioned(self) -> int:
        """How many numbers each example is conditioned on."""
        return sum(condition.width for condition in self.conditions)

    @property
    def kept(self) -> list[int]:
        """The raw columns that are modelled."""
        index = {i for i, _ in self.dropped}
        return [i for i in range(self.raw_shape[0]) if i not in index]

    @property
    def kept_columns(self) -> list[str]:
        """What the columns that are modelled are called."""
        return [self.columns[i] if self.columns else f"x{i}" for i in self.kept]

    @property
    def titles(self) -> list[Title] | None:
        """What the raw columns are called, each with the names of its categories; None where they have no names."""
        if self.columns is None:
            return None
        fields = self.fields or (Field("real"),) * len(self.columns)
        return [Title(name, field.categories) for name, field in zip(self.columns, fields, strict=True)]

    @property
    def raw_support(self) -> Support:
        """The values of the raw data, before binarisation."""
        if self.grey is None:
            return self.support
        return Support("unit") if self.grey == 1 else Support("integers", int(self.grey) + 1)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least and the greatest value that ``restore`` can give; None where there is no greatest."""
        if self.support.bounds is None or math.isinf(self.support.bounds[1]):
            return None
        return 0.0, float((self.support.levels or 2) - 1)

    def apply(self, raw: np.ndarray, field: str = "data") -> torch.Tensor:
        """Raw examples (N, *raw_shape) as the model's x (N, *shape): uint8 where every value fits, else float32.

        Threshold and static binarisation are done here; x is still grey where binarisation is dynamic.
        """
        check_array(raw, field)
        found = raw.shape[1:]
        flat = self.options.get("shape") and math.prod(found) == math.prod(self.raw_shape)
        if found != self.raw_shape and not flat:
            problem = f"examples of shape {times(found)} where the model has {times(self.raw_shape)}"
            raise InputError(field, problem, "give data of the model's shape")
        check_finite(raw, field, self.columns, missing=self.fields is not None)
        x = np.asarray(raw).reshape(len(raw), *self.raw_shape)
        self._check_constants(x, field)
        self._check_support(without(x, self.dropped), field)
        return self.convert(raw)

    def possible(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
        """Raw examples (N, *raw_shape) without what the model holds impossible; where that was, of the same shape, or None if
        nothing was; and notes.

        A cell of a table is impossible where its column's likelihood gives it no probability at all: a category or a level
        that was never seen, a fraction among whole numbers, another value in a column that was constant in training. It cannot
        be given to the model, so it is taken as missing, and what is constant is put back; the row's log p(x) is −∞.
        Of columns that share one kind, such as genes, only constant ones are looked at here.
        """
        fits = self.layout == "vector" and raw.shape[1:] == self.raw_shape and raw.dtype.kind in "fiub"
        if not fits or not (self.fields or self.dropped):
            return raw, None, []  # what does not fit is refused where it is read
        odd, words = np.zeros(raw.shape, bool), {}
        for i, value in self.dropped:
            odd[:, i] = (raw[:, i].astype(np.float32) != np.float32(value)) & ~np.isnan(raw[:, i] + value)
            words[i] = f"it was always {value:g} in training"
        for i, column in zip(self.kept, self.support.columns, strict=False):
            odd[:, i] = column.outside(raw[:, i]) & ~np.isnan(raw[:, i])
            words[i] = f"it holds {column}"
        if not odd.any():
            return raw, None, []
        clean = raw.astype(np.float64) if self.fields else raw.copy()
        for i in np.flatnonzero(odd.any(0)):
            clean[odd[:, i], i] = math.nan if self.fields else dict(self.dropped)[i]
        return clean, odd, self._odd_cells(raw, odd, words)

    def _odd_cells(self, raw: np.ndarray, odd: np.ndarray, words: dict[int, str]) -> list[str]:
        named = [field.kind == "categories" for field in self.fields or ()] or [False] * raw.shape[1]
        told = [i for i in np.flatnonzero(odd.any(0)) if not (named[i] and (raw[odd[:, i], i] == UNSEEN).all())]
        notes = []
        for i in told[:MOST_NOTES]:
            count, row = int(odd[:, i].sum()), int(odd[:, i].argmax())
            name = repr(self.columns[i]) if self.columns else i
            what = f"{count:,} cell{'s'[: count != 1]} that the model holds impossible, such as {raw[row, i]:g} in row {row}"
            if self.fields and self.fields[i].categories:
                words[i] = f"it holds {len(self.fields[i].categories)} categories"
            notes.append(f"column {name} has {what} ({words[i]}): taken as {'missing' if self.fields else 'that'}")
        if more := told[MOST_NOTES:]:
            notes.append(f"{len(more):,} more columns have such cells, {int(odd[:, more].sum()):,} in all")
        return notes

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's x before it is in a batch: uint8 where every value fits, else float32."""
        levels = self.raw_support.levels
        few = (levels and levels <= 256) or self.binarize in ("threshold", "static") or self.raw_dtype == "bool"
        return torch.uint8 if few else torch.float32

    def convert(self, raw: np.ndarray) -> torch.Tensor:
        """The same of examples whose values have been looked at."""
        x = np.asarray(raw).reshape(len(raw), *self.raw_shape)
        x = without(x if self.centre is None else x - np.array(self.centre), self.dropped)
        if self.layout == "image":
            x = to_channels_first(x)
        elif self.layout == "signal":
            x = x.reshape(len(x), *self.shape)
        if self.binarize == "threshold":
            x = x > self.grey / 2
        elif self.binarize == "static":
            x = draw_static(x, self.grey, self.options.get("seed", 0))
        x = np.ascontiguousarray(x, dtype=np.uint8 if self.dtype == torch.uint8 else np.float32)
        # The tensor must not be a window on the user's own array, nor on a read-only file.
        return torch.from_numpy(x.copy() if np.may_share_memory(x, raw) else x)

    def restore(self, x: torch.Tensor | np.ndarray) -> np.ndarray:
        """Model values (N, *shape), samples or means, as the user stores them (N, *raw_shape).

        Constant columns are put back. Whole numbers of a discrete support take the raw type if that is an integer
        one that holds them; all else is float32, or float64 where columns have a ``centre``. Binarised data stay 0 to 1.
        """
        x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
        if self.layout == "image":
            stored_first = len(self.raw_shape) == 3 and channel_axis(self.raw_shape) == -3
            raw = x if stored_first else np.moveaxis(x, 1, -1).reshape(len(x), *self.raw_shape)
        elif self.layout == "signal":
            raw = x.reshape(len(x), *self.raw_shape)
        if self.layout != "vector" and self.centre is not None:
            raw = raw + np.array(self.centre)
        if self.layout == "vector":
            raw = np.empty((len(x), *self.raw_shape))  # float64: a constant may not fit the type of x
            index = [i for i, _ in self.dropped]
            raw[:, np.setdiff1d(np.arange(self.raw_shape[0]), index)] = x
            for i, value in self.dropped:
                raw[:, i] = value
            if self.centre is not None:
                raw += np.array(self.centre)  # which is 0 for what is dropped
        if self.fields is not None:
            return raw
        whole = self.support.discrete and np.dtype(self.raw_dtype).kind in "iub"
        if whole and (raw.dtype.kind in "iub" or bool(np.all(raw == np.round(raw)))) and holds(self.raw_dtype, raw):
            return raw.astype(self.raw_dtype)
        return np.ascontiguousarray(raw, dtype=np.float32 if self.centre is None else np.float64)

    def pictures(self, x: torch.Tensor | np.ndarray) -> np.ndarray:
        """Model values of images (N, C, H, W) as pictures to draw: (N, H, W), or (N, H, W, C) with colours."""
        x = np.moveaxis(x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x), 1, -1)
        return x[..., 0] if x.shape[-1] == 1 else x

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Reading:
        """The inverse of ``to_dict``, also after JSON has made lists of the tuples."""
        d = dict(d)
        d["support"] = Support(**d["support"])
        d["shape"], d["raw_shape"] = tuple(d["shape"]), tuple(d["raw_shape"])
        d["columns"] = tuple(d["columns"]) if d["columns"] is not None else None
        d["centre"] = tuple(map(float, d["centre"])) if d.get("centre") is not None else None
        d["dropped"] = tuple((int(i), math.nan if value is None else float(value)) for i, value in d["dropped"])
        if d.get("fields") is not None:
            d["fields"] = tuple(Field(**{**each, "categories": tuple(each["categories"]), "enum": tuple(each.get("enum", ()))})
                                for each in d["fields"])  # fmt: skip
        d["conditions"] = tuple(
            Condition(**{**each, "categories": tuple(each["categories"])}) for each in d.get("conditions", ())
        )
        reading = cls(**d)
        if not reading._sound():
            raise ValueError("its reading is none of a data set")
        return reading

    def _sound(self) -> bool:
        """Whether the fields, read from a file that anybody may have changed, are such as :meth:`of` makes."""
        without_levels = ("counts", "unit", "positive", "real", "columns")
        levels, kind = self.support.levels, self.support.kind
        return (
            all(type(size) is int and size > 0 for size in (*self.shape, *self.raw_shape))
            and len(self.shape) == (1 if self.layout == "vector" else 3)
            and math.prod(self.raw_shape) == math.prod(self.shape) + len(self.dropped)
            and all(0 <= i < self.raw_shape[0] for i, _ in self.dropped)
            and kind in ("binary", "integers", "categories", *without_levels)
            and (levels is None if kind in without_levels else type(levels) is int and levels > 1)
            and self.binarize in ("none", "threshold", "static", "dynamic")
            and (self.grey is None) == (self.binarize == "none")
            and (self.grey is None or (isinstance(self.grey, int | float) and self.grey > 0))
            and all(isinstance(text, str) for text in (self.name, self.layout, self.origin, *(self.columns or ())))
            and (self.columns is None or len(self.columns) == self.raw_shape[0])
            and (
                self.centre is None
                or (
                    len(self.centre) == (self.raw_shape[0] if self.layout == "vector" else 1)
                    and all(map(math.isfinite, self.centre))
                )
            )
            and isinstance(self.options, dict)
            and np.dtype(self.raw_dtype).kind in "fiub"
        )

    def _check_support(self, x: np.ndarray, field: str) -> None:
        if self.fields is None:
            return self.raw_support.check(x, field)
        for i, column in enumerate(self.support.columns):
            known = ~np.isnan(x[:, i])
            # what is missing stands as a value that there is, so that the row which is named is the table's
            column.check(np.where(known, x[:, i], 1.0), f"{field}: column {self.kept_columns[i]!r}")

    def _check_constants(self, x: np.ndarray, field: str) -> None:
        for i, value in self.dropped:
            other = (x[:, i].astype(np.float32) != np.float32(value)) & ~np.isnan(x[:, i] + value)
            if other.any():
                row = int(other.argmax())
                name = repr(self.columns[i]) if self.columns else i
                problem = (
                    f"column {name} is {x[row, i]:g} in row {row}, but was always {value:g} where the model was trained"
                )
                raise InputError(field, problem, "leave out such rows, or train on data in which the column varies")


def _extreme(x: np.ndarray, which: np.ufunc) -> np.ndarray:
    """The least or the greatest of each column (D,), NaN where all are."""
    return which.reduce([which.reduce(part, axis=0) for _, part in chunks(x)])


def far_centres(
    parts: list[np.ndarray], real: Sequence[bool], columns: tuple[str, ...] | None
) -> tuple[float, ...] | None:
    """A whole number in the midst of each column (D,) that is ``real`` and lies more than FAR deviations from 0, 0 for others;
    None where there is no such column.

    Raises:
        InputError: for a real column whose range is beyond numbers of 32 bits.
    """
    chosen = np.array(real)
    if not chosen.any():
        return None
    parts = [part[:LOOK].reshape(-1, len(chosen)) for part in parts]  # the midst need not be exact
    low, high = (
        np.nan_to_num(which([_extreme(part, each) for part in parts], 0).astype(np.float64)) * chosen
        for which, each in ((np.min, np.fmin), (np.max, np.fmax))
    )
    for i in np.flatnonzero((high > low) & ~((high - low > TINY) & (high - low < 1 / TINY))):
        what = f"column {repr(columns[i]) if columns else i}" if len(chosen) > 1 else "x"
        problem = f"{what} goes from {low[i]:.3g} to {high[i]:.3g}"
        raise InputError("data", f"{problem}, beyond numbers of 32 bits", "give it in another unit")
    n, total, squares = (np.zeros(len(chosen)) for _ in range(3))
    for part in parts:
        for _, some in chunks(part):
            off = np.where(chosen, some, 0.0) - low  # from within the column, so that nothing is rounded away
            n, total, squares = n + (~np.isnan(off)).sum(0), total + np.nansum(off, 0), squares + np.nansum(off**2, 0)
    mean = total / n.clip(1)
    std = np.sqrt((squares / n.clip(1) - mean**2).clip(0))
    far = (np.abs(low + mean) > FAR * std) & (std > 0)
    return tuple(np.where(far, np.round(low + mean), 0.0).tolist()) if far.any() else None


def log_totals(x: np.ndarray) -> np.ndarray:
    """The logarithm of each example's total, (N,); of an empty one that of 1."""
    totals = [part.reshape(len(part), -1).sum(1, dtype=np.float64) for _, part in chunks(x)]
    return np.log(np.concatenate(totals).clip(1))


def check_array(x: np.ndarray, field: str) -> None:
    """Refuses what is no array (N, ...) of 2 to 4 dimensions, of real numbers, with at least one of everything."""
    if x.dtype.kind not in "fiub":
        raise InputError(field, f"the array has type {x.dtype}, which is no real number", "give integers or floats")
    if not 2 <= x.ndim <= 4:
        mend = "give one row per example, as (N, D), (N, H, W) or (N, H, W, C)"
        raise InputError(field, f"the array has {x.ndim} dimension{'s'[: x.ndim != 1]}, shape {x.shape}", mend)
    if x.size == 0:
        raise InputError(
            field, f"the array is empty, shape {x.shape}", "give examples: one or more to measure, four to train on"
        )


def example_shape(found: tuple[int, ...], wanted: tuple[int, ...] | None, field: str) -> tuple[int, ...]:
    """The raw shape of an example: as stated, if the numbers of values agree, else as found, if it can be told."""
    if wanted is not None:
        if math.prod(found) != math.prod(wanted):
            n = math.prod(found)
            problem = f"{times(wanted)} is {math.prod(wanted)} values, but an example has {n} (shape {times(found)})"
            raise InputError("data.shape", problem, f"give {fits(n)}")
        found = wanted
    if (
        len(found) == 1
        or (len(found) == 2 and (wanted or min(found) >= 4))
        or (len(found) == 3 and channel_axis(found))
    ):
        return found
    problem = f"examples of shape {times(found)} are neither vectors nor images"
    mend = (
        f"images are H×W (4 or more each), H×W×C or C×H×W with 1, 3 or 4 channels; else data.shape {math.prod(found)}"
    )
    raise InputError("data.shape" if wanted else field, problem, mend)


def signal_shape(found: tuple[int, ...], wanted: tuple[int, ...] | None, field: str) -> tuple[int, ...]:
    """The raw shape of a signal, (length,) or (channels, length)."""
    shape = wanted if wanted is not None and math.prod(wanted) == math.prod(found) else found
    if len(shape) > 2 or shape[-1] < 4:
        raise InputError(
            "data.layout", f"is signal, and an example is {times(found)}", "give (length) or (channels, length)"
        )
    return shape


def one_high(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A signal as an image of one row, (C, 1, length)."""
    return (shape[0] if len(shape) > 1 else 1, 1, shape[-1])


def fits(n: int) -> str:
    """What n values can be: a vector, and the squarest image.

    >>> fits(560)
    '560 or 20,28'
    """
    side = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    return f"{n} or {side},{n // side}" if side >= 4 else str(n)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which axis of (H, W, C) or (C, H, W) is the channels: −1 or −3; None where neither can be."""
    if shape[-1] in (1, 3, 4):
        return -1
    return -3 if shape[0] in (1, 3) and min(shape[1:]) > shape[0] else None


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) for the raw shape of an image."""
    if len(shape) == 2:
        return (1, *shape)
    return (shape[2], *shape[:2]) if channel_axis(shape) == -1 else shape


def to_channels_first(x: np.ndarray) -> np.ndarray:
    """Raw images (N, *raw_shape) as (N, C, H, W), without a copy."""
    if x.ndim == 3:
        return x[:, None]
    return np.moveaxis(x, -1, 1) if channel_axis(x.shape[1:]) == -1 else x


def grey_of(support: Support) -> float:
    """What grey values are divided by to be probabilities."""
    if support.kind in ("real", "counts"):
        mend = "give integers from 0 or floats in [0, 1], or data.binarize none"
        raise InputError("data.binarize", f"{support} are no grey values", mend)
    return float(support.size - 1) if support.discrete else 1.0


def holds(dtype: str, x: np.ndarray) -> bool:
    """Whether an integer or boolean type has every value of x: a drawn count may be larger than any that was read."""
    if dtype == "bool":
        return bool(((x >= 0) & (x <= 1)).all())
    kind = np.iinfo(dtype)
    # in float64 the largest 64-bit integer is rounded up to a number that the type does not have
    return x.size == 0 or bool(kind.min <= x.min() and float(x.max()) < float(kind.max) + (kind.bits < 64))


def draw_static(x: np.ndarray, grey: float, seed: int) -> np.ndarray:
    """Grey images (N, C, H, W) drawn once to be binary, each pixel 1 with probability x / grey.

    The random numbers of an example are the hash of the seed and its own values: the same example becomes the same
    binary one in whatever file, order or split it stands, on any machine.
    """
    out = np.empty(x.shape, bool)
    salt, d = seed.to_bytes(4, "little"), x[0].size
    for i, example in enumerate(x):
        p = np.ascontiguousarray(example, dtype="<f4").reshape(-1)
        noise = np.frombuffer(hashlib.shake_128(salt + p.tobytes()).digest(4 * d), dtype="<u4")
        out[i] = ((noise + 0.5) * (grey / 2**32) < p).reshape(example.shape)
    return out


def constant_columns(parts: list[np.ndarray]) -> tuple[tuple[int, float], ...]:
    """The columns of (N, D) arrays that have one value in every row of every part, with that value."""
    first = np.array(parts[0][0])
    same = np.ones(len(first), bool)
    for part in parts:
        for _, chunk in chunks(part):
            same &= (chunk == first).all(axis=0)
    return tuple((int(i), float(first[i])) for i in np.flatnonzero(same))


def without(x: np.ndarray, dropped: tuple[tuple[int, float], ...]) -> np.ndarray:
    """x (N, D) without its constant columns; x itself if there are none."""
    return np.delete(x, [i for i, _ in dropped], axis=1) if dropped else x


class _Kept:
    """The same, a few examples at a time: an array on the disk is not copied."""

    def __init__(self, x: np.ndarray, dropped: tuple[tuple[int, float], ...]) -> None:
        self.x, self.dropped, self.dtype = x, dropped, x.dtype

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, some: slice) -> np.ndarray:
        return without(self.x[some], self.dropped)


def times(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 28×20."""
    return "×".join(str(s) for s in shape) or "()"
