"""Files of tables as they stand there: Parquet, and CSV in the encodings, separators and numbers of spreadsheets."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from taut.data.source import MOST_BYTES
from taut.errors import InputError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["polars", "read_table"]

MISSING = ["", "NA", "N/A", "na", "n/a", "null", "NULL", "None", "?"]
COMMAS = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$"  # numbers as they are written where a comma begins the fraction
DOTTED = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"  # numbers that are thousands in one country and fractions in another
ZEROS = r"^0\d"  # a number that is written so is a name
LOOK = 1_000_000  # rows at which cells are looked at as they are written
THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})*(\.\d+)?$"  # and where it parts thousands


def polars() -> ModuleType:
    """The package, which is an extra.

    Raises:
        InputError: where it is missing.
    """
    try:
        import polars as pl
    except ImportError:
        mend = "pip install 'taut[tables]'"
        raise InputError("data", "tables are read by polars, which is not installed", mend) from None
    return pl


def read_table(
    path: Path, known: Mapping[str, bool], notes: list[str], commas: bool = False
) -> tuple[pl.DataFrame, bool]:
    """The table in a file, as it stands there, and whether commas begin its fractions; what was decided goes to the notes.

    Args:
        path: of the file.
        known: of some columns, whether they are texts even if they look like numbers, or numbers even if they look like names.
        notes: are added to.
        commas: whether commas begin fractions in tables of this kind, so that dots may part thousands.
    """
    return (_parquet(path), commas) if path.suffix.lower() == ".parquet" else _csv(path, known, notes, commas)


def _parquet(path: Path) -> pl.DataFrame:
    pl = polars()
    try:
        frame = pl.read_parquet(path, glob=False)
        index = [name for name in frame.columns if name.startswith("__index_level_")]  # pandas' row names
        return _without_row_numbers(frame, index[0], []) if len(index) == 1 else frame
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "save it again as Parquet") from None


def _csv(path: Path, known: Mapping[str, bool], notes: list[str], commas: bool) -> tuple[pl.DataFrame, bool]:
    pl = polars()
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError("data", f"{path} holds more than {MOST_BYTES:,} bytes", "save it as Parquet, or in parts")
        content = _utf8(content, path, notes).removeprefix(codecs.BOM_UTF8)
        said = re.match(rb"sep=(.)\r?\n", content)  # how some spreadsheets say what parts cells
        content = content[said.end() :] if said else content
        first = next(line for line in io.StringIO(content[:10_000_000].decode("utf-8-sig", "replace")) if line.strip())
        separator = next((mark for mark in ";\t" if mark in first and all(map(_is_number, first.split(mark)))), "")
        separator = said[1].decode() if said else separator or max(",;\t|", key=first.count)
        cells = next(csv.reader([first.strip("\r\n")], delimiter=separator))
        head = [name.strip() for name in cells]
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
    elif "" in head[1:]:
        problem = f"column {head.index('', 1) + 1} of {path} has no name"
        raise InputError("data", problem, "take it out or name it")
    try:
        options = {"separator": separator, "has_header": named, "null_values": MISSING, "infer_schema_length": None}
        written = pl.read_csv(
            io.BytesIO(content), n_rows=LOOK, infer_schema=False, **(options | {"infer_schema_length": 0})
        )
        names = dict(
            zip(written.columns, head if named else [f"column_{i + 1}" for i in range(len(head))], strict=False)
        )
        zeros = {n for c, n in names.items() if _are_names(written[c]) and n not in known}
        notes += [
            f"column {n!r} has numbers that begin with 0: they are names, and read as texts" for n in sorted(zeros)
        ]
        dotted = {n for c, n in names.items() if separator != "," and _are_dotted(written[c])}
        texts = {*zeros, *(name for name, text in known.items() if text)}
        kept = {c: pl.String for c, n in names.items() if n in texts | dotted}
        frame = pl.read_csv(io.BytesIO(content), schema_overrides=kept, **options)
        if not named:
            frame.columns = [f"column_{i + 1}" for i in range(frame.width)]
        elif not head[0]:
            frame = _without_row_numbers(frame, frame.columns[0], notes)
        return _commas(_strip(frame, texts | dotted), separator, texts, notes, commas)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "give every line as many cells as the first, in UTF-8") from None


def _without_row_numbers(frame: pl.DataFrame, name: str, notes: list[str]) -> pl.DataFrame:
    """A table without a column that has no name of its own, if that is another whole number in each row."""
    column = frame[name]
    if column.dtype.is_integer() and column.n_unique() == len(column):
        notes.append("a column without a name has another whole number in each row: row numbers, left out")
        return frame.drop(name)
    return frame.rename({name: "column_1"})


def _are_names(column: pl.Series) -> bool:
    """Whether cells as they are written (N,) are whole numbers of which some begin with 0."""
    seen = column.str.strip_chars().drop_nulls()
    return len(seen) > 0 and bool(seen.str.contains(r"^\d+$").all()) and bool(seen.str.contains(ZEROS).any())


def _are_dotted(column: pl.Series) -> bool:
    """Whether they are numbers, all of whose dots may part thousands."""
    seen = column.str.strip_chars().drop_nulls()
    dots = seen.filter(seen.str.contains(".", literal=True))
    return (
        len(dots) > 0 and bool(dots.str.contains(DOTTED).all()) and bool(seen.str.contains(r"^[+-]?\d+(\.\d+)*$").all())
    )


def _utf8(content: bytes, path: Path, notes: list[str]) -> bytes:
    """The same text in UTF-8: of UTF-16 with its mark, as spreadsheets write it, and of the usual 8-bit letters of Windows."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(content, "utf-16", path).encode()
    if b"\0" in content[:1000]:
        raise InputError("data", f"{path} is no text, or UTF-16 without its mark", "save it as UTF-8")
    try:
        content.decode("utf-8")
        return content
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        notes.append(f"{path.name} is not UTF-8 (line {line:,}): read as Windows-1252, the letters of Western Europe")
        return _decoded(content, "cp1252", path).encode()


