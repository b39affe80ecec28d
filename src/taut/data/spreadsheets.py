"""Files of tables as they stand there: Parquet, and CSV in the encodings, separators and numbers of spreadsheets."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection
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


def read_table(path: Path, texts: Collection[str], notes: list[str]) -> pl.DataFrame:
    """The table in a file, as it stands there; columns that are ``texts`` are so even if they look like numbers, and what was
    decided goes to the notes."""
    return _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path, texts, notes)


def _parquet(path: Path) -> pl.DataFrame:
    pl = polars()
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "save it again as Parquet") from None


def _csv(path: Path, texts: Collection[str], notes: list[str]) -> pl.DataFrame:
    pl = polars()
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError("data", f"{path} holds more than {MOST_BYTES:,} bytes", "save it as Parquet, or in parts")
        content = _utf8(content, path, notes)
        first = next(line for line in io.StringIO(content[:10_000_000].decode("utf-8-sig", "replace")) if line.strip())
        separator = next((mark for mark in ";\t" if mark in first and all(map(_is_number, first.split(mark)))), "")
        separator = separator or max(",;\t", key=first.count)
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
    elif "" in head:
        problem = f"column {head.index('') + 1} of {path} has no name (a row number?)"
        raise InputError("data", problem, "take it out or name it")
    try:
        options = {"separator": separator, "has_header": named, "null_values": MISSING, "infer_schema_length": None}
        texts = set(texts)
        kept = (
            {cell: pl.String for cell in cells if cell.strip() in texts} if named else dict.fromkeys(texts, pl.String)
        )
        frame = pl.read_csv(io.BytesIO(content), schema_overrides=kept, **options)
        if not named:
            frame.columns = [f"column_{i + 1}" for i in range(frame.width)]
        return _commas(_strip(frame, texts), separator, texts, notes)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _unreadable(path, error, "give every line as many cells as the first, in UTF-8") from None


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


def _commas(frame: pl.DataFrame, separator: str, texts: Collection[str], notes: list[str]) -> pl.DataFrame:
    """Numbers with commas, ``3,14`` and ``1.234,5``, as such; where commas part the cells, too, ``1,234`` is a thousand.

    A column of few cells that are none, or of one word for all of these, stays one of texts, its numbers with points.
    """
    pl = polars()
    columns, commas_begin = [], False
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
    if commas_begin and (dotted := [c.name for c in frame if c.dtype.is_float()]):
        notes.append(f"column{'s'[: len(dotted) > 1]} {', '.join(map(repr, dotted[:5]))} of the same file have dots in their "
                     f"numbers: 1.234 is read as 1.234, not as 1234")  # fmt: skip
    return pl.DataFrame(columns)


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
