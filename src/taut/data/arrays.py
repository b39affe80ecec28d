"""Arrays from .npy and .npz files and from memory. Nothing is ever unpickled."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.data import tables
from taut.data.columns import Field, fields_of_array, to_frame
from taut.data.counts import annotated_source, dense, is_sparse, sparse_source
from taut.data.source import MOST_BYTES, Source, unpack
from taut.data.spec import Data
from taut.errors import InputError, nearest

if TYPE_CHECKING:
    from taut.data.reading import Reading

__all__ = ["array_source", "npy_source", "npz_source", "open_npy", "open_npz"]

USUAL = ("x", "images", "data", "train")  # what the one array of many is called, where no name is given; any case
LABELS = ("y", "labels", "label", "target", "targets")
MOST_CLASSES = 1000
# What numpy and zipfile raise on damaged files.
DAMAGE = (
    *(ValueError, TypeError, EOFError, OSError, SyntaxError, KeyError, AttributeError, NotImplementedError),
    *(RuntimeError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}


def array_source(x: Any, labels: Any, spec: Data, factors: Any = None, like: Reading | None = None) -> Source:
    """Arrays in memory: anything numpy understands, torch tensors too; and tables of polars or pandas."""
    if hasattr(x, "columns"):
        source = tables.frame_source(to_frame(x), spec, like)
    elif hasattr(x, "var_names"):
        source = annotated_source(x, spec, needed=like is None)
    elif hasattr(x, "tocsr"):
        source = Source("array", "array", {"all": dense(x, "the matrix")}, counts=True)
    else:
        source = Source("array", "array", {"all": _unpacked(_as_array(x, "data"), spec, "the array")})
        source.fields = by_columns(source.parts, spec)
    if labels is not None:
        source.labels["all"] = _as_array(labels, "labels")
    if factors is not None:
        source.factor_names = _columns(factors)
        source.factors["all"] = _as_array(factors, "factors")
    return source


def by_columns(parts: dict[str, np.ndarray], spec: Data) -> tuple[Field, ...] | None:
    """The fields of arrays (N, D), where each column is to be read by its own values."""
    if spec.support != "columns":
        return None
    for part, x in parts.items():
        if x.ndim != 2 or x.dtype.kind not in "fiub":
            raise InputError(
                "data.support", f"is columns, and the data are {x.dtype} of shape {x.shape}", "give rows (N, D)"
            )
        parts[part] = x.astype(np.float64)
    return fields_of_array(np.concatenate(list(parts.values())), spec.by_column)


def _columns(table: Any) -> tuple[str, ...] | None:
    return tuple(map(str, table.columns)) if hasattr(table, "columns") else None


def _as_array(x: Any, field: str) -> np.ndarray:
    try:
        x = x.detach().cpu() if hasattr(x, "detach") else x
        return native(np.asarray(x))
    except (ValueError, TypeError) as error:
        raise InputError(
            field, f"a {type(x).__name__} is no array ({error})", "give a numpy array or a tensor"
        ) from None


def npy_source(path: Path, spec: Data) -> Source:
    """One array in a file."""
    parts = {"all": _unpacked(open_npy(path), spec, str(path))}
    return Source(path.stem, "npy", parts, fields=by_columns(parts, spec))


def npz_source(path: Path, spec: Data, needed: bool = True) -> Source:
    """The array of a .npz that holds the data, or arrays that are its splits, with labels and factors where there are some.

    Labels and factors that the specification names must be there if they are ``needed``.
    """
    arrays = open_npz(path)
    notes: list[str] = []
    if is_sparse(arrays) and not spec.array:
        source = sparse_source(path, arrays)
        _put_beside(source, arrays | {"data": source.parts["all"]}, {"all": "data"}, spec, path, notes, needed)
        return source
    keys = {"all": _known(arrays, spec.array, "data.array", path)} if spec.array else _splits(arrays)
    if not keys:
        keys = {"all": _choose(arrays, spec, path, notes)}
    elif len(keys) > 1:
        notes.append("splits are the file's own: " + ", ".join(keys.values()))
    parts = {part: _unpacked(arrays[key], spec, f"{path}, array {key!r},") for part, key in keys.items()}
    source = Source(path.stem, "npz", parts, notes=notes, fields=by_columns(parts, spec))
    _put_beside(source, arrays, keys, spec, path, notes, needed)
    return source


def _put_beside(
    source: Source,
    arrays: dict[str, np.ndarray],
    keys: dict[str, str],
    spec: Data,
    path: Path,
    notes: list[str],
    needed: bool,
) -> None:
    """Labels, conditions and factors, which stand in arrays beside the data."""
    source.labels = _labels(arrays, keys, spec, path, notes, needed)
    for name in spec.condition:
        if name != "labels":
            for part, values in _beside(arrays, keys, name, "data.condition", path, needed).items():
                source.given.setdefault(part, {})[name] = values
    if spec.factors:
        source.factors = _beside(arrays, keys, spec.factors, "data.factors", path, needed)
        if (names := arrays.get(f"{spec.factors}_names")) is not None:
            source.factor_names = tuple(map(str, names.ravel()))


def open_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped and not read: large files cost no memory."""
    try:
        return native(np.lib.format.open_memmap(path, mode="r"))  # refuses objects, as all of this file does
    except PermissionError:
        raise
    except DAMAGE as error:
        raise _unreadable(path, error) from None


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name; those of objects are left out, unless there are no others."""
    arrays: dict[str, np.ndarray] = {}
    refused: InputError | None = None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if (size := sum(each.file_size for each in stored.zip.infolist())) > MOST_BYTES:
                raise InputError("data", f"{path} says that it holds {size:,} bytes unpacked, more than {MOST_BYTES:,}",
                                 "save its arrays as .npy files, which are never read whole")  # fmt: skip
            for name in stored.files:
                try:
                    arrays[name] = native(stored[name])
                except ValueError as error:
                    if "bject" not in str(error):
                        raise
                    refused = _unreadable(f"{path}, array {name!r},", error)
    except (PermissionError, InputError):
        raise
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    if refused and not arrays:
        raise refused
    if not arrays:
        raise InputError("data", f"{path} holds no array", "save one with np.savez_compressed")
    return arrays


def native(x: np.ndarray) -> np.ndarray:
    """The same numbers in this machine's byte order, which torch needs."""
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _unreadable(what: Path | str, error: Exception) -> InputError:
    if "bject" in str(error):
        return InputError("data", f"{what} holds Python objects, which are never unpickled", "save plain numbers")
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return InputError(
        "data", f"{what} is damaged or no array file ({reason})", "save it again with np.save or np.savez"
    )


