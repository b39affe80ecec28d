"""Sets of the Hugging Face hub, streamed: read file by file, in one direction, of which a block of examples is kept at a time.

``datasets`` finds the files, fetches and unpacks them; what is known here is their order. In a pass the files stand in a row in
random order; of their number the processes take every so-many-th if that gives each as many, else every so-many-th example.
A process's row is cut into blocks of ``buffer`` examples, and each block is put in random order. All of this is a function of
the seed, the pass and the place in it, so a run goes on bit for bit; and so that it need not read the pass again to find its
place, a checkpoint holds where the block begins, as ``IterableDataset.state_dict`` says it.
"""

from __future__ import annotations

import contextlib
import io
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taut.data import images
from taut.data.reading import times
from taut.data.source import Source
from taut.data.spec import Data
from taut.errors import InputError, nearest

__all__ = ["PREFIX", "Streamed", "hub_source", "whole_path"]

PREFIX = "hf:"
NAMES: dict[str, tuple[str, ...]] = {
    "valid": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}  # of splits that a set may have
LABELS = ("label", "labels", "cls", "class", "fine_label")  # of columns
SAMPLE = 4096  # training examples by which values, mean and deviation are judged
HELD = 10_000  # examples of held-out splits that are kept, at most
MARKS = 4096  # beginnings of blocks that are remembered
MEND = "see whether its name is right and the hub can be reached"

Piece = Callable[[], Any]  # a file of a set, from its first example on, each time it is called


@dataclass(frozen=True)
class Layout:
    """What stands in which column.

    Attributes:
        x: a column of images or arrays, or numbers that are put side by side.
        image: whether it is images.
        dtype: of the arrays or numbers.
        labels: the column of labels, if there is one.
        names: of labels that are 0, 1, 2 …
        mode: of the images.
        like: shape and type of an example, once that is known.
    """

    x: tuple[str, ...]
    image: bool
    dtype: np.dtype
    labels: str | None = None
    names: tuple[str, ...] | None = None
    mode: str = ""
    like: tuple[tuple[int, ...], np.dtype] | None = None


@dataclass(frozen=True)
class Pass:
    """Which examples come, in which order.

    Attributes:
        row: the files, in order; all of them are this process's, or all but some examples.
        seed: of the order within a block; as they come if left open.
        rank, size: this process, of how many.
        stepping: whether only every so-many-th example is this process's.
        buffer: examples in a block.
        own: how many examples there are.
    """

    row: tuple[int, ...]
    seed: int | None
    rank: int
    size: int
    stepping: bool
    buffer: int
    own: int

    def block(self, i: int) -> np.ndarray:
        """The order of a block's examples."""
        n = min(self.buffer, self.own - i * self.buffer)
        return np.arange(n) if self.seed is None else np.random.default_rng([self.seed, self.rank, i]).permutation(n)

    def known_by(self) -> list[Any]:
        """What tells it from other passes."""
        return [self.seed, self.rank, self.size, self.buffer, self.own]


