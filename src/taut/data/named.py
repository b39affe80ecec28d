"""The sets that have a name: handwritten digits, shapes of known factors, MNIST, Fashion-MNIST, and MNIST as Larochelle
binarised it."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from taut.data.arrays import open_npz
from taut.data.shapes import shapes_source
from taut.data.source import MOST_BYTES, Source, unpack
from taut.data.spec import Data
from taut.errors import InputError

__all__ = ["NAMES", "open_named"]

NAMES = ("binarized-mnist", "digits", "fashion-mnist", "mnist", "shapes")

FOLDERS: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist", "MNIST/raw", "mnist/raw", "MNIST"),
    "fashion-mnist": ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
    "binarized-mnist": ("binarized_mnist", "binarized-mnist"),
}
HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
PACKED = "binarized_mnist_packed.npz"
GARMENTS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "ankle boot")
IDX_PARTS = {"train": "train", "test": "t10k"}


def open_named(spec: Data) -> Source:
    """The set called ``spec.source``, from scikit-learn, drawn, from files below the root, or from the hub."""
    name = spec.source
    if name == "digits":
        return _digits()
    if name == "shapes":
        return shapes_source(spec.seed)
    root = _root(spec)
    for folder in _folders(name, root):
        source = _larochelle(folder) if name == "binarized-mnist" else _idx(name, folder)
        if source is not None:
            return source
    return _from_hub(name, root)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Source("digits", "named", {"all": digits.images.astype(np.int64)}, {"all": digits.target})


def _root(spec: Data) -> Path | None:
    given = spec.root or os.environ.get("TAUT_DATA")
    if not given:
        return None
    if not Path(given).is_dir():
        field = "data.root" if spec.root else "TAUT_DATA"
        raise InputError(field, f"{given} is no folder", "give the folder with the data sets")
    return Path(given)


def _folders(name: str, root: Path | None) -> Iterator[Path]:
    """Where below the root the set may lie; the files of MNIST and Fashion-MNIST have the same names."""
    if root is None:
        return
    yield from (root / folder for folder in FOLDERS[name])
    if name == "binarized-mnist" or ("fashion" in root.resolve().name.lower()) == (name == "fashion-mnist"):
        yield root


def _idx(name: str, folder: Path) -> Source | None:
    parts, labels = {}, {}
    for part, prefix in IDX_PARTS.items():
        images, classes = _idx_file(folder, f"{prefix}-images", 3), _idx_file(folder, f"{prefix}-labels", 1)
        if images is None:
            return None
        parts[part] = read_idx(images, 3)
        if classes is not None:
            labels[part] = read_idx(classes, 1)
            if len(labels[part]) != len(parts[part]):
                problem = f"{classes} has {len(labels[part]):,} labels for {len(parts[part]):,} images"
                raise InputError("data", problem, "fetch both files again")
    names = GARMENTS if name == "fashion-mnist" else None
    return Source(name, "named", parts, labels if len(labels) == len(parts) else {}, names=names)


def _idx_file(folder: Path, stem: str, dimensions: int) -> Path | None:
    for suffix in ("-idx{}-ubyte.gz", "-idx{}-ubyte", ".idx{}-ubyte.gz", ".idx{}-ubyte"):
        path = folder / (stem + suffix.format(dimensions))
        if path.is_file():
            return path
    return None


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of an IDX file, gzipped or not: 0 0 8 d, then d sizes as big-endian 32-bit numbers, then the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                problem = f"{path} is no IDX file of bytes in {dimensions} dimensions"
                raise InputError("data", problem, "fetch the file again")
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4", offset=4))
            content = file.read(min(math.prod(shape) + 1, MOST_BYTES))  # no more than is said, however much there is
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("data", f"{path} cannot be read ({error})", "fetch the file again") from None
    if len(content) != math.prod(shape):
        more = "more" if len(content) > math.prod(shape) else f"{len(content):,}"
        problem = f"{path} has {more} values where its head says {math.prod(shape):,}"
        raise InputError("data", problem, "fetch the file again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _larochelle(folder: Path) -> Source | None:
    path = folder / PACKED
    if not path.is_file():
        return None
    arrays = open_npz(path)
    if missing := {"train", "valid", "test"} - set(arrays):
        raise InputError("data", f"{path} has no array {min(missing)!r}", "fetch the file again")
    parts = {part: unpack(arrays[part], (28, 28), f"{path}, array {part!r},") for part in ("train", "valid", "test")}
    return Source("binarized-mnist", "named", parts)


def _from_hub(name: str, root: Path | None) -> Source:
    where = (
        f"is not below {root} (looked for {FOLDERS[name][0]}/)" if root else "was not found: no --data-root is given"
    )
    mend = "set --data-root or TAUT_DATA to the folder that holds it"
    if name not in HUB:
        raise InputError("data", f"{name} {where}", mend)
    mend += ", or install the extra: pip install 'taut[datasets]'"
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError("data", f"{name} {where}, and the datasets package is not installed", mend) from None
    try:
        hub = load_dataset(HUB[name])
        parts = {part: np.stack([np.asarray(image) for image in hub[part]["image"]]) for part in IDX_PARTS}
        labels = {part: np.asarray(hub[part]["label"]) for part in IDX_PARTS}
    except Exception as error:  # whatever a network, a cache or a changed set may raise, the mend is one
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise InputError("data", f"{name} {where}, and the hub's {HUB[name]} failed ({reason})", mend) from None
    names = GARMENTS if name == "fashion-mnist" else None
    return Source(name, "named", parts, labels, names=names, notes=[f"from the Hugging Face hub, {HUB[name]}"])
