"""A data set: found, understood, split, and said in one line."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taut.data import arrays, conditions, counts, hub, images, known, shards, sounds, tables
from taut.data.named import NAMES, open_named
from taut.data.reading import Reading, check_array, log_totals, times
from taut.data.source import Source
from taut.data.spec import Data
from taut.data.splits import carve
from taut.data.stored import Given, Stored
from taut.data.support import chunks
from taut.errors import InputError, nearest
from taut.machine import memory

__all__ = ["Dataset", "Split", "Statistics", "open_array", "open_data", "read_like"]

PARTS = ("train", "valid", "test")
WORDS = {"train": "training", "valid": "validation", "test": "test"}


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and what is known of them.

    Args:
        x: (N, *shape), uint8 or float32; of training examples that are not in memory, what reads them.
        labels: (N,), int64, −1 where unknown; or None.
        factors: (N, F), float32, what each example was made of; or None.
        condition: (N, C), float32, what each is conditioned on; or None.
        offset: (N, 1), float32, known log-scales; or None.
        impossible: (N, *raw shape), which cells the model holds impossible (:meth:`Reading.possible`); None where none are.
        notes: what was decided in reading them.
    """

    x: torch.Tensor | Stored
    labels: torch.Tensor | None = None
    factors: torch.Tensor | None = None
    condition: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    impossible: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: torch.Tensor | slice) -> Split:
        """The examples at an index (M,) of int64, or of a slice, with all that is known of them."""
        return Split(*(part if part is None else part[index] for part in self.parts))

    @property
    def parts(self) -> tuple[torch.Tensor | None, ...]:
        """All that has a row for each example."""
        return self.x, self.labels, self.factors, self.condition, self.offset, self.impossible


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation, each (*shape) float32, of a training split; the deviation is never 0.

    Args:
        mean, std: of the known values.
        logs: the same of log x where x is positive, (2, *shape).
        shares: of each column of categories the share of each, (levels,); None of other columns.
    """

    mean: torch.Tensor
    std: torch.Tensor
    logs: torch.Tensor | None = None
    shares: tuple[torch.Tensor | None, ...] | None = None

    def of(self, index: list[int]) -> Statistics:
        """Those of some columns."""
        shares = None if self.shares is None else tuple(self.shares[i] for i in index)
        logs = None if self.logs is None else self.logs[:, index]
        return Statistics(self.mean[index], self.std[index], logs, shares)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data in three splits, with how they were read and split.

    Args:
        reading: how raw arrays became x.
        train, valid, test: the splits.
        label_names: the names of labels 0, 1, 2 ...; None if there are no labels.
        hash: 16 hexadecimal digits of the sha256 of the raw arrays: their splits, types, shapes and bytes.
        record: how the splits were made, so that they can be made again; JSON can hold it.
        remarks: what was decided in reading the source.
        factor_names: the names of the splits' factors; None if there are no factors.
        sample: of training examples that are read in an order of their own.

    >>> data = open_data(Data("digits"))
    >>> print(f"{data.what()}; {data.splits()}")
    1,797 images 8×8, integers 0 to 16; 10% validation, 10% test, seed 0
    >>> data.train.x.shape, data.train.x.dtype, data.label_names[:3]
    (torch.Size([1437, 1, 8, 8]), torch.uint8, ('0', '1', '2'))
    """

    reading: Reading
    train: Split
    valid: Split
    test: Split
    label_names: tuple[str, ...] | None
    hash: str
    record: dict[str, Any]
    remarks: tuple[str, ...] = ()
    factor_names: tuple[str, ...] | None = None
    sample: Split | None = None

    @property
    def seen(self) -> Split:
        """Training examples that may be looked at in any order: all of them, or of a stream a sample."""
        return self.train if self.sample is None else self.sample

    def what(self) -> str:
        """What the data are: ``1,404 images 20×16, values {0, 1}``."""
        r, n = self.reading, sum(self.record["counts"].values())
        if r.layout == "image":
            c, h, w = r.shape
            thing = f"images {times((h, w, c) if c > 1 else (h, w))}"
        elif r.layout == "signal":
            thing = f"signals of {r.raw_shape[-1]:,}" + (
                f" in {r.raw_shape[0]} channels" if len(r.raw_shape) > 1 else ""
            )
        elif r.columns:
            thing = f"rows of {r.raw_shape[0]:,} column{'s'[: r.raw_shape[0] != 1]}"
        else:
            thing = f"vectors of {r.raw_shape[0]:,}"
        text = f"{n:,} {thing}, {r.support}"
        if r.binarize != "none":
            seed = f", seed {r.options['seed']}" if r.binarize == "static" else ""
            text += f" ({r.binarize} binarisation of {r.raw_support}{seed})"
        return text

    def splits(self) -> str:
        """How they are split: ``10% validation, 10% test, seed 0``."""
        own, carved = self.record["own"], self.record["carved"]
        counts = [f"{self.record['counts'][part]:,} {WORDS[part]}" for part in own if part != "train" or not carved]
        pieces = [f"own split: {' + '.join(counts)}"] if own else []
        rest = " of the rest" if own else ""
        pieces += [f"{share * 100:g}%{rest} {WORDS[part]}" for part, share in carved.items()]
        if carved:
            pieces.append(f"seed {self.record['seed']}")
        if self.record["limit"]:
            pieces.append(f"the first {self.record['limit']:,} training examples only")
        return ", ".join(pieces)

    def describe(self) -> str:
        """Both, in one line."""
        return f"{self.what()}; {self.splits()}"

    @property
    def missing(self) -> int:
        """How many cells are not known; only those of tables may be so."""
        if self.reading.fields is None:
            return 0
        return sum(int(split.x.isnan().sum()) for split in (self.train, self.valid, self.test))

    def notes(self) -> list[str]:
        """What else was decided, in sentences without a full stop."""
        notes = list(self.remarks)
        reading = self.reading
        if (
            reading.raw_support.discrete
            and reading.fields is None
            and reading.raw_support.kind != "binary"
            and reading.raw_dtype.startswith("float")
        ):
            notes.append(
                "whole numbers stored as floats are taken as whole numbers (say data.support real for a density)"
            )
        if missing := self.missing:
            cells = sum(self.record["counts"].values()) * reading.shape[0]
            notes.append(f"{missing:,} of {cells:,} cells are missing: they are left out of the likelihood")
        if reading.library is not None:
            notes.append(
                f"each row's total is a known scale ({np.exp(reading.library):,.0f} in the middle): log p(x) is given it"
            )
        if given := [f"{each.name} ({f'{len(each.categories)} kinds' if each.categories else 'a quantity'})"
                     for each in reading.conditions]:  # fmt: skip
            notes.append(f"conditioned on {', '.join(given)}: log p(x) is given {'it' if len(given) == 1 else 'them'}")
        columns = self.reading.columns
        if empty := [columns[i] if columns else str(i) for i, value in reading.dropped if value != value]:
            notes.append(f"left out, without a known cell or by its kind: {', '.join(empty)}")
        if dropped := [(i, value) for i, value in reading.dropped if value == value]:
            names = [columns[i] if columns else str(i) for i, _ in dropped]
            listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            notes.append(f"{len(names)} constant column{'s'[: len(names) != 1]} dropped: {listed} (put back on output)")
        return notes

    def statistics(self) -> Statistics:
        """Of the training split: per element for vectors; for images, one deviation about the mean image for all.

        With dynamic binarisation these are the moments of the binary x that will be drawn.
        """
        return self._statistics

    @cached_property
    def _statistics(self) -> Statistics:
        r, n = self.reading, len(self.seen)
        dynamic = r.binarize == "dynamic"
        x, scale = self.seen.x.numpy(), (r.grey if dynamic else 1)
        if r.fields is not None:
            return self._of_columns(x)
        mean = sum(part.sum(axis=0, dtype=np.float64) for _, part in chunks(x)) / scale / n
        variance = mean * (1 - mean) if dynamic else _squares(x, mean) / n
        if r.layout != "vector":
            variance = np.full_like(variance, variance.mean())
        logs = None
        if r.support.kind == "positive":
            middle = sum(np.log(p.astype(np.float64)).sum(0) for _, p in chunks(x)) / n
            spread = sum(np.square(np.log(p.astype(np.float64)) - middle).sum(0) for _, p in chunks(x)) / n
            logs = torch.stack((torch.from_numpy(middle).float(), _deviation(middle, spread)))
        return Statistics(torch.from_numpy(mean).float(), _deviation(mean, variance), logs)

    def _of_columns(self, x: np.ndarray) -> Statistics:
        x = x.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = torch.stack(_moments(np.where(x > 0, np.log(x), np.nan)))
        shares = [_shares(x[:, i], c.size) if c.kind == "categories" else None
                  for i, c in enumerate(self.reading.support.columns)]  # fmt: skip
        return Statistics(*_moments(x), logs, tuple(shares))


