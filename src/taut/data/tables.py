"""Tables, from CSV and Parquet by way of polars, and such frames in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taut.data.columns import codes, fields_of, named_rows, to_frame, unfilled
from taut.data.source import Source
from taut.data.spec import Data
from taut.data.spreadsheets import polars, read_table
from taut.errors import InputError, nearest

if TYPE_CHECKING:
    import polars as pl

    from taut.data.reading import Reading

__all__ = ["SUFFIXES", "frame_source", "given_frame", "ignored", "table_source"]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
MANY = 32  # columns from which a table of numbers of one kind is read as examples of one kind of element, as pixels are


def table_source(path: Path, spec: Data, like: Reading | None = None) -> Source:
    """A table in a file; ``like`` says how another table of the same kind was read."""
    notes: list[str] = []
    frame, commas = read_table(path, _known(spec, like), notes, _commas(like))
    stem = Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    source = frame_source(to_frame(frame), spec, like, stem, "table", str(path), notes)
    source.commas = commas
    return source


def _commas(like: Reading | None) -> bool:
    return bool(like is not None and like.options.get("commas"))


def given_frame(source: str, like: Reading) -> pl.DataFrame | None:
    """The table of a source that is one in a file; words that say that a cell is missing are taken out."""
    path = Path(source).expanduser()
    if not path.name.lower().endswith(SUFFIXES):
        return None
    frame = to_frame(read_table(path, _known(Data(source), like), [], _commas(like))[0])
    known = [pair for pair in zip(like.columns or (), like.fields or (), strict=False) if pair[0] in frame.columns]
    return frame.with_columns(unfilled(frame[name], field) for name, field in known)


def _known(spec: Data, like: Reading | None) -> dict[str, bool]:
    """Of which columns it is known whether they are names, which are read as texts, so that 01234 is not 1234, or numbers."""
    if like is None:
        return {name: kind == "categories" for name, kind in spec.by_column.items() if kind != "none"}
    named = zip(like.columns or (), like.fields or (), strict=False)
    return {
        name: field.kind == "categories" and field.dtype == "String" for name, field in named if field.kind != "none"
    }


def frame_source(
    frame: pl.DataFrame,
    spec: Data,
    like: Reading | None = None,
    name: str = "table",
    origin: str = "array",
    where: str = "the table",
    notes: list[str] | None = None,
) -> Source:
    """A table as rows of numbers: as they are where all columns are of one kind, else each by its own
    (:mod:`taut.data.columns`)."""
    notes = [] if notes is None else notes
    if not frame.height:
        raise InputError("data", f"{where} has no rows", "give one with some: one or more to measure, four to train on")
    labels: dict[str, np.ndarray] = {}
    order = tuple(frame.columns)
    known = like.columns if like else None
    if spec.labels is not None and (known is None or spec.labels in frame.columns):
        labels["all"] = _taken(frame, spec.labels, "data.labels", where, needed=like is None)
        frame = frame.drop(spec.labels)
    given = {name: _taken(frame, name, "data.condition", where) for name in _conditions(spec, frame, like)}
    frame = frame.drop(given)
    if known is not None:
        frame = _like(frame, like, where, notes)
    fields = like.fields if like else None
    if not frame.width:
        raise InputError("data", f"{where} has no columns of numbers", "give at least one")
    kinds = {column: kind for column, kind in spec.by_column.items() if column not in given}
    if lacking := [column for column in kinds if column not in frame.columns]:
        raise InputError("data.kinds", f"{where} has no column {lacking[0]!r}", nearest(lacking[0], frame.columns))
    mixed = spec.support == "columns" or kinds or (spec.support == "auto" and not spec.shape and not _alike(frame))
    if fields is None and like is None and mixed:
        fields = fields_of(frame, kinds, notes)
    if fields is not None:
        x = codes(frame, fields, notes)
        if like is None:
            x, labels, given = _known_rows(x, labels, given, notes)
        elif count := int(np.isnan(x).all(1).sum()):
            notes.append(f"{count:,} row{'s'[: count != 1]} without a known cell: of these only the prior speaks")
        return Source(name, origin, {"all": x}, labels, tuple(frame.columns), order, notes=notes, fields=fields,
                      given={"all": given} if given else {})  # fmt: skip
    _check(frame, where)
    x = _numbers(frame)
    if like is None:
        notes += [
            note for column, values in zip(frame.columns, x.T, strict=True) for note in named_rows(column, values)
        ]
    return Source(name, origin, {"all": x}, labels, tuple(frame.columns), order, notes=notes,
                  given={"all": given} if given else {})  # fmt: skip


def _taken(frame: pl.DataFrame, column: str, field: str, where: str, needed: bool = True) -> np.ndarray:
    """A column that is no part of x; the empty text where a cell is missing that is not ``needed``."""
    if column not in frame.columns:
        raise InputError(field, f"{where} has no column {column!r}", nearest(column, frame.columns))
    missing = frame[column].null_count()
    if missing and not needed:
        values = (int(v) if isinstance(v, float) and v.is_integer() else v for v in frame[column].to_list())
        return np.array(["" if v is None else str(v) for v in values], dtype=object)
    if missing:
        problem = f"column {column!r} of {where} has {missing:,} missing cell{'s'[: missing != 1]}"
        raise InputError(field, problem, "fill them, or take out the rows")
    return frame[column].to_numpy()


def _conditions(spec: Data, frame: pl.DataFrame, like: Reading | None) -> list[str]:
    """The columns that are conditions; of a table to be read like another, those that it has."""
    names = [name for name in spec.condition if name != "labels"]
    return names if like is None else [name for name in names if name in frame.columns]


def _known_rows(
    x: np.ndarray, labels: dict[str, np.ndarray], given: dict[str, np.ndarray], notes: list[str]
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Without the rows of which no cell is known: there is nothing to learn from them."""
    known = ~np.isnan(x).all(1)
    if known.all():
        return x, labels, given
    if not known.any():
        raise InputError("data", "no cell of the table is known", "give one with some that are")
    count = int((~known).sum())
    notes.append(f"{count:,} row{'s'[: count != 1]} without a known cell {'are' if count > 1 else 'is'} left out")
    kept = ({name: values[known] for name, values in each.items()} for each in (labels, given))
    return x[known], *kept


