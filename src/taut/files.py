"""Result files: arrays and tables in the form that the file's name asks for, never over another file unasked."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taut.errors import InputError
from taut.training.checkpoint import write_atomically

__all__ = [
    "ARRAYS",
    "PICTURES",
    "TABLES",
    "check_sounds",
    "check_target",
    "fresh",
    "write_annotated",
    "write_array",
    "write_sounds",
    "write_table",
]

ARRAYS = (".npy", ".npz", ".csv", ".parquet")
TABLES = (".csv", ".parquet")
PICTURES = (".png",)


def fresh(path: Path) -> Path:
    """The path, or the first of path-2, path-3, … that is free."""
    number, free = 2, path
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def check_target(path: str | Path, suffixes: Sequence[str] = (), force: bool = False) -> Path:
    """Refuse, before any work is done, a file that could not be written; without suffixes its name may end as it likes.

    Raises:
        InputError: for a suffix that does not fit, a missing folder, or a file that exists and is not to be overwritten.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError("-o", f"{path} ends in {path.suffix or 'nothing'}", f"end it in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError("-o", f"the folder {path.parent} does not exist", "make it first")
    if path.is_dir() or (path.exists() and not force):
        raise InputError("-o", f"{path} exists", "name another file, or say --force")
    return path


def check_sounds(path: Path, force: bool = False) -> Path:
    """The same of sounds: a .wav file for one, or a folder for any number, which is not there or empty.

    Raises:
        InputError: where it exists and is not to be overwritten.
    """
    if path.suffix:
        return check_target(path, (".wav",), force)
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not force)):
        raise InputError("-o", f"{path} exists", "name another folder, or say --force")
    return path


def write_sounds(path: Path, x: np.ndarray, rate: int, kind: str) -> None:
    """Write sounds as .wav: into a folder each under its number, or one under a name of its own.

    Args:
        path: the folder, made if need be, or a file that ends in .wav.
        x: (N, length) or (N, channels, length).
        rate: samples a second.
        kind: numpy's name for the type of a sample. Of a whole one's range, what lies beyond is at its end: it would be
            turned to the other end, which is heard as a click.

    Raises:
        InputError: where one file is named for several sounds.
    """
    from scipy.io import wavfile

    if path.suffix and len(x) != 1:
        mend = "say -n 1, or name a folder, without an ending"
        raise InputError("-o", f"{path} is one sound, and there are {len(x):,}", mend)
    if np.dtype(kind).kind in "iu":
        x = np.rint(x.astype(np.float64)).clip(np.iinfo(kind).min, np.iinfo(kind).max)
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
    for i, sound in enumerate(x.astype(kind)):
        buffer = io.BytesIO()
        wavfile.write(buffer, rate, sound.T)
        write_atomically(path if path.suffix else path / f"{i:0{len(str(len(x) - 1))}}.wav", buffer.getvalue())


def write_table(path: Path, frame: Any) -> None:
    """Write a table of polars as .csv or .parquet."""
    buffer = io.BytesIO()
    frame.write_csv(buffer) if path.suffix.lower() == ".csv" else frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def write_annotated(path: Path, table: Any) -> None:
    """Write an annotated matrix as .h5ad, whole or not at all."""
    aside = path.with_name(f".{path.stem}.part.h5ad")
    try:
        table.write_h5ad(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_array(
    path: Path,
    array: np.ndarray,
    columns: Sequence[str] | None = None,
    extra: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write (N, …) values: .npy and .npz keep the shape, .csv and .parquet have a row each.

    Args:
        path: where; its suffix says how.
        array: (N, *shape).
        columns: names for the flattened shape.
        extra: further columns, such as labels; .npz keeps them as arrays, .npy leaves them out.
    """
    suffix = path.suffix.lower()
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, array, allow_pickle=False)
    elif suffix == ".npz":
        np.savez_compressed(buffer, x=array, **{name: np.asarray(value) for name, value in (extra or {}).items()})
    else:
        try:
            import polars
        except ImportError:
            raise InputError("-o", f"{path} needs polars", "pip install 'taut[tables]', or end it in .npy") from None
        flat = array.reshape(len(array), -1)
        names = list(columns) if columns else [f"x{i}" for i in range(flat.shape[1])]
        frame = polars.DataFrame({**dict(zip(names, flat.T, strict=True)), **(extra or {})})
        frame.write_csv(buffer) if suffix == ".csv" else frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())