def _squares(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Σ (x − mean)² of each element."""
    total = np.zeros(mean.shape)
    for _, part in chunks(x):
        for _, some in chunks(part, 2**18):  # what lies in the cache is summed in a fraction of the time
            total += np.square(some - mean).sum(axis=0)
    return total


def _moments(x: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the known values of each column, 0 and 1 where none is known."""
    known = ~np.isnan(x)
    n = np.maximum(1, known.sum(0))
    mean = np.where(known, x, 0).sum(0) / n
    return torch.from_numpy(mean).float(), _deviation(mean, (np.where(known, x - mean, 0) ** 2).sum(0) / n)


def _deviation(mean: np.ndarray, variance: np.ndarray) -> torch.Tensor:
    std = np.sqrt(variance)
    # less is rounding: such an element is constant
    return torch.from_numpy(np.where(std > 1e-7 * np.abs(mean) + 1e-30, std, 1)).float()


def _shares(x: np.ndarray, levels: int) -> torch.Tensor:
    """The share of each category, none of them 0: what was never seen here may yet be."""
    counts = np.bincount(x[~np.isnan(x)].astype(np.int64), minlength=levels) + 0.5
    return torch.from_numpy(counts / counts.sum()).float()


def open_data(spec: Data) -> Dataset:
    """The data set that a configuration names, read and split; see ``Data``.

    Raises:
        InputError: where they are not to be found, or are not what is said of them.
    """
    return _dataset(_find(spec), spec)


def open_array(x: Any, labels: Any = None, spec: Data | None = None, factors: Any = None) -> Dataset:
    """The same for an array or tensor x in memory, (N, D), (N, H, W), (N, H, W, C) or (N, C, H, W), with labels (N,) and
    factors (N, F), whose columns give the names if they are a table's.

    >>> data = open_array(np.eye(12), labels=list("abcabcabcabc"))
    >>> data.what(), data.label_names
    ('12 vectors of 12, values {0, 1}', ('a', 'b', 'c'))
    """
    spec = spec or Data("array")
    return _dataset(arrays.array_source(x, labels, spec, factors), spec)


def read_like(reading: Reading, source: Any, root: str | None = None) -> Split:
    """Other data, read exactly as ``reading`` read its own: a whole file or array as one split.

    Any source with a test split of its own gives that; digits and shapes come whole. Labels that the first data did not
    have are −1; labels and factors are not needed, nor columns that were left out. Columns of other names are left aside, and
    cells that the model holds impossible are taken as missing: the notes say so.

    >>> data = open_data(Data("digits"))
    >>> other = read_like(data.reading, np.full((2, 8, 8), 3.0))
    >>> other.x.shape, other.x.dtype
    (torch.Size([2, 1, 8, 8]), torch.uint8)
    """
    options = {
        key: reading.options.get(key) for key in ("array", "labels", "factors", "condition", "shape", "packed", "seed")
    }
    if isinstance(source, str | Path):
        asked = Data(str(source), condition=tuple(options["condition"] or ()))
        kept = {key: value for key, value in options.items() if value and key not in _needless(asked)}
        found = _find(Data(str(source), root=root, **kept), reading)
    else:
        found = arrays.array_source(
            source,
            None,
            Data(
                "array", array=options["array"], labels=options["labels"], condition=tuple(options["condition"] or ())
            ),
            like=reading,
        )
    if found.counts and found.columns and reading.columns and found.columns != reading.columns:
        _arrange(reading, found)
    if reading.conditions and found.labels and "labels" in reading.options["condition"]:
        _condition(found, Data("array", condition=("labels",)))
    part = "test" if "test" in found.parts else "all" if "all" in found.parts else "train"
    raw, impossible, notes = reading.possible(found.parts[part])
    return Split(
        reading.apply(raw),
        known.labels_by(reading.options.get("label_names"), found, part),
        known.factors_by(reading.options.get("factor_names"), found, part),
        conditions.numbers_of(reading.conditions, found.given.get(part)),
        reading.offsets(raw),
        None if impossible is None else torch.from_numpy(impossible),
        notes=(*found.notes, *notes),
    )


def _arrange(reading: Reading, found: Source) -> None:
    """Bring the columns of a matrix of counts into a model's order, by their names; those it does not know are left aside,
    those that were constant need not be there."""
    there = {name: i for i, name in enumerate(found.columns or ())}
    constant = {reading.columns[i]: value for i, value in reading.dropped}
    if lacking := [name for name in reading.columns if name not in there and name not in constant]:
        more = f", and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        problem = f"{found.name} has no column {lacking[0]!r}{more}, which the model needs"
        raise InputError("data", problem, "give the same genes, in any order")
    if ignored := tables.ignored([name for name in there if name not in reading.columns]):
        found.notes.append(ignored)
    places = [there.get(name, -1) for name in reading.columns]
    for part, x in found.parts.items():
        found.parts[part] = x[:, places]
        for i, place in enumerate(places):
            if place < 0:
                found.parts[part][:, i] = constant[reading.columns[i]]
    found.columns = reading.columns


def _find(spec: Data, like: Reading | None = None) -> Source:
    """The source that a name or a path leads to."""
    name = spec.source
    for option in _needless(spec):
        if getattr(spec, option):
            problem = f"{getattr(spec, option)!r} has no meaning for {name}"
            raise InputError(f"data.{option}", problem, "leave it out")
    if name in NAMES:
        return open_named(spec)
    if name.startswith(hub.PREFIX):
        return hub.hub_source(spec, whole=like is not None)
    path = Path(os.path.expanduser(name))
    kind = path.name.lower()
    if kind.endswith(".tar") and ("{" in name or path.is_file()):
        return shards.shards_source(name, spec, whole=like is not None)
    if not name or not os.path.exists(path):  # which answers for names that no file can have, too
        shown = f"{name[:80]!r}" + "…" * (len(name) > 80)
        raise InputError("data", f"{shown} is no file or folder and no known set", nearest(name[:80], NAMES))
    try:
        if path.is_dir() and sounds.has_sounds(path):
            return sounds.folder_of_sounds(path, spec.shape[-1] if spec.shape else like.shape[-1] if like else None)
        if path.is_dir() and shards.has_shards(path):
            return shards.shards_source(name, spec, whole=like is not None)
        if path.is_dir():
            return images.folder_source(path, colour=like is not None and like.layout == "image" and like.shape[0] == 3)
        if not path.stat().st_size:
            raise InputError("data", f"{path} is an empty file", "give a file with data in it")
        if kind.endswith(".h5ad"):
            return counts.h5ad_source(path, spec, needed=like is None)
        if kind.endswith(".npy"):
            return arrays.npy_source(path, spec)
        if kind.endswith(".npz"):
            return arrays.npz_source(path, spec, needed=like is None)
        if kind.endswith(tables.SUFFIXES):
            return tables.table_source(path, spec, like)
    except PermissionError:
        raise InputError("data", f"{path} may not be read", "change its permissions") from None
    if kind.endswith(images.SUFFIXES):
        raise InputError("data", f"{path} is a single image", "give the folder that it is in")
    mend = "give .npy, .npz, .csv, .csv.gz, .parquet, .h5ad or .tar, or a folder of images, sounds or shards"
    raise InputError("data", f"{path} is of no kind that is read here", mend)


def _needless(spec: Data) -> tuple[str, ...]:
    """The options that have no meaning for such a source."""
    kind = spec.source.lower()
    if kind.endswith(".npz"):
        return ()
    if kind.startswith(hub.PREFIX):
        return ("factors", "packed")
    if kind.endswith(tables.SUFFIXES):
        return ("array", "factors", "packed")
    if kind.endswith(".h5ad"):
        return ("factors", "packed")
    if spec.condition == ("labels",):
        return ("array", "labels", "factors", *(() if kind.endswith(".npy") else ("packed",)))
    return ("array", "labels", "factors", "condition", *(() if kind.endswith(".npy") else ("packed",)))


def _dataset(source: Source, spec: Data) -> Dataset:
    kept = {name: getattr(spec, name) for name in ("array", "labels", "factors", "packed")}
    kept |= {"shape": spec.shape and list(spec.shape), "condition": list(spec.condition)}
    names, codes = known.labels_of(source)
    factor_names, factors = known.factors_of(source)
    for part in source.parts.values():
        check_array(part, "data")
    _condition(source, spec)
    index, carved = _split(source, spec)
    said = {
        "name": source.name,
        "origin": source.origin,
        "columns": source.columns,
        "options": {
            **kept,
            "seed": spec.seed,
            "order": None if source.order is None else list(source.order),
            "label_names": list(names) if names else None,
            "factor_names": list(factor_names) if factor_names else None,
            **({"rate": source.rate} if source.rate else {}),
            **({"commas": True} if source.commas else {}),
        },
    }
    arrays_of = list(source.parts.values())
    if source.fields is not None:
        reading = Reading.of_table(arrays_of, fields=source.fields, **said)
    else:
        reading = Reading.of(arrays_of, shape=spec.shape, support=_support(source, spec), binarize=spec.binarize,
                             signal=spec.layout == "signal" or source.origin == "sounds", **said)  # fmt: skip
    reading = replace(reading, conditions=conditions.conditions_of(source, spec.by_column))
    if spec.offset == "library" or (spec.offset == "auto" and source.counts and reading.support.kind == "counts"):
        if reading.support.kind != "counts":
            raise InputError(
                "data.offset", f"is library, and the data are {reading.support}", "say data.support counts"
            )
        if source.stream is not None:
            raise InputError(
                "data.offset", "is library, and totals of what is streamed are not kept", "say data.offset none"
            )
        logs = np.concatenate([log_totals(part) for part in arrays_of])
        reading = replace(reading, library=float(logs.mean()))
    given = {part: conditions.numbers_of(reading.conditions, found) for part, found in source.given.items()}
    splits, sample = {}, None
    on_disk = _on_disk(source, spec, reading, index["train"])
    for part in PARTS:
        home, rows = index[part]
        raw, offsets = source.parts[home], reading.offsets(source.parts[home])
        labels, factor, condition, offset = (
            some if some is None or rows is None else some[rows]
            for some in (codes.get(home), factors.get(home), given.get(home), offsets)
        )
        if part == "train" and source.stream is not None:
            few = raw if rows is None else raw[rows]
            sample = Split(reading.apply(few), labels, factor, condition)
            x, labels, condition = _stream(source, spec, reading, names)
        elif part == "train" and on_disk:
            x = Stored(raw, reading, rows)
        else:
            _require_room(part, len(raw) if rows is None else len(rows), reading)
            x = reading.apply(raw if rows is None else raw[rows])
        splits[part] = Split(x, labels, factor, condition, offset)
    digest = _hash(source.parts, source.stream)
    record = {
        "hash": digest,
        "own": [part for part in PARTS if part in source.parts],
        "carved": carved,
        "seed": spec.seed,
        "limit": spec.limit,
        "counts": {part: len(split) for part, split in splits.items()},
        "method": "numpy RandomState(seed).permutation, cut in the order test, valid, train",
    }
    remarks = list(source.notes)
    if spec.binarize != "none" and reading.binarize == "none":
        remarks.append(f"the data are binary as they are: binarize {spec.binarize} changes nothing")
    return Dataset(reading, **splits, label_names=names, hash=digest, record=record, remarks=tuple(remarks),
                   factor_names=factor_names, sample=sample)  # fmt: skip


def _on_disk(source: Source, spec: Data, reading: Reading, train: tuple[str, np.ndarray | None]) -> bool:
    """Whether the training examples stay on the disk."""
    raw, rows = source.parts[train[0]], train[1]
    if source.stream is not None:
        return True
    able = isinstance(raw, np.memmap) and reading.fields is None
    if spec.keep == "disk" and not able:
        raise InputError("data.keep", f"is disk, and {source.name} is read whole", "save one array of numbers with np.save, "
                         "or leave it auto")  # fmt: skip
    size = _bytes(len(raw) if rows is None else len(rows), reading)
    if not (spec.keep == "disk" or (spec.keep == "auto" and able and size > memory() / 4)):
        return False
    source.notes.append(
        f"{size / 1e9:,.3g} GB of training examples stay on the disk and are read batch by batch (data.keep)"
    )
    return True


def _require_room(part: str, n: int, reading: Reading) -> None:
    if (size := _bytes(n, reading)) > memory() / 2:
        problem = (
            f"gives {n:,} {WORDS[part]} examples, which are kept in memory: {size / 1e9:,.3g} GB, more than half of it"
        )
        mend = "say data.keep disk" if part == "train" else f"give a smaller share, such as {1e4 / n:.1g}"
        raise InputError("data.keep" if part == "train" else f"data.{part}", problem, mend)


def _bytes(n: int, reading: Reading) -> int:
    """What so many examples fill."""
    return n * math.prod(reading.shape) * reading.dtype.itemsize


def _support(source: Source, spec: Data) -> str:
    """What is asked for, and of a matrix of counts that they are counts, however small."""
    if not source.counts or spec.support != "auto":
        return spec.support
    for x in source.parts.values():
        if x.dtype.kind == "f" and not (whole := (x == np.floor(x)) | ~np.isfinite(x)).all():
            problem = f"{source.name} is no matrix of counts: {int((~whole).sum()):,} values are not whole, as {x[~whole][0]:g}"
            raise InputError("data", problem, "name the layer of raw counts by data.array, or say data.support real")
        if (low := np.min(x, where=np.isfinite(x), initial=0)) < 0:
            raise InputError(
                "data", f"{source.name} is no matrix of counts: {low:g} is below 0", "say data.support real"
            )
    return "counts"


def _condition(source: Source, spec: Data) -> None:
    """Labels that the model is conditioned on are given as other conditions are."""
    lacking = [name for name in spec.condition if name not in next(iter(source.given.values()), {})]
    for name in lacking:
        if name != "labels" or not source.labels:
            what = "labels" if name == "labels" else f"{name!r}"
            raise InputError(
                "data.condition", f"{source.name} has no {what} to be conditioned on", "name what there is"
            )
        for part in source.parts:
            source.given.setdefault(part, {})["labels"] = np.array(known._texts(source.labels[part], source.names))


def _split(source: Source, spec: Data) -> tuple[dict[str, tuple[str, np.ndarray | None]], dict[str, float]]:
    """For each split, the part it comes from and the rows (None: all of them); and the shares that were carved."""
    home = "all" if "all" in source.parts else "train"
    missing = [part for part in ("test", "valid") if part not in source.parts]
    carved = {part: getattr(spec, part) for part in missing}
    index: dict[str, tuple[str, np.ndarray | None]] = {part: (part, None) for part in source.parts if part != "all"}
    rows = carve(len(source.parts[home]), carved, spec.seed) if carved else {"train": None}
    index |= {part: (home, some) for part, some in rows.items()}
    if spec.limit:
        some = index["train"][1]
        index["train"] = (home, (np.arange(len(source.parts[home])) if some is None else some)[: spec.limit])
    return index, {part: carved[part] for part in ("valid", "test") if part in carved}


def _stream(source: Source, spec: Data, reading: Reading, names: tuple[str, ...] | None) -> tuple[Any, Any, Any]:
    """x, labels and conditions of training examples that are streamed."""
    stream, told = source.stream, bool(reading.conditions)
    labels = None if names is None else shards.Labels(stream, names)
    if spec.keep == "memory":
        _require_room("train", len(stream), reading)
        every = np.arange(len(stream))
        given = stream.known(every, [condition.name for condition in reading.conditions]) if told else None
        return reading.apply(stream[every]), labels and labels[:], conditions.numbers_of(reading.conditions, given)
    x = Stored(stream, reading, order=partial(stream.order, spec.buffer), checked=False, told=told)
    return x, labels, Given(x) if told else None


def _hash(parts: dict[str, np.ndarray], stream: Any = None) -> str:
    digest = hashlib.sha256()
    for mark in () if stream is None else stream.marks():
        digest.update(mark.encode())
    for name, part in parts.items():
        digest.update(f"{name} {part.dtype.str} {part.shape}".encode())
        for _, chunk in chunks(part):
            digest.update(np.ascontiguousarray(chunk).data)
    return digest.hexdigest()[:16]
