"""Columns of a table, each of its own kind: what its values are, how they become numbers, and how numbers become cells.

    kind         taken for                                                          support
    binary       0 and 1, false and true                                            {0, 1}
    ordinal      whole numbers from 0 to at most 20                                 integers 0 to levels − 1
    counts       whole numbers from 0, and more than 20 of them                     counts
    whole        all other whole numbers                                            whole numbers
    positive     numbers above 0 to which a log-normal density fits better          numbers above 0
    real         all other numbers                                                  real numbers
    categories   texts                                                              names without an order
    none         is left out: nothing is learned of it

A cell that is missing is NaN. Between a normal density of x and one of log x the likelihood decides: at their best the mean
log-densities are −log σ and −log τ − mean log x but for a common constant, σ and τ the deviations of x and of log x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.data.support import Support
from taut.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "UNSEEN",
    "Field",
    "Title",
    "as_column",
    "cells",
    "codes",
    "field_of",
    "fields_of",
    "fields_of_array",
    "fill",
    "frame_of",
    "named_rows",
    "table_names",
    "to_frame",
    "unfilled",
    "widened",
]

ORDINAL = 20  # the largest of whole numbers that are each a level of their own
NAMES = 1000  # categories of one column, at most
UNLIKE = 0.5  # the share of different texts from which on a column of many is no category
FEW = 50
EXACT = 2**53  # beyond it float64 has not every whole number
DRESSED = r"^[$€£¥]?\s?[+-]?\d[\d.,\s']*\s?[%$€£¥]?$"  # a number with a sign of what it counts, or spaces in it
UNSEEN = -1.0  # the number of a category that was never seen
NULLABLE = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)} | {"Float32", "Float64"}  # of pandas
WORDLESS = 0.5  # the share of numbers from which on a text that stands for all others says that a cell is missing
WORTH = 0.05  # nats a cell by which a log-normal density must fit better: no number below 0 is possible under it


class Title(str):
    """A column's name that knows those of its categories, so that pictures can say them.

    >>> Title("sex", ("Female", "Male")).categories, Title("age")
    (('Female', 'Male'), 'age')
    """

    __slots__ = ("categories",)

    def __new__(cls, name: str, categories: tuple[str, ...] = ()) -> Title:
        title = super().__new__(cls, name)
        title.categories = categories
        return title


@dataclass(frozen=True)
class Field:
    """One column.

    Args:
        kind: see the table above.
        dtype: polars' name of the type that it has in the user's table.
        categories: their names, in order, of ``categories`` alone.
        levels: how many there are, of ``ordinal`` alone.
        enum: all names that its type has, of an enumeration alone.
        missing: a text that says that a number is missing, such as ``unknown``.
    """

    kind: str
    dtype: str = "Float64"
    categories: tuple[str, ...] = ()
    levels: int | None = None
    enum: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def support(self) -> Support:
        """What values it can take."""
        kind = {"ordinal": "integers", "whole": "real"}.get(self.kind, self.kind)
        return Support(kind, len(self.categories) or self.levels, whole=self.kind == "whole")


def field_of(name: str, values: np.ndarray, kind: str | None, dtype: str = "Float64") -> Field:
    """The field of a column of numbers (N,), NaN where missing: of the kind that is asked for, or that the values look like.

    >>> field_of("age", np.array([17.0, 90.0, np.nan]), None)
    Field(kind='whole', dtype='Float64', categories=(), levels=None, enum=(), missing=None)
    """
    seen = values[~np.isnan(values)]
    kind = kind or _kind(seen)
    if kind == "categories":
        return Field(kind, dtype, tuple(_texts(np.unique(seen))))
    field = Field(kind, dtype, levels=max(2, int(seen.max()) + 1) if kind == "ordinal" and len(seen) else None)
    if kind == "ordinal" and len(seen) and seen.max() > 10_000:
        raise InputError("data.kinds", f"{name} has the value {seen.max():g}, too many levels", "say whole or counts")
    if kind == "whole" and (fraction := seen[seen != np.floor(seen)]).size:
        raise InputError("data.kinds", f"{name} has the value {fraction[0]:g}, which is not whole", "say real")
    if kind != "none" and (outside := seen[field.support.outside(seen)]).size:
        problem = f"{name} is {kind}, and has the value {float(outside[0])!r}, which is none of {field.support}"
        raise InputError("data.kinds", problem, "say another, or leave it out")
    return field


def _kind(seen: np.ndarray) -> str:
    seen = seen[np.isfinite(seen)]  # what is infinite is refused where the values are read
    if not len(seen):
        return "none"
    low, high = float(seen.min()), float(seen.max())
    if (seen == np.floor(seen)).all():
        if low >= 0 and high <= 1:
            return "binary"
        if low >= 0 and high <= ORDINAL:
            return "ordinal"
        return "counts" if low == 0 else "whole"
    if low <= 0:
        return "real"
    logs = np.log(seen)
    if not (seen.std() and logs.std()):
        return "real"  # constant, or as good as that
    gain = np.log(seen.std()) - np.log(logs.std()) - logs.mean()  # nats a cell
    return "positive" if gain > WORTH else "real"


def _texts(values: np.ndarray) -> list[str]:
    return [str(int(v)) if v == np.floor(v) else str(v) for v in values.tolist()]


def fields_of_array(x: np.ndarray, kinds: dict[str, str]) -> tuple[Field, ...]:
    """The fields of an array (N, D), its columns called 0, 1, 2 …"""
    dtype = "Int64" if x.dtype.kind in "iub" else "Float64"
    return tuple(
        field_of(f"column {i}", x[:, i].astype(np.float64), kinds.get(str(i)), dtype) for i in range(x.shape[1])
    )


def fields_of(frame: pl.DataFrame, kinds: dict[str, str], notes: list[str]) -> tuple[Field, ...]:
    """The fields of a table, as asked for or as they look; what was decided goes to the notes."""
    import polars as pl

    fields = []
    for column in frame:
        kind = kinds.get(column.name)
        if kind == "none" or column.null_count() == len(column):
            fields.append(Field("none", str(column.dtype)))
        elif column.dtype == pl.String:
            fields.append(_of_texts(column, kind, notes))
        elif column.dtype in (pl.Categorical, pl.Enum):
            texts = column.cast(pl.String)
            known = "categories" if not _like_names(texts.drop_nulls()) else None
            field = _of_texts(texts, kind or known, notes)
            if field.kind in ("categories", "none"):
                names = column.dtype.categories if column.dtype == pl.Enum else ()
                field = replace(field, dtype=column.dtype.base_type().__name__, enum=tuple(names))
            fields.append(field)
        elif kind is None and _beyond(column):
            notes.append(
                f"column {column.name!r} has whole numbers beyond 2^53, such as {column.drop_nulls()[0]}: names and no "
                f"quantities, so it is left out (data.kinds {column.name}=whole keeps its first 16 digits)"
            )
            fields.append(Field("none", str(column.dtype)))
        elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
            values = _numbers(column)
            fields.append(field_of(column.name, values, kind, str(column.dtype)))
            if kind is None:
                notes += named_rows(column.name, values)
        else:
            example = str(column.drop_nulls()[0])[:30]
            problem = f"column {column.name!r} is no numbers and no text ({example!r}, type {column.dtype})"
            raise InputError("data", problem, f"code it in numbers, or leave it out with data.kinds {column.name}=none")
    return tuple(fields)


def _beyond(column: pl.Series) -> bool:
    """Whether numbers are whole and some of them beyond what float64 can tell apart."""
    if not (column.dtype.is_integer() or column.dtype.is_float()):
        return False
    seen = column.drop_nulls()
    seen = seen.filter(seen.is_finite()) if column.dtype.is_float() else seen
    if not len(seen) or not EXACT < max(abs(seen.min()), abs(seen.max())) < 2**64:
        return False
    return column.dtype.is_integer() or bool((seen == seen.floor()).all())


def named_rows(name: str, values: np.ndarray) -> list[str]:
    """A note where numbers (N,) look like names of rows: whole, many, and another one in each row."""
    if not len(values) > FEW or len(np.unique(values)) < len(values) or (values != np.floor(values)).any():
        return []
    return [
        f"column {name!r} has another whole number in each row: if it is a row's name, leave it out with data.kinds {name}=none"
    ]


def _like_names(seen: pl.Series) -> bool:
    """Whether texts are too many different ones to be categories."""
    count = seen.n_unique()
    return count > NAMES or (count > FEW and count > UNLIKE * len(seen))


def _of_texts(column: pl.Series, kind: str | None, notes: list[str]) -> Field:
    import polars as pl

    name, seen = column.name, column.drop_nulls()
    if kind is None and seen.str.contains(r"^\d+$").all() and seen.str.contains(r"^0\d").any():
        if _like_names(seen):
            notes.append(_left_out(name, seen))
            return Field("none", "String")
        kind = "categories"  # 01234 is a name
    numbers = seen.cast(pl.Float64, strict=False)
    odd = numbers.null_count()
    words = seen.filter(numbers.is_null()).unique()
    if kind != "categories" and len(words) == 1 and 1 < odd <= WORDLESS * len(seen) and numbers.n_unique() > ORDINAL:
        notes.append(
            f"column {name!r} is numbers but for {odd:,} cells {words[0]!r}: these are taken as missing (data.kinds "
            f"{name}=categories keeps them)"
        )
        numbers = numbers.drop_nulls()
        whole = (numbers == numbers.floor()).all() and numbers.abs().max() < 2**53
        return replace(field_of(name, numbers.to_numpy(), kind, "Int64" if whole else "Float64"), missing=words[0])
    if kind not in (None, "categories") or (kind is None and len(seen) >= 10 and odd <= 0.1 * len(seen)):
        if odd:
            strange = seen.filter(numbers.is_null())[0]
            problem = f"column {name!r} is numbers but for {odd:,} cell{'s'[: odd != 1]} such as {strange[:30]!r}"
            raise InputError("data", problem, f"leave those cells empty, or say data.kinds {name}=categories")
        return field_of(name, numbers.to_numpy(), kind, "Float64")
    names = seen.unique().sort()
    if kind is None and odd and seen.str.contains(DRESSED).mean() > 0.9:
        notes.append(
            f"column {name!r} has numbers with signs or spaces, such as {words[0][:30]!r}, which are read as texts: "
            "write plain numbers to have a quantity"
        )
    if kind is None and _like_names(seen):
        notes.append(_left_out(name, seen))
        return Field("none", "String")
    if kind is None and odd and odd < len(seen) / 2:
        notes.append(
            f"column {name!r} is taken for {len(names):,} categories: most of its cells are numbers, and {odd:,} are none, "
            f"such as {words[0][:30]!r} (leave these empty to have numbers)"
        )
    return Field("categories", "String", tuple(names.to_list()))


def _left_out(name: str, seen: pl.Series) -> str:
    return (
        f"column {name!r} has {seen.n_unique():,} different texts in {len(seen):,} rows, so it looks like names of rows and is "
        f"left out (keep it with data.kinds {name}=categories)"
    )


def codes(frame: pl.DataFrame, fields: Sequence[Field], notes: list[str]) -> np.ndarray:
    """A table as numbers (N, D) float64, NaN where a cell is missing: of categories, the place of each in its names.

    A category that the fields do not have is ``UNSEEN``, which is none of the column's numbers, and the notes say so.
    """
    columns = [_codes(column, field, notes) for column, field in zip(frame, fields, strict=True)]
    return np.column_stack(columns) if columns else np.empty((frame.height, 0))


def _codes(column: pl.Series, field: Field, notes: list[str]) -> np.ndarray:
    import polars as pl

    if field.kind == "none":
        return np.full(len(column), np.nan)
    if field.kind != "categories":
        column = unfilled(column, field)
        numbers = column if column.dtype != pl.String else _numerals(column, field)
        if (odd := numbers.null_count() - column.null_count()) > 0:
            strange = column.filter(numbers.is_null() & column.is_not_null())[0]
            problem = (
                f"column {column.name!r} has {odd:,} cell{'s'[: odd != 1]} that are no numbers, such as {strange!r}"
            )
            raise InputError("data", problem, "leave them empty, or correct them")
        if not (numbers.dtype.is_numeric() or numbers.dtype in (pl.Boolean, pl.Null)):
            problem = f"column {column.name!r} is of type {column.dtype}, and was numbers"
            raise InputError("data", problem, "give it as it was in training")
        return _numbers(numbers)
    if column.dtype.is_float():
        column = pl.Series(column.name, [None if v is None or v != v else _texts(np.array([v]))[0] for v in column])
    elif column.dtype == pl.Boolean:
        column = column.cast(pl.Int64)
    texts = column.cast(pl.String)
    places = {name: float(i) for i, name in enumerate(field.categories)}
    found = texts.replace_strict(list(places), list(places.values()), default=UNSEEN, return_dtype=pl.Float64)
    found = found.to_numpy().astype(np.float64)
    found[texts.is_null().to_numpy()] = np.nan
    if unseen := int((found == UNSEEN).sum()):
        row = int((found == UNSEEN).argmax())
        notes.append(
            f"column {column.name!r} has {unseen:,} cell{'s'[: unseen != 1]} that the model holds impossible, such as "
            f"{texts[row][:30]!r} in row {row} (it holds {len(places):,} other categories): taken as missing"
        )
    return found


def _numerals(column: pl.Series, field: Field) -> pl.Series:
    """Texts as numbers, missing where they are none; words of truth too where the column had such."""
    import polars as pl

    if field.dtype == "Boolean":
        column = column.str.to_lowercase().replace({"true": "1", "false": "0"})
    return column.cast(pl.Float64, strict=False)


def unfilled(column: pl.Series, field: Field) -> pl.Series:
    """A column without the texts that say that a cell is missing."""
    import polars as pl

    if field.missing is None or column.dtype != pl.String:
        return column
    column = column.set(column == field.missing, None)
    numbers = column.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == column.null_count() else column


def _numbers(column: pl.Series) -> np.ndarray:
    import polars as pl

    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def frame_of(
    raw: np.ndarray, names: Sequence[str], fields: Sequence[Field], centre: Sequence[float] | None = None
) -> pl.DataFrame:
    """The inverse of :func:`codes`: numbers (N, D) as a table of the user's types; of a mean of whole numbers the nearest.

    A type of whole numbers too narrow for one of them, as a draw may be larger than any that was read, becomes Int64. What was
    taken from each column before its numbers became such of 24 bits is its ``centre``.
    """
    import polars as pl

    middle = [0.0] * len(fields) if centre is None else centre
    return pl.DataFrame([pl.Series(name, *cells(raw[:, i], fields[i], middle[i])) for i, name in enumerate(names)])


def cells(values: np.ndarray, field: Field, centre: float = 0.0) -> tuple[list[Any], Any]:
    """The cells of numbers (N,), and their polars type."""
    import polars as pl

    kind = getattr(pl, field.dtype.split("(")[0], pl.String)
    kind = pl.Enum(field.enum) if field.enum else kind
    if field.kind in ("real", "positive"):
        kind = kind if kind.is_float() else pl.Float64
        # the model's numbers are of 24 bits: the shortest that is one of them, so that 40.3 comes back as 40.3
        short = [None if v != v else float(str(v)) for v in (values - centre).astype(np.float32)]
        return [v if v is None or not centre else round(centre + v, 9) for v in short], kind
    places = [None if v != v else round(v) for v in values.tolist()]
    if field.categories:
        texts = [None if i is None else field.categories[i] for i in places]
        series = pl.Series(texts, dtype=pl.String)
        if kind == pl.Boolean:
            return [None if i is None else field.categories[i] == "1" for i in places], kind
        return series.cast(kind).to_list(), kind
    if kind == pl.Boolean:
        return [None if i is None else bool(i) for i in places], kind
    if kind.is_integer() and pl.Series(places, dtype=kind, strict=False).null_count() > places.count(None):
        kind = pl.Int64
    return [i if kind.is_integer() or i is None else float(i) for i in places], kind


def widened(frame: pl.DataFrame, fields: Sequence[Field]) -> list[str]:
    """A note for each column that is of a wider type than the user's, since a draw is beyond that."""
    return [
        f"column {column.name!r} is {column.dtype}: a draw is beyond {field.dtype}"
        for column, field in zip(frame, fields, strict=bool(fields))
        if column.dtype.is_integer() and str(column.dtype) != field.dtype
    ]


