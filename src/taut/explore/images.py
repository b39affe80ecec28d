"""Examples as they are drawn: bytes of images, numbers of everything else."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from taut.errors import InputError

if TYPE_CHECKING:
    from taut.data import Reading, Split
    from taut.runs import Run

__all__ = ["as_images", "brightness", "pictures", "read_picture", "shown"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SIDE = 4096  # pixels of a picture's file a side, at most


def as_images(reading: Reading, x: np.ndarray) -> np.ndarray:
    """Raw images (N, *raw shape) as (N, H, W) or (N, H, W, C), whichever way round the user stores the channels."""
    if x.ndim == 4 and x.shape[1] in (1, 3) and reading.shape[0] == x.shape[1] and x.shape[-1] not in (1, 3, 4):
        x = np.moveaxis(x, 1, -1)
    return x[..., 0] if x.ndim == 4 and x.shape[-1] == 1 else x


def shown(run: Run, split: Split) -> np.ndarray:
    """Examples (N, *raw shape) to look at; where binarisation is dynamic, the grey that it draws from, from 0 to 1."""
    x = split.x.float()
    return run.reading.restore(x / run.reading.grey if run.reading.binarize == "dynamic" else x)


def brightness(run: Run, split: Split | None = None) -> tuple[float, float]:
    """The raw values to be drawn black and white: those that x can take, or where there are no such, the middle 99% of
    some examples, or without them what lies within 2.5 standard deviations of the mean of the training data."""
    if run.reading.limits is not None:
        return run.reading.limits
    if split is not None:
        low, high = np.percentile(shown(run, split.take(slice(1000))), [0.5, 99.5])
    else:
        middle = np.mean(run.reading.centre or 0.0)
        low, high = (middle + float((run.vae.shift + side * run.vae.scale).mean()) for side in (-2.5, 2.5))
    return float(low), float(high)


def pictures(reading: Reading, x: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Raw examples (N, *raw shape) as a page draws them.

    Args:
        reading: how the examples were read.
        x: (N, *raw shape).
        limits: the values that are drawn black and white.

    Returns:
        Images: bytes (N, H, W), or (N, H, W, 3) where they have three channels or more; two are averaged. Anything else:
        numbers (N, D) in the user's units, float32 unless those lie too far from 0 for it.
    """
    kind = np.float32 if reading.centre is None else np.float64
    if reading.layout != "image":
        return np.asarray(x, dtype=kind).reshape(len(x), -1)
    images = as_images(reading, np.asarray(x)).astype(kind)
    if images.ndim == 4:
        images = images[..., :3] if images.shape[-1] >= 3 else images.mean(axis=-1)
    low, high = limits
    light = (np.nan_to_num(images, nan=low) - low) * (255 / (high - low if high > low else 1.0))
    return np.clip(light + 0.5, 0, 255).astype(np.uint8)


def read_picture(content: bytes, reading: Reading, limits: tuple[float, float], field: str = "picture") -> np.ndarray:
    """A picture's file as one raw example (1, *raw shape): cut to the shape of the data about its middle, then resized.

    Args:
        content: the file; never trusted: its size is looked at before its pixels are, and only plain formats are read.
        reading: how examples were read.
        limits: the raw values of black and white where x has no least and greatest.
        field: what errors call the file.

    Raises:
        InputError: where the file is no picture that could be read, or examples are no images of one or three channels.
    """
    from PIL import Image, ImageOps

    channels, *size = reading.shape if reading.layout == "image" else (0,)
    if channels not in (1, 3):
        raise InputError(
            field, "is given, and examples are no grey or colour images", "choose examples of the test split"
        )
    try:
        with warnings.catch_warnings(action="error"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if max(image.size) > SIDE:
                raise InputError(field, f"is {image.width:,}×{image.height:,} pixels", f"give {SIDE:,} a side or fewer")
            plain = ImageOps.exif_transpose(image).convert("RGBA")
    except InputError:
        raise
    except Exception as error:  # a damaged file may fail in any way that a decoder can
        said = (str(error).splitlines() or [""])[0][:80]
        raise InputError(field, f"cannot be read ({said})", f"give one of {', '.join(FORMATS)}") from None
    flat = Image.new("RGB", plain.size)
    flat.paste(plain, mask=plain.getchannel("A"))
    fitted = ImageOps.fit(flat.convert("L" if channels == 1 else "RGB"), tuple(reversed(size)), Image.Resampling.BOX)
    light = np.asarray(fitted, dtype=np.float32).reshape(*size, channels) / 255
    support = reading.raw_support
    low, high = limits if support.kind in ("real", "counts") else (0.0, float((support.levels or 2) - 1))
    values = low + light * (high - low)
    values = values.round() if support.discrete or support.whole else values
    first = len(reading.raw_shape) == 3 and reading.raw_shape == tuple(reading.shape)
    raw = np.moveaxis(values, -1, 0) if first else values
    kind = reading.raw_dtype if np.dtype(reading.raw_dtype).kind in "iub" and support.discrete else "float32"
    return raw.reshape(1, *reading.raw_shape).astype(kind)
