"""WebDataset shards: tar files of images or arrays, read where they lie, in an order that a seed decides and nothing else.

A shard's examples are its members of one name before the first dot: ``000017.png``, ``000017.cls``. Of each shard the places of
its members are read once, from their heads; an example is then read from its place alone. So there is nothing to be resumed:
which examples come next is a function of the seed, the pass, and the place in it.

In a pass the shards stand in a row in random order, the row is cut into as many equal stretches as there are processes, and
within its stretch each example moves by at most ``buffer`` places: so a disk is read nearly in one direction, each process
reads shards of its own, and no example is read twice.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taut.data import images
from taut.data.arrays import DAMAGE, native
from taut.data.reading import times
from taut.data.source import Source
from taut.data.spec import Data
from taut.errors import InputError

__all__ = ["Shards", "has_shards", "shard_paths", "shards_source"]

SIZES = "sizes.json"  # WebDataset's own: how many examples each shard of a folder has
CODES = (".cls", ".txt", ".json")  # what a label stands in; of JSON it is "label" or "cls"
SAMPLE = 4096  # training examples by which values, mean and deviation are judged
HELD = 10_000  # examples of held-out shards that are kept, at most
OPEN = 64  # shards whose heads are kept in memory

Member = tuple[int, int]  # where it begins, and how many bytes it has
Kind = tuple[str, str, tuple[tuple[int, ...], np.dtype] | None]


def has_shards(folder: Path) -> bool:
    """Whether a folder holds tar files."""
    return any(path.suffix.lower() == ".tar" for path in folder.iterdir())


def shard_paths(source: str) -> list[Path]:
    """The shards that a source names, by their names in order: a folder, one file, or many in braces, ``x-{000..127}.tar``,
    ``{a,b}.tar``."""
    pieces = []
    for text, inside in re.findall(r"([^{}]*)(?:\{([^{}]*)\})?", os.path.expanduser(source)):
        pieces.append([text])
        if ends := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
            low, high = map(int, ends.groups())
            pieces.append([f"{i:0{len(ends[1])}d}" for i in range(low, high + 1)])
        elif inside:
            pieces.append(inside.split(","))
    paths = [Path("".join(each)) for each in itertools.product(*pieces)]
    if len(paths) == 1 and paths[0].is_dir():
        return sorted(path for path in paths[0].iterdir() if path.suffix.lower() == ".tar")
    if missing := next((path for path in paths if not path.is_file()), None):
        raise InputError(
            "data", f"{missing} is missing", f"{source} names {len(paths):,} shards; name those that there are"
        )
    return sorted(paths)


class Shards:
    """Examples in shards, as :class:`taut.data.stored.Rows`.

    Args:
        paths: of the shards.
        sizes: how many examples each has, where that is known; counted if left open.
        like: in which member an example stands, the mode of images, shape and type: such as :meth:`look` finds.
    """

    paths: list[Path]
    members: Callable[[int], list[tuple[str, dict[str, Member]]]]
    sizes: list[int]
    kind: str
    mode: str
    like: Any
    counts: list[int]
    starts: np.ndarray

    def __init__(self, paths: list[Path], sizes: list[int] | None = None, like: Kind = ("", "", None)) -> None:
        self.paths = paths
        self.members = functools.lru_cache(OPEN)(self._members)
        self.sizes = [len(self.members(i)) for i in range(len(paths))] if sizes is None else sizes
        self.kind, self.mode, self.like = like
        self._count(self.sizes)

    def _count(self, counts: list[int]) -> None:
        self.counts, self.starts = counts, np.concatenate([[0], np.cumsum(counts)])

    def limit(self, n: int) -> None:
        """Be the first n examples alone."""
        left = (n - self.starts[:-1]).clip(0)
        some = [int(count) for count in np.minimum(self.counts, left) if count]
        self.paths = self.paths[: len(some)]
        self._count(some)

    def _members(self, i: int) -> list[tuple[str, dict[str, Member]]]:
        """The examples of a shard: of each its name, and the places of its members by their suffixes."""
        path, found = self.paths[i], []
        try:
            with tarfile.open(path, "r:") as tar:
                for each in tar:
                    folder, _, name = each.name.rpartition("/")
                    if not each.isfile() or name.startswith("."):
                        continue
                    key, dot, suffix = name.partition(".")
                    key = f"{folder}/{key}"
                    if not found or found[-1][0] != key:
                        found.append((key, {}))
                    found[-1][1][f"{dot}{suffix}".lower()] = each.offset_data, each.size
                if found:  # one that was cut between two members looks whole but for the zeros that end it
                    tar.fileobj.seek(-(-(each.offset_data + each.size) // 512) * 512)
                    if tar.fileobj.read(512) != bytes(512):
                        raise tarfile.ReadError("its end is missing")
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            text = f"{path} is no whole tar file ({str(error) or type(error).__name__})"
            raise InputError("data", text, "fetch it again; packed ones must be unpacked to .tar") from None
        if not found:
            raise InputError("data", f"{path} holds no example", "remove it, or fetch it again")
        if hasattr(self, "sizes") and self.sizes[i] != len(found):
            raise InputError("data", f"{path} holds {len(found):,} examples where {SIZES} says {self.sizes[i]:,}",
                             f"fetch it again, or remove {SIZES}")  # fmt: skip
        return found

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _each(self, index: np.ndarray) -> Iterator[tuple[Path, str, dict[str, Member], io.BufferedReader]]:
        shards = np.searchsorted(self.starts, index, side="right") - 1
        for shard, places in itertools.groupby(zip(shards.tolist(), index.tolist(), strict=True), lambda pair: pair[0]):
            members = self.members(shard)
            with open(self.paths[shard], "rb") as file:
                for _, place in places:
                    yield self.paths[shard], *members[place - int(self.starts[shard])], file

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The examples at a rising index (M,), (M, *raw shape)."""
        found = []
        for path, key, members, file in self._each(np.asarray(index)):
            if self.kind not in members:
                raise InputError(
                    "data", f"{path} has no {key.lstrip('/')}{self.kind}", "remove what else is of that name"
                )
            name = f"{path}, {key.lstrip('/')}{self.kind}"
            found.append(self._decoded(_read(file, members[self.kind]), name))
            like = self.like or (found[0].shape, found[0].dtype)
            if (found[-1].shape, found[-1].dtype) != like:
                one, other = (f"{times(shape)} of {kind}" for shape, kind in ((found[-1].shape, found[-1].dtype), like))
                raise InputError("data", f"{name}, is {one} where others are {other}", "make all of one kind")
        return np.stack(found)

    def _decoded(self, content: bytes, name: str) -> np.ndarray:
        if self.kind == ".npy":
            try:
                return native(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
            except DAMAGE as error:
                raise InputError(
                    "data", f"{name} is damaged ({str(error).splitlines()[0][:100]})", "fetch it again"
                ) from None
        if self.mode != "RGB" and images.KEPT.get(images.head(io.BytesIO(content), name)[1], "RGB") != self.mode:
            raise InputError("data", f"{name}, is no image of mode {self.mode}, as others are", "make all of one kind")
        return images.pixels(io.BytesIO(content), self.mode, name)

    def labels_of(self, index: np.ndarray) -> list[str] | None:
        """What the examples at an index are called; none where some have no label."""
        found = [_label(members, file) for _, _, members, file in self._each(index)]
        return None if None in found else found

    def known(self, index: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Their labels, which are all that is known of them."""
        labels = self.labels_of(index)
        if labels is None:
            raise InputError("data.condition", "is labels, and some examples of the shards have none",
                             f"give each a {', '.join(CODES)}")  # fmt: skip
        return {name: np.array(labels) for name in names}

    def marks(self) -> Iterator[str]:
        """Names and sizes of the files."""
        for path in self.paths:
            yield f"{path.name} {path.stat().st_size} "

    def look(self, index: np.ndarray) -> Kind:
        """Settle by some examples what is read of all."""
        for _, _, members, _ in self._each(index[:1]):
            kinds = [suffix for suffix in members if suffix in (*images.SUFFIXES, ".npy")]
            if not kinds:
                mend = "give shards with .png, .jpg or .npy members"
                raise InputError("data", f"{self.paths[0]} has {', '.join(members)} and no image or array", mend)
            self.kind = kinds[0]
        if self.kind != ".npy":
            modes = {images.KEPT.get(images.head(io.BytesIO(_read(file, members[self.kind])), f"{path}, {key}")[1], "RGB")
                     for path, key, members, file in self._each(index) if self.kind in members}  # fmt: skip
            self.mode = modes.pop() if len(modes) == 1 else "RGB"
        first = self[index[:1]][0]
        self.like = first.shape, first.dtype
        return self.kind, self.mode, self.like

    def order(self, buffer: int, seed: int, rank: int, size: int) -> torch.Tensor:
        """This process's examples of a pass, in order; see :mod:`taut.data.shards`."""
        generator = torch.Generator().manual_seed(seed)
        own = len(self) // size
        low, high = rank * own, (rank + 1) * own
        row, passed = [], 0
        for shard in torch.randperm(len(self.paths), generator=generator).tolist():
            start, count = int(self.starts[shard]), self.counts[shard]
            first, last = max(low - passed, 0), min(high - passed, count)
            if first < last:
                row.append(torch.arange(start + first, start + last))
            passed += count
        generator.manual_seed(seed + rank)
        moved = torch.arange(own, dtype=torch.float64) + buffer * torch.rand(
            own, dtype=torch.float64, generator=generator
        )
        return torch.cat(row)[moved.argsort(stable=True)]


def _read(file: io.BufferedReader, member: Member) -> bytes:
    file.seek(member[0])
    return file.read(member[1])


def _label(members: dict[str, Member], file: io.BufferedReader) -> str | None:
    for suffix in CODES:
        if suffix in members:
            content = _read(file, members[suffix])
            try:
                text = content.decode().strip()
                held = json.loads(text) if suffix == ".json" else text
            except (ValueError, RecursionError):
                return None
            if isinstance(held, dict):
                held = held.get("label", held.get("cls"))
            return None if held is None or isinstance(held, (dict, list)) else str(held)
    return None


class Labels:
    """Labels of the examples of a stream, read as :class:`taut.data.stored.Stored` reads them: int64, −1 where unknown.

    Args:
        stream: where they are read.
        names: of labels 0, 1, 2 …
    """

    stream: Any
    codes: dict[str, int]

    def __init__(self, stream: Any, names: tuple[str, ...]) -> None:
        self.stream, self.codes = stream, {name: i for i, name in enumerate(names)}

    def __getitem__(self, index: Any) -> torch.Tensor:
        index = np.arange(len(self.stream))[index if isinstance(index, slice) else index.cpu().numpy()]
        rising, back = np.unique(index, return_inverse=True)
        found = self.stream.labels_of(rising) or [""] * len(rising)
        return torch.tensor([self.codes.get(text, -1) for text in found], dtype=torch.int64)[torch.from_numpy(back)]


def shards_source(source: str, spec: Data, whole: bool = False) -> Source:
    """Shards as a source: some of them held out, training examples read as they are needed.

    Args:
        source: which, as :func:`shard_paths` takes it.
        spec: the shares that are held out, and the seed by which.
        whole: all of them as one split, in memory.
    """
    paths = shard_paths(source)
    name = paths[0].parent.resolve().name if len(paths) > 1 else paths[0].stem
    sizes = _sizes(paths)
    if whole:
        everything = Shards(paths, sizes)
        everything.look(_spread(len(everything)))
        return _read_part(Source(name, "shards", {}), "all", everything, np.arange(len(everything)))
    n, home = len(paths), {}
    counts = {part: max(1, round(n * getattr(spec, part))) for part in ("test", "valid")}
    if sum(counts.values()) >= n:
        shards = f"{n} shard{'s are' if n != 1 else ' is'}"
        raise InputError("data", f"{shards} too few: one each is held out for validation and test", "give 3 or more")
    row = np.random.RandomState(spec.seed).permutation(n)
    home["test"], home["valid"] = row[: counts["test"]], row[counts["test"] : sum(counts.values())]
    home["train"] = row[sum(counts.values()) :]

    def those(part: str, *like: Kind) -> Shards:
        picked = sorted(home[part].tolist())
        return Shards([paths[i] for i in picked], sizes and [sizes[i] for i in picked], *like)

    train = those("train")
    if spec.limit:
        train.limit(spec.limit)
    some = _spread(len(train))
    like = train.look(some)
    parts = {part: those(part, like) for part in ("valid", "test")}
    found = _read_part(Source(name, "shards", {}, stream=train), "train", train, some)
    for part, held in parts.items():
        _read_part(found, part, held, np.arange(min(len(held), HELD)))
    if len(found.labels) < 3:
        found.labels = {}
    held = "; ".join(
        f"{word} {_names(parts[part].paths)}" for part, word in (("valid", "validation"), ("test", "test"))
    )
    found.notes.append(f"{n:,} shards, of which held out: {held}" + (f" (the first {HELD:,} examples of each)"
                       if any(len(each) > HELD for each in parts.values()) else ""))  # fmt: skip
    if len(some) < len(train):
        found.notes.append(f"values, mean and deviation are judged by {len(some):,} training examples, evenly spread")
    return found


def _read_part(source: Source, part: str, shards: Shards, index: np.ndarray) -> Source:
    source.parts[part] = shards[index]
    if (labels := shards.labels_of(index)) is not None:
        source.labels[part] = np.array(labels)
    return source


def _spread(n: int) -> np.ndarray:
    """So many numbers below n as a sample has, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _sizes(paths: list[Path]) -> list[int] | None:
    """What the folders' own lists say, where each has one."""
    listed: dict[Path, Any] = {}
    for folder in {path.parent for path in paths}:
        file = folder / SIZES
        if not file.is_file():
            return None
        try:
            listed[folder] = json.loads(file.read_bytes())
            found = [listed[path.parent][path.name] for path in paths if path.parent == folder]
            if not all(type(size) is int and size > 0 for size in found):
                raise ValueError("a size is no number above 0")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no size of {error}" if isinstance(error, KeyError) else str(error)[:100]
            raise InputError(
                "data", f"{file} is no list of sizes of all shards ({reason})", "mend or remove it"
            ) from None
    return [listed[path.parent][path.name] for path in paths]