def _alike(frame: pl.DataFrame) -> bool:
    """Whether there are many columns, all numbers of one kind, none of them missing, so that one likelihood serves them all,
    as it does pixels."""
    pl = polars()
    if frame.width < MANY:
        return False
    if not all(column.dtype.is_numeric() or column.dtype == pl.Boolean for column in frame):
        return False
    if any(c.null_count() or (c.dtype.is_float() and c.is_nan().any()) for c in frame):
        return False
    whole = [not c.dtype.is_float() or bool((c == c.floor()).all()) for c in frame]
    if not any(whole):
        return True
    low = min(float(c.cast(pl.Float64).min()) for c in frame)
    high = max(float(c.cast(pl.Float64).max()) for c in frame)
    return all(whole) and low >= 0 and (high <= 255 or low == 0)


def _like(frame: pl.DataFrame, like: Reading, path: str, notes: list[str]) -> pl.DataFrame:
    """The columns of a model, in its order: others are left aside, and those that were left out in training may be absent."""
    pl = polars()
    left_out = {like.columns[i]: None if like.fields else value for i, value in like.dropped}
    if lacking := [c for c in like.columns if c not in frame.columns and c not in left_out]:
        problem = f"{path} has no column {lacking[0]!r}, which the model needs"
        raise InputError("data", problem, nearest(lacking[0], frame.columns))
    if note := ignored([c for c in frame.columns if c not in like.columns]):
        notes.append(note)
    absent = [pl.lit(value).alias(c) for c, value in left_out.items() if c not in frame.columns]
    return frame.with_columns(absent).select(like.columns)


def ignored(names: list[str]) -> str | None:
    """A note of columns that the model does not know; none of none."""
    if not names:
        return None
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    verb = "are" if len(names) > 1 else "is"
    shown = ", ".join(map(repr, names[:5])) + more
    return f"column{'s'[: len(names) > 1]} {shown} {verb} unknown to the model, and ignored"


def _check(frame: pl.DataFrame, path: str) -> None:
    pl = polars()
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
    pl = polars()
    whole = all(c.dtype == pl.Boolean or (c.dtype.is_integer() and c.dtype != pl.UInt64) for c in frame)
    return np.column_stack([c.cast(pl.Int64 if whole else pl.Float64).to_numpy() for c in frame])
