"""Numeric tables, from CSV and Parquet by way of polars. What is no number is refused, column by column."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from taut.data.source import MOST_BYTES, Source
from taut.data.spec import Data
from taut.errors import InputError, nearest

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SUFFIXES", "table_source"]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
MISSING = ["", "NA", "N/A", "na", "n/a", "null", "NULL", "None", "?"]


def table_source(path: Path, spec: Data, columns: tuple[str, ...] | None = None) -> Source:
    """A table as rows of numbers; ``columns`` are those that another table of the same kind had, in their order."""
    notes: list[str] = []
    frame = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path, notes)
    if not frame.height:
        raise InputError("data", f"{path} has no rows", "give one with some: one or more to measure, four to train on")
    labels: dict[str, np.ndarray] = {}
    if spec.labels is not None and (columns is None or spec.labels in frame.columns):
        if spec.labels not in frame.columns:
            known = nearest(spec.labels, frame.columns)
            raise InputError("data.labels", f"{path} has no column {spec.labels!r}", known)
        if missing := frame[spec.labels].null_count():
            problem = f"column {spec.labels!r} of {path} has {missing:,} missing cells"
            raise InputError("data.labels", problem, "fill them, or take out the rows")
        labels["all"] = frame[spec.labels].to_numpy()
        frame = frame.drop(spec.labels)
    if columns is not None:
        frame = _like(frame, columns, path)
    _check(frame, path)
    stem = Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    return Source(stem, "table", {"all": _numbers(frame)}, labels, tuple(frame.columns), notes=notes)


def _polars() -> ModuleType:
    try:
        import polars
    except ImportError:
        mend = "pip install 'taut[tables]'"
        raise InputError("data", "tables are read by polars, which is not installed", mend) from None
    return polars


def _parquet(path: Path) -> pl.DataFrame:
    pl = _polars()
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "save it again as Parquet") from None


def _csv(path: Path, notes: list[str]) -> pl.DataFrame:
    pl = _polars()
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError("data", f"{path} holds more than {MOST_BYTES:,} bytes", "save it as Parquet, or in parts")
        first = next(line for line in io.StringIO(content[:10_000_000].decode("utf-8-sig", "replace")) if line.strip())
        separator = max(",;\t", key=first.count)
        head = [name.strip() for name in next(csv.reader([first.strip("\r\n")], delimiter=separator))]
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise _unreadable(path, error, "save it again") from None
    except StopIteration:
        raise InputError("data", f"{path} is empty", "give a table with a line of names and rows of numbers") from None
    named = not all(map(_is_number, head)) or head == [str(i) for i in range(len(head))]
    if not named:
        notes.append("no line of names: columns are called column_1, column_2 ...")
    elif twice := [name for name, n in Counter(head).items() if n > 1]:
        problem = f"{path} has {head.count(twice[0])} columns named {twice[0]!r}"
        raise InputError("data", problem, "give each its own name")
    elif "" in head:
        problem = f"column {head.index('') + 1} of {path} has no name (a row number?)"
        raise InputError("data", problem, "take it out or name it")
    try:
        options = {"separator": separator, "has_header": named, "null_values": MISSING, "infer_schema_length": None}
        frame = pl.read_csv(io.BytesIO(content), **options)
        if not named:
            frame.columns = [f"column_{i + 1}" for i in range(frame.width)]
        return _strip(frame)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "give every line as many cells as the first, in UTF-8") from None


def _strip(frame: pl.DataFrame) -> pl.DataFrame:
    """Spaces around cells and names do not count: `` 3`` is a number, `` ?`` a missing cell."""
    pl = _polars()
    columns = []
    for column in frame.rename(lambda name: name.strip()):
        if column.dtype == pl.String:
            column = column.str.strip_chars()
            column = column.set(column.is_in(MISSING), None)
            for kind in (pl.Int64, pl.Float64):
                numbers = column.cast(kind, strict=False)
                if numbers.null_count() == column.null_count() < len(column):
                    column = numbers
                    break
        columns.append(column)
    return pl.DataFrame(columns)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _like(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> pl.DataFrame:
    if lacking := [c for c in columns if c not in frame.columns]:
        problem = f"{path} has no column {lacking[0]!r}, which the model needs"
        raise InputError("data", problem, nearest(lacking[0], frame.columns))
    if extra := [c for c in frame.columns if c not in columns]:
        raise InputError("data", f"{path} has a column {extra[0]!r}, which the model does not know", "take it out")
    return frame.select(columns)


def _check(frame: pl.DataFrame, path: Path) -> None:
    pl = _polars()
    if not frame.width:
        raise InputError("data", f"{path} has no columns of numbers", "give at least one")
    for column in frame:
        if column.null_count() == len(column):
            raise InputError("data", f"column {column.name!r} of {path} is empty", "take it out")
        if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            example = str(column.drop_nulls()[0])[:30]
            problem = f"column {column.name!r} of {path} is no numbers ({example!r}, type {column.dtype})"
            raise InputError("data", problem, "take it out, code it in numbers, or name it as data.labels")
    if gaps := {c.name: c.null_count() for c in frame if c.null_count()}:
        name, n = next(iter(gaps.items()))
        more = f", and {len(gaps) - 1} more column{'s'[: len(gaps) != 2]} too" if len(gaps) > 1 else ""
        problem = f"column {name!r} of {path} has {n:,} missing cell{'s'[: n != 1]}{more}"
        raise InputError("data", problem, "fill them, or take out the rows")


def _numbers(frame: pl.DataFrame) -> np.ndarray:
    """(rows, columns): integers if every column is, else floats."""
    pl = _polars()
    whole = all(c.dtype == pl.Boolean or (c.dtype.is_integer() and c.dtype != pl.UInt64) for c in frame)
    return np.column_stack([c.cast(pl.Int64 if whole else pl.Float64).to_numpy() for c in frame])


def _unreadable(path: Path, error: BaseException, mend: str) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    return InputError("data", f"{path} cannot be read as a table ({reason})", mend)