def _unpacked(x: np.ndarray, spec: Data, name: str) -> np.ndarray:
    return unpack(x, spec.shape, name) if spec.packed and spec.shape else x


def _known(arrays: dict[str, np.ndarray], name: str, field: str, path: Path) -> str:
    if name not in arrays:
        raise InputError(field, f"{path} has no array {name!r}", nearest(name, arrays))
    return name


def _splits(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """The arrays that are splits of one set: ``train`` and ``test`` (and ``valid``), or ``x_train`` and so on."""
    for pattern in ("{}", "x_{}", "X_{}"):
        keys = {part: pattern.format(word) for word, part in SPLITS.items() if pattern.format(word) in arrays}
        if "train" in keys and len(keys) > 1:
            return {part: keys[part] for part in ("train", "valid", "test") if part in keys}
    return {}


def _choose(arrays: dict[str, np.ndarray], spec: Data, path: Path, notes: list[str]) -> str:
    """The only array that is no label, or the one with a usual name."""
    beside = (spec.labels, spec.factors, f"{spec.factors}_names", *spec.condition)
    data = [name for name in arrays if name not in beside and name.lower() not in LABELS] or list(arrays)
    usual = [name for word in USUAL for name in data if name.lower() == word]
    if len(data) == 1 or usual:
        name = data[0] if len(data) == 1 else usual[0]
        if len(arrays) > 1:
            notes.append(f"array {name!r} of {', '.join(arrays)}")
        return name
    found = ", ".join(f"{name} {arrays[name].shape}" for name in data[:12])
    raise InputError("data.array", f"{path} has {len(data)} arrays and none was chosen", f"name one: {found}")


def _labels(
    arrays: dict[str, np.ndarray], keys: dict[str, str], spec: Data, path: Path, notes: list[str], needed: bool
) -> dict[str, np.ndarray]:
    """The label arrays by split: the one named, or those with a usual name whose length fits."""
    if spec.labels:
        return _beside(arrays, keys, spec.labels, "data.labels", path, needed)
    chosen: dict[str, str] = {}
    for part, key in keys.items():
        names = [name for word in LABELS for name in _names(word, part, key)]
        for name, array in arrays.items():
            if name != key and name.lower() in names and _are_classes(array, arrays[key]):
                chosen.setdefault(part, name)
    if len(chosen) < len(keys):
        return {}
    notes.append("labels are " + ", ".join(chosen.values()))
    return {part: arrays[name] for part, name in chosen.items()}


def _beside(
    arrays: dict[str, np.ndarray], keys: dict[str, str], word: str, field: str, path: Path, needed: bool
) -> dict[str, np.ndarray]:
    """The arrays by split that a word names; none unless every split has one, which is refused if they are needed."""
    chosen = {}
    for part, key in keys.items():
        names = _names(word, part, key)
        found = next((name for name in names if name in arrays and name != key), None)
        if found is not None:
            chosen[part] = arrays[found]
        elif needed:
            raise InputError(field, f"{path} has no array {names[0]!r}", nearest(names[0], arrays))
    return chosen if len(chosen) == len(keys) else {}


def _names(word: str, part: str, key: str) -> list[str]:
    """What an array beside the data of a split may be called."""
    split = key.split("_")[-1]
    return [word] if part == "all" else [f"{word}_{split}", f"{split}_{word}"]


def _are_classes(labels: np.ndarray, x: np.ndarray) -> bool:
    """Whether an array may be taken for labels of x without being asked: one of few classes for each example."""
    if labels.shape != x.shape[:1] or (labels.dtype.kind == "f" and not (labels == np.floor(labels)).all()):
        return False
    return labels.dtype.kind in "fiubSU" and len(np.unique(labels)) <= MOST_CLASSES