class Streamed:
    """Examples in files that are read in one direction, as :class:`taut.data.stored.Stream`: at an index, those at these places
    of the pass that was begun last; before any, as they come.

    Args:
        name: of the set, for errors.
        pieces: its files.
        counts: how many examples each has.
        layout: of its columns.
    """

    name: str
    pieces: list[Piece]
    counts: list[int]
    layout: Layout

    def __init__(self, name: str, pieces: list[Piece], counts: list[int], layout: Layout) -> None:
        self.name, self.pieces, self.counts, self.layout = name, pieces, counts, layout
        self._told: dict[str, Any] = {}
        self._open: list[Generator] = []
        weakref.finalize(self, _close, self._open)
        self._begin(Pass(tuple(range(len(pieces))), None, 0, 1, False, 256, len(self)))

    def __len__(self) -> int:
        return sum(self.counts)

    def limit(self, n: int) -> None:
        """Be the first n examples alone."""
        left = (n - np.cumsum([0, *self.counts[:-1]])).clip(0)
        self.counts = [int(count) for count in np.minimum(self.counts, left) if count]
        self.pieces = self.pieces[: len(self.counts)]
        self._begin(Pass(tuple(range(len(self.pieces))), None, 0, 1, False, 256, len(self)))

    def order(self, buffer: int, seed: int, rank: int, size: int) -> torch.Tensor:
        """Begin a pass: its places, in order; see :mod:`taut.data.hub`."""
        row = torch.randperm(len(self.pieces), generator=torch.Generator().manual_seed(seed)).tolist()
        apart = len(row) % size == 0
        own = len(self) // size
        self._begin(Pass(tuple(row[rank::size] if apart else row), seed, rank, size, not apart, buffer, own))
        if self._told.get("pass") == self.course.known_by():
            self._marks[self._told["block"]] = self._told["at"]
        return torch.arange(own)

    def _begin(self, course: Pass) -> None:
        _close(self._open)
        self.course = course
        self._blocks: dict[int, list[dict[str, Any]]] = {}
        self._marks: dict[int, tuple[int, int, Any]] = {0: (0, 0, None)}
        self._last: tuple[Any, list[dict[str, Any]]] = (None, [])
        self._next = -1  # the block that the open files would give

    def mark(self, place: int) -> dict[str, Any]:
        block = min(place, self.course.own - 1) // self.course.buffer
        if block not in self._marks:
            return {}
        return {"pass": self.course.known_by(), "block": block, "at": self._marks[block]}

    def recall(self, told: dict[str, Any]) -> None:
        self._told = told

    def marks(self) -> Iterator[str]:
        yield f"{self.name} {' '.join(map(str, self.counts))} "

    def _read(self, k: int, done: int, state: Any) -> Generator[tuple[int, int, Any, dict[str, Any]]]:
        """The examples of the row from a file on, of which some were read: each with the file, how many of it were read, and
        what knows where that is. Once all are read it begins anew: of files of unequal length some give less than a share."""
        from datasets.distributed import split_dataset_by_node

        course = self.course
        while True:
            found = k > 0 or state is not None
            for place in range(k, len(course.row)):
                piece, count = self.pieces[course.row[place]](), self.counts[course.row[place]]
                if course.stepping:
                    piece = split_dataset_by_node(piece, course.rank, course.size)
                    count = -(-(count - course.rank) // course.size)
                if state is not None:
                    piece.load_state_dict(state)
                with _one_line(self.name), contextlib.closing(iter(piece)) as examples:
                    while done < count and (example := next(examples, None)) is not None:
                        found, done = True, done + 1
                        yield place, done, piece, example
                done, state = 0, None
            if not found:
                raise InputError("data", f"{self.name} holds no example any more", "see whether it has changed")
            k = 0

    def _block(self, i: int) -> list[dict[str, Any]]:
        if i in self._blocks:
            return self._blocks[i]
        if i != self._next:
            _close(self._open)
            self._next = max(b for b in self._marks if b <= i)
            self._open.append(self._read(*self._marks[self._next]))
        while True:
            rows = []
            order = self.course.block(self._next)
            for _ in order:
                place, done, piece, example = next(self._open[0])
                rows.append(example)
            self._blocks[self._next] = [rows[j] for j in order]
            self._next += 1
            self._marks[self._next] = (place, done, piece.state_dict())
            for old in list(self._blocks)[:-2]:
                del self._blocks[old]
            for old in list(self._marks)[1:-MARKS]:
                del self._marks[old]
            if i in self._blocks:
                return self._blocks[i]

    def _rows(self, index: np.ndarray) -> list[dict[str, Any]]:
        if self._last[0] is not index:  # x, labels and conditions are asked for with one index
            places = (divmod(place, self.course.buffer) for place in index.tolist())
            self._last = index, [self._block(block)[within] for block, within in places]
        return self._last[1]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The examples at a rising index (M,), (M, *raw shape)."""
        found = []
        for row in self._rows(index):
            found.append(self._value(row))
            like = self.layout.like or (found[0].shape, found[0].dtype)
            if (found[-1].shape, found[-1].dtype) != like:
                one, other = (f"{times(shape)} of {kind}" for shape, kind in ((found[-1].shape, found[-1].dtype), like))
                raise InputError("data", f"{self.name} has an example of {one} where others are {other}",
                                 "make all of one kind")  # fmt: skip
        return np.stack(found)

    def _value(self, row: dict[str, Any]) -> np.ndarray:
        first = self.layout.x[0]
        if self.layout.image:
            content = _content(row[first], f"{self.name}, {first}")
            return images.pixels(io.BytesIO(content), self.layout.mode, f"an image of {self.name}")
        try:
            if len(self.layout.x) > 1 or np.ndim(row[first]) == 0:
                return np.array([row[name] for name in self.layout.x], self.layout.dtype)
            return np.asarray(row[first], self.layout.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0][:100]
            raise InputError(
                "data", f"{self.name} has an example without numbers ({reason})", "take such ones out"
            ) from None

    def labels_of(self, index: np.ndarray) -> list[str] | None:
        if self.layout.labels is None:
            return None
        names = self.layout.names
        found = [row[self.layout.labels] for row in self._rows(index)]
        if None in found:
            return None
        return [names[value] if names and 0 <= value < len(names) else str(value) for value in found]

    def known(self, index: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        labels = self.labels_of(index)
        rows = self._rows(index)
        found: dict[str, np.ndarray] = {}
        for name in names:
            values = labels if name == "labels" else [row[name] for row in rows]
            if values is None or None in values:
                raise InputError(
                    "data.condition", f"{name} is not known of every example of {self.name}", "leave it out"
                )
            found[name] = np.array(values)
        return found

    def look(self, index: np.ndarray) -> None:
        """Settle by some examples what is expected of all."""
        if self.layout.image:
            name, column = f"an image of {self.name}", self.layout.x[0]
            modes = {images.KEPT.get(images.head(io.BytesIO(_content(row[column], name)), name)[1], "RGB")
                     for row in self._rows(index)}  # fmt: skip
            self._settle(mode=modes.pop() if len(modes) == 1 else "RGB")
        first = self[index[:1]][0]
        self._settle(like=(first.shape, first.dtype))

    def _settle(self, **known: Any) -> None:
        self.layout = Layout(**{**vars(self.layout), **known})


def _close(generators: list[Generator]) -> None:
    """End what is being read, before the library that reads it is gone."""
    while generators:
        generators.pop().close()


@contextlib.contextmanager
def _one_line(name: str) -> Iterator[None]:
    try:
        yield
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # whatever a network, a cache or a damaged file may raise
        reason = next(iter(str(error).splitlines()), "")[:160] or type(error).__name__
        raise InputError("data", f"{name} cannot be read ({reason})", MEND) from None


def _content(image: Any, name: str) -> bytes:
    """The bytes of an image, in the set or beside it."""
    if not isinstance(image, dict):
        raise InputError("data", f"{name} has an example without an image", "take such ones out")
    if image.get("bytes") is not None:
        return image["bytes"]
    import fsspec

    with _one_line(name), fsspec.open(image["path"], "rb") as file:
        return file.read()


def whole_path(source: str) -> str:
    """A source by a path that names the same wherever one stands; what is no path is as it was."""
    bare = source.removeprefix(PREFIX)
    if bare != source and not os.path.exists(bare):
        return source
    return source[: len(source) - len(bare)] + str(Path(bare).expanduser().resolve())


def hub_source(spec: Data, whole: bool = False) -> Source:
    """A set of the hub as a source: splits of its own where it has them, training examples read as they are needed.

    Args:
        spec: which, what stands in which column, and what is held out where there is no split.
        whole: the test split in memory, or all of a set that has none.

    Raises:
        InputError: where it is not to be had, or has neither images nor numbers.
    """
    asked = spec.source.removeprefix(PREFIX)
    try:
        import datasets
    except ImportError:
        raise InputError("data", f"{spec.source} is read by the datasets package, which is not installed",
                         "pip install 'taut[datasets]'") from None  # fmt: skip
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    path, configuration, revision = asked, "", ""
    if not os.path.exists(asked):
        path, _, configuration = asked.partition(":")
        path, _, revision = path.partition("@")
    name = Path(path).name or asked
    with _one_line(spec.source):
        builder = datasets.load_dataset_builder(path, configuration or None, revision=revision or None)
        found = dict(builder.as_streaming_dataset())
        found = {key: each if each.features else each._resolve_features() for key, each in found.items()}
    layout = _layout(next(iter(found.values())).features, spec, name, datasets)
    if layout.image:
        found = {key: each.cast_column(layout.x[0], datasets.Image(decode=False)) for key, each in found.items()}

    def opened(key: str) -> Streamed:
        with _one_line(spec.source):
            pieces = _pieces(found[key])
            return Streamed(name, pieces, _counts(builder, key, found[key], pieces), layout)

    homes = {part: next((key for key in keys if key in found), None) for part, keys in NAMES.items()}
    home = "train" if "train" in found else next((key for key in found if key not in homes.values()), None)
    if whole:
        every = opened(homes["test"] or home or next(iter(found)))
        every.look(np.arange(min(len(every), SAMPLE)))
        return _read_part(_source(name, layout), "all", every, np.arange(len(every)), spec)
    if home is None:
        raise InputError("data", f"{name} has the splits {', '.join(found)} and none to train on", "name another set")
    train = opened(home)
    source = _source(name, layout)
    held = {part: opened(key) for part, key in homes.items() if key is not None}
    for part in [part for part in ("test", "valid") if part not in held]:
        held[part], said = _carved(train, getattr(spec, part), spec.seed)
        source.notes.append(f"no {part} split: {said}")
    if spec.limit:
        train.limit(spec.limit)
    some = _spread(train)
    some.look(np.arange(len(some)))
    train.layout = some.layout
    source.stream = train
    _read_part(source, "train", some, np.arange(len(some)), spec)
    for part in ("valid", "test"):
        held[part].layout = some.layout
        _read_part(source, part, held[part], np.arange(min(len(held[part]), HELD)), spec)
        if len(held[part]) > HELD:
            source.notes.append(f"of {len(held[part]):,} {part} examples the first {HELD:,} are kept")
    if len(source.labels) < 3:
        source.labels = {}
    if len(some) < len(train):
        source.notes.append(f"values, mean and deviation are judged by {len(some):,} of {len(train):,} training examples, the "
                            f"first of each of {len(some.pieces):,} file{'s'[: len(some.pieces) != 1]}")  # fmt: skip
    return source


def _source(name: str, layout: Layout) -> Source:
    return Source(name, "hub", {}, names=layout.names, columns=None if layout.image or len(layout.x) < 2 else layout.x)


def _read_part(source: Source, part: str, stream: Streamed, index: np.ndarray, spec: Data) -> Source:
    source.parts[part] = stream[index]
    if (labels := stream.labels_of(index)) is not None:
        names = {name: i for i, name in enumerate(stream.layout.names or ())}
        known = names and all(label in names for label in labels)
        source.labels[part] = np.array([names[label] for label in labels] if known else labels)
    if columns := [name for name in spec.condition if name != "labels"]:
        source.given[part] = stream.known(index, columns)
    return source


def _layout(features: Any, spec: Data, name: str, datasets: Any) -> Layout:
    """What stands in which column: as it is said, or else by the columns' own types."""
    kinds = {column: _kind(feature, datasets) for column, feature in features.items()}
    for option, column in (
        ("array", spec.array),
        ("labels", spec.labels),
        *(("condition", each) for each in spec.condition),
    ):
        if column is not None and column not in features and not (option == "condition" and column == "labels"):
            raise InputError(f"data.{option}", f"{name} has no column {column!r}", nearest(column, features))
    labels = spec.labels or next((column for column, (kind, _) in kinds.items() if kind == "label"), None)
    labels = labels or next(
        (column for column in LABELS if column in kinds and kinds[column][0] in ("number", "text")), None
    )
    names = getattr(features[labels], "names", None) if labels else None
    if spec.array:
        x = (spec.array,)
    else:
        x = next(
            ((column,) for wanted in ("image", "array") for column, (kind, _) in kinds.items() if kind == wanted), None
        )
        apart = {labels, *spec.condition}
        x = x or tuple(column for column, (kind, _) in kinds.items() if kind == "number" and column not in apart)
    if not x or kinds[x[0]][0] not in ("image", "array", "number"):
        raise InputError("data", f"{name} has the columns {', '.join(features)[:120]} and none of images, arrays or numbers to "
                         "model", "name one by data.array")  # fmt: skip
    dtype = np.dtype(np.uint8) if kinds[x[0]][0] == "image" else np.result_type(*(kinds[column][1] for column in x))
    return Layout(x, kinds[x[0]][0] == "image", dtype, labels, tuple(names) if names else None)


def _kind(feature: Any, datasets: Any) -> tuple[str, str]:
    """What a column holds, and of which type."""
    if isinstance(feature, datasets.Image):
        return "image", ""
    if isinstance(feature, datasets.ClassLabel):
        return "label", ""
    nested = False
    while not isinstance(feature, datasets.Value) and (inner := getattr(feature, "feature", None)) is not None:
        feature, nested = inner, True
    if isinstance(feature, (datasets.Array2D, datasets.Array3D, datasets.Array4D)):
        return "array", feature.dtype
    if not isinstance(feature, datasets.Value):
        return "other", ""
    try:
        number = np.dtype(feature.dtype).kind in "fiub"
    except (TypeError, ValueError, SyntaxError):  # of text, dates and what else numpy has no such name for
        number = False
    if number:
        return ("array" if nested else "number"), feature.dtype
    return ("other" if nested else "text"), ""


def _pieces(split: Any) -> list[Piece]:
    n = split.num_shards
    return [lambda i=i: split.shard(n, i) for i in range(n)]


def _counts(builder: Any, key: str, split: Any, pieces: list[Piece]) -> list[int]:
    """How many examples each file has: by its foot, by what the set says of itself, or by reading them all once."""
    files = (getattr(builder.config, "data_files", None) or {}).get(key, ())
    if len(files) == len(pieces) and all(str(file).endswith(".parquet") for file in files):
        import fsspec
        import pyarrow.parquet

        counts = []
        for file in files:
            with fsspec.open(str(file), "rb") as opened:
                counts.append(pyarrow.parquet.ParquetFile(opened).metadata.num_rows)
        return counts
    known = (builder.info.splits or {}).get(key)
    if len(pieces) == 1 and known is not None and known.num_examples:
        return [known.num_examples]
    return [sum(len(table) for table in piece().with_format("arrow").iter(1000)) for piece in pieces]


def _carved(train: Streamed, share: float, seed: int) -> tuple[Streamed, str]:
    """Hold a share out of what is trained on: whole files where there are enough, else its first examples."""
    files = len(train.pieces)
    if files >= 3:
        picked = sorted(
            np.random.RandomState(seed).permutation(files)[: min(max(1, round(files * share)), files - 2)].tolist()
        )
        kept = [i for i in range(files) if i not in picked]
        held = Streamed(train.name, [train.pieces[i] for i in picked], [train.counts[i] for i in picked], train.layout)
        train.pieces, train.counts = [train.pieces[i] for i in kept], [train.counts[i] for i in kept]
        train.limit(len(train))
        return held, f"{len(picked)} of {files} files {'are' if len(picked) > 1 else 'is'} held out"
    count, piece = train.counts[0], train.pieces[0]
    n = max(1, min(round(len(train) * share), HELD, count - 1))
    held = Streamed(train.name, [lambda: piece().take(n)], [n], train.layout)
    train.pieces, train.counts = [lambda: piece().skip(n), *train.pieces[1:]], [count - n, *train.counts[1:]]
    train.limit(len(train))
    return held, f"the first {n:,} examples are held out"


def _spread(train: Streamed) -> Streamed:
    """The first examples of some of the files, so many in all as a sample has."""
    files = np.unique(np.linspace(0, len(train.pieces) - 1, min(len(train.pieces), 16)).astype(int)).tolist()
    each = -(-min(SAMPLE, len(train)) // len(files))
    counts = [min(each, train.counts[i]) for i in files]
    return Streamed(train.name, [train.pieces[i] for i in files], counts, train.layout)