def to_frame(table: Any) -> pl.DataFrame:
    """A polars or pandas table, or one that can be asked for its columns as pandas' is, as one of polars.

    Raises:
        InputError: where names occur twice, or a column mixes types.
    """
    import polars as pl

    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if hasattr(table, "to_pandas") and hasattr(table, "schema") and not isinstance(table, pl.DataFrame):
        table = pl.from_arrow(table)
    if isinstance(table, pl.DataFrame):
        return _plain(table)
    names = [str(name) for name in table.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        problem = f"the table has {names.count(twice[0])} columns named {twice[0]!r}"
        raise InputError("data", problem, "give each its own name")
    return pl.DataFrame([_series(name, table[key]) for name, key in zip(names, table.columns, strict=True)])


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    for column in frame:
        if column.dtype == pl.Object:
            _series(column.name, np.array(column.to_list(), dtype=object))
    return frame


def _series(name: str, column: Any) -> pl.Series:
    import polars as pl

    kind = str(getattr(column, "dtype", ""))
    if kind == "category" and column.cat.categories.dtype.kind not in "fiub":
        texts = [str(text) if isinstance(text, str) else None for text in column.tolist()]
        return pl.Series(name, texts, dtype=pl.Enum(list(map(str, column.cat.categories))))
    if kind in NULLABLE:  # as an array of numpy's they would be floats
        return pl.Series(
            name, [v if v == v else None for v in column.to_numpy(object, na_value=None)], getattr(pl, kind)
        )
    values = np.asarray(column, "datetime64[us]") if kind.startswith("datetime64") else np.asarray(column)
    if values.dtype.kind in "fiub":
        return pl.Series(name, values)
    if values.dtype.kind in "Mm":
        return pl.Series(name, values.astype("datetime64[us]" if values.dtype.kind == "M" else "timedelta64[us]"))
    # what pandas has for nothing cannot be asked whether it equals itself
    empty = ("NAType", "NaTType")
    cells = [None if v is None or type(v).__name__ in empty or v != v else v for v in values.tolist()]
    kinds = {bool if isinstance(v, bool) else float if isinstance(v, int | float) else type(v) for v in cells} - {
        type(None)
    }
    if len(kinds) > 1:
        examples = " and ".join(
            repr(next(v for v in cells if isinstance(v, int | float if kind is float else kind))) for kind in kinds
        )
        raise InputError(
            "data", f"column {name!r} mixes types, such as {examples}", "make them all numbers or all texts"
        )
    if kinds == {float} or kinds == {bool} or kinds <= {date, datetime}:
        return pl.Series(name, cells, strict=False)
    return pl.Series(name, [None if v is None else str(v) for v in cells], dtype=pl.String)


def table_names(reading: Any) -> list[str]:
    """What the raw columns are called."""
    return list(reading.columns or (f"x{i}" for i in range(reading.raw_shape[0])))


def as_column(name: str, values: Any) -> pl.Series:
    """Values (N,) as a column."""
    import polars as pl

    return pl.Series(name, values)


def fill(frame: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """A table whose missing cells are those of another; what is known stays to the last digit, columns that are of the first
    alone too. Columns that are of the other alone, and known there, are put behind."""
    import polars as pl

    columns = []
    for column in frame:
        if column.name in other.columns:
            given = column.fill_nan(None) if column.dtype.is_float() else column
            guess = other[column.name]
            guess = guess.cast(pl.String) if guess.dtype in (pl.Enum, pl.Categorical) else guess
            kind = pl.Float64 if guess.dtype.is_float() and given.dtype.is_integer() else given.dtype
            kind = other[column.name].dtype if given.dtype == pl.Null else kind
            if guess.cast(kind, strict=False).null_count() > guess.null_count():
                kind = guess.dtype  # a draw may be larger than any that was given, or a name that its type lacks
            column = given.cast(kind).fill_null(guess.cast(kind)).rename(column.name)
        columns.append(column)
    columns += [column for column in other if column.name not in frame.columns and column.null_count() < len(column)]
    return pl.DataFrame(columns)