def _decoded(content: bytes, encoding: str, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _unreadable(path, error, "save it as UTF-8") from None


def _commas(
    frame: pl.DataFrame, separator: str, texts: Collection[str], notes: list[str], commas_begin: bool
) -> tuple[pl.DataFrame, bool]:
    """Numbers with commas, ``3,14`` and ``1.234,5``, as such; where commas part the cells, too, ``1,234`` is a thousand.

    A column of few cells that are none, or of one word for all of these, stays one of texts, its numbers with points.
    """
    pl = polars()
    columns, read = [], {column.name for column in frame if column.dtype.is_float()}
    for column in frame:
        seen = column.drop_nulls() if column.dtype == pl.String and column.name not in texts else column.head(0)
        commas = seen.filter(seen.str.contains(",", literal=True)) if len(seen) else seen
        if len(commas):
            english = separator == "," and seen.str.contains(THOUSANDS).all()
            numbers = seen.str.contains(COMMAS)
            odd = seen.filter(~numbers)
            few = len(odd) <= 0.1 * len(seen) or (odd.n_unique() == 1 and 2 * len(odd) <= len(seen))
            if english or (few and (commas := commas.filter(commas.str.contains(COMMAS))).len()):
                ends, point = (",", ".") if english else (".", ",")
                plain = column.str.replace_all(ends, "", literal=True).str.replace(point, ".", literal=True)
                notes.append(f"column {column.name!r} has commas in its numbers: {commas[0]!r} is read as "
                             f"{plain.filter(column == commas[0])[0]}")  # fmt: skip
                column = plain.zip_with(column.str.contains(COMMAS).fill_null(True) | english, column)
                commas_begin |= not english
                for kind in (pl.Int64, pl.Float64):
                    if (cast := column.cast(kind, strict=False)).null_count() == column.null_count():
                        column = cast
                        break
        columns.append(column)
    columns = [_undotted(column, commas_begin, texts, notes) for column in columns]
    if commas_begin and (
        dotted := [column.name for column in columns if column.dtype.is_float() and column.name in read]
    ):
        named = f"column{'s' if len(dotted) > 1 else ''} {', '.join(map(repr, dotted[:5]))}"
        notes.append(f"{named} of the same file: with dots, so 1.234 is read as 1.234 and not as 1234")
    return pl.DataFrame(columns), commas_begin


def _undotted(column: pl.Series, commas_begin: bool, texts: Collection[str], notes: list[str]) -> pl.Series:
    """A column whose dots may part thousands: they do if fractions begin with commas in the same file, or
    in the one that a model learned from."""
    pl = polars()
    if column.dtype != pl.String or column.name in texts or not _are_dotted(column):
        return column
    example = column.filter(column.str.contains(".", literal=True).fill_null(False))[0]
    plain = column.str.replace_all(".", "", literal=True).cast(pl.Int64) if commas_begin else column.cast(pl.Float64)
    read = plain.filter(column == example)[0]
    more = "" if commas_begin else " (if its dots part thousands, take them out)"
    notes.append(f"column {column.name!r} has dots in its numbers: {example!r} is read as {read}{more}")
    return plain


def _strip(frame: pl.DataFrame, texts: Collection[str]) -> pl.DataFrame:
    """Spaces around cells and names do not count: `` 3`` is a number, `` ?`` a missing cell."""
    pl = polars()
    columns = []
    for column in frame.rename(lambda name: name.strip()):
        if column.dtype == pl.String:
            column = column.str.strip_chars()
            column = column.set(column.is_in(MISSING), None)
            for kind in () if column.name in texts else (pl.Int64, pl.Float64):
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
        return re.match(COMMAS, cell.strip().strip('"')) is not None
    return True


def _unreadable(path: Path, error: BaseException, mend: str) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    return InputError("data", f"{path} cannot be read as a table ({reason})", mend)
