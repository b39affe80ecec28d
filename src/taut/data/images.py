"""A folder of images: all of one size; greys stay one channel; sub-folders are labels."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from taut.data.source import Source
from taut.errors import InputError

__all__ = ["KEPT", "SUFFIXES", "folder_source", "head", "pixels"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
# What each of Pillow's modes is read as. Others (palettes, CMYK ...) become RGB.
KEPT = {"1": "1", "L": "L", "LA": "L", "RGB": "RGB", "I;16": "I;16", "I;16B": "I;16", "I": "I", "F": "F"}
TYPES: dict[str, type] = {"1": bool, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32}


def folder_source(folder: Path, colour: bool = False) -> Source:
    """The images of a folder, or of its sub-folders (one level deep, which then are the labels), in order of name.

    With ``colour``, greys are read as RGB too, for a model of colour images.
    """
    paths, labels, ignored = _find(folder)
    sizes, modes = zip(*(head(path, path) for path in paths), strict=True)
    if len(set(sizes)) > 1:
        odd = next(i for i, size in enumerate(sizes) if size != sizes[0])
        (w, h), (v, g) = sizes[0], sizes[odd]
        problem = f"{paths[odd]} is {g}×{v} (height × width) but {paths[0].name} is {h}×{w}"
        raise InputError("data", problem, "scale or crop all images to one size")
    wanted = {KEPT.get(mode, "RGB") for mode in modes}
    mode = "RGB" if colour or "RGB" in wanted else wanted.pop() if len(wanted) == 1 else "L"
    if len({KEPT.get(m, "RGB") for m in modes} & {"I;16", "I", "F"}) and mode in ("L", "RGB"):
        raise InputError("data", f"{folder} mixes images of 8 bits with deeper ones", "save all with one depth")
    (width, height), channels = sizes[0], (3,) if mode == "RGB" else ()
    x = np.empty((len(paths), height, width, *channels), TYPES[mode])
    for i, path in enumerate(paths):
        x[i] = pixels(path, mode, path)
    notes = [f"{n:,} images of mode {m} read as {mode}" for m, n in Counter(modes).items() if m != mode]
    if ignored:
        notes.append(f"{ignored:,} other file{'s'[: ignored != 1]} in the folder ignored")
    if mode != "RGB" and x.dtype == np.uint8 and np.isin(x, (0, 255)).all():
        notes.append("every pixel is 0 or 255: with data.binarize threshold they are read as {0, 1}")
    name = folder.resolve().name
    return Source(name, "images", {"all": x}, {"all": np.array(labels)} if labels else {}, notes=notes)


def _find(folder: Path) -> tuple[list[Path], list[str], int]:
    """The images, the label of each (none where the images lie in the folder itself), and how many files are others."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if not entries:
        raise InputError("data", f"the folder {folder} is empty", "give a folder of images")
    files = [p for p in entries if p.is_file()]
    below = [p for d in entries if d.is_dir() for p in sorted(d.iterdir()) if p.is_file() and p.name[0] != "."]
    top, deep = ([p for p in some if p.suffix.lower() in SUFFIXES] for some in (files, below))
    if top and deep:
        inner = deep[0].relative_to(folder)
        problem = f"{folder} has images both in itself ({top[0].name}) and in sub-folders ({inner})"
        raise InputError("data", problem, "keep one kind; sub-folders are read as labels")
    if not top and not deep:
        mend = f"give a folder with {', '.join(s[1:] for s in SUFFIXES[:6])} files, in it or one level below"
        if any("ubyte" in p.name for p in files):
            mend = "name the set (mnist or fashion-mnist) and give this folder as --data-root"
        raise InputError("data", f"the folder {folder} has no images", mend)
    paths = top or deep
    labels = [] if top else [p.parent.name for p in deep]
    return paths, labels, len(files) + (0 if top else len(below)) - len(paths)


def head(file: Path | BinaryIO, name: Path | str) -> tuple[tuple[int, int], str]:
    """Width and height of an image, and its mode."""
    with _readable(name), Image.open(file) as image:
        transparent = image.mode == "P" and "transparency" in image.info
        return image.size, "PA" if transparent else image.mode


def pixels(file: Path | BinaryIO, mode: str, name: Path | str) -> np.ndarray:
    """An image in a mode, (H, W) or (H, W, 3)."""
    with _readable(name), Image.open(file) as image:
        if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")  # what is transparent shows white, as on a page
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image if image.mode == mode else image.convert(mode))


@contextmanager
def _readable(name: Path | str) -> Iterator[None]:
    """Turns whatever Pillow raises on a bad file, a warning too, into one line that names the file."""
    alone = threading.current_thread() is threading.main_thread()  # filters are everybody's: no other may move them
    try:
        with warnings.catch_warnings() if alone else nullcontext():
            if alone:
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Exception as error:  # each of Pillow's many decoders has its own
        text = str(error)
        reason = type(error).__name__ if "cannot identify" in text or not text else text.splitlines()[0][:100]
        raise InputError("data", f"{name} is no readable image ({reason})", "repair or remove it") from None
