"""Sheets of images: data drawn pixel by pixel at a whole-number scale, with words beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.report.style import ACCENT, DPI, GREY, WIDTH, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = [
    "Sheet", "image_grid", "image_pairs", "image_rows", "image_samples", "image_strips", "per_row", "strip", "to_rgb",
]  # fmt: skip

_LARGEST = 320  # pixels a side; larger images are made smaller for a sheet, never for a file of samples
_GUTTER = 2  # pixels on a sheet, which a page shows at half size


def to_rgb(images: np.ndarray, vmin: float = 0.0, vmax: float = 1.0) -> np.ndarray:
    """Images (..., H, W) or (..., H, W, C) as bytes (N, H, W, 3); ``vmin`` is black, ``vmax`` white.

    An array of three dimensions is N grey images; one of four has its channels last: one is grey, two are averaged,
    of more the first three are red, green and blue. A pixel that is not finite takes the accent colour.
    """
    images = np.asarray(images, dtype=np.float64)
    if images.ndim == 2:
        images = images[None]
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] == 2:
        images = images.mean(axis=-1, keepdims=True)
    images = images[..., :3] if images.shape[-1] >= 3 else np.repeat(images[..., :1], 3, axis=-1)
    broken = ~np.isfinite(images).all(axis=-1)
    span = vmax - vmin if vmax > vmin else 1.0
    light = np.clip((np.where(np.isfinite(images), images, vmin) - vmin) / span, 0.0, 1.0)
    rgb = (light * 255 + 0.5).astype(np.uint8)
    rgb[broken] = [int(ACCENT[i : i + 2], 16) for i in (1, 3, 5)]
    return rgb


def image_grid(
    images: np.ndarray, columns: int | None = None, vmin: float = 0.0, vmax: float = 1.0, scale: int | None = None
) -> Image.Image:
    """Images in rows with one-pixel gutters, each pixel a whole square, so that nothing is blurred. Gutters, and the rest of
    a last row that is not full, are clear, so that the ground shows on which the picture lies.

    Args:
        images: (N, H, W) or (N, H, W, C), values from ``vmin`` (black) to ``vmax`` (white).
        columns: images a row; if not given such that the last row is full and the picture about 1.6 times as wide as high,
            as far as their number allows.
        scale: side of a pixel on the picture; if not given such that the picture is about 900 pixels wide, an image from
            about 48 to 160.
    """
    from PIL import Image

    rgb = to_rgb(images, vmin, vmax)
    n, height, width, _ = rgb.shape
    if columns is None:
        columns = _columns(n, np.sqrt(1.6 * n * height / max(width, 1)))
    columns = max(1, min(columns, n))
    scale = scale or max(1, round(min(max(900 / columns, 48), 160) / max(height, width)))
    rgb = rgb.repeat(scale, axis=1).repeat(scale, axis=2)
    rows = -(-n // columns)
    step_y, step_x = height * scale + 1, width * scale + 1
    canvas = np.zeros((max(rows * step_y - 1, 1), max(columns * step_x - 1, 1), 4), dtype=np.uint8)
    for i, image in enumerate(rgb):
        y, x = (i // columns) * step_y, (i % columns) * step_x
        canvas[y : y + height * scale, x : x + width * scale, :3] = image
        canvas[y : y + height * scale, x : x + width * scale, 3] = 255
    return Image.fromarray(canvas)


def _columns(n: int, wanted: float) -> int:
    """How many of n images stand in a row: about ``wanted``, and such that rows are full if any number near it does that."""
    near = range(max(1, int(0.6 * wanted)), max(1, min(n, int(1.7 * wanted))) + 1)
    return min(near, key=lambda columns: (n % columns > 0, abs(np.log(columns / wanted))))


def _cells(rgb: np.ndarray, side: int = 100, room: int = _LARGEST) -> np.ndarray:
    """Images (N, H, W, 3) enlarged by an even whole number to about ``side`` pixels, or made smaller to fit ``room``.

    Even, because a page shows a sheet at half its size on a plain screen: pixels stay whole there too.
    """
    from PIL import Image

    height, width = rgb.shape[1:3]
    if max(height, width) > room:
        shrink = room / max(height, width)
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in rgb])
    scale = max(1, 2 * min(round(side / max(height, width) / 2), room // max(height, width) // 2))
    return rgb.repeat(scale, axis=1).repeat(scale, axis=2)


def per_row(images: np.ndarray, margin: int = 0, side: int = 100) -> int:
    """How many of these images (N, H, W[, C]) stand side by side on a sheet beside ``margin`` pixels of words."""
    shape = _cells(to_rgb(images[:1]), side).shape
    return max(1, (int(WIDTH * DPI) - margin + _GUTTER) // (shape[2] + _GUTTER))


def strip(rgb: np.ndarray, side: int = 100, room: int = _LARGEST) -> np.ndarray:
    """Images (N, H, W, 3) side by side at sheet scale: opaque RGBA (h, w, 4), its gutters clear."""
    cells = _cells(rgb, side, room)
    n, height, width, _ = cells.shape
    out = np.zeros((height, n * (width + _GUTTER) - _GUTTER, 4), dtype=np.uint8)
    for i, cell in enumerate(cells):
        out[:, i * (width + _GUTTER) : i * (width + _GUTTER) + width] = np.dstack([cell, np.full((height, width), 255)])
    return out


class Sheet:
    """Strips of images and words at exact pixels, on clear ground that suits a light and a dark page."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int, np.ndarray]] = []
        self.words: list[tuple[float, float, str, dict[str, Any]]] = []

    def paste(self, x: int, y: int, block: np.ndarray) -> None:
        """Put RGBA pixels (h, w, 4) with their upper left corner at (x, y)."""
        self.blocks.append((x, y, block))

    def write(self, x: float, y: float, text: str, **how: Any) -> None:
        """Put words at (x, y) pixels from the upper left corner."""
        self.words.append((x, y, text, {"color": GREY, "va": "center", "ha": "left", "fontsize": 8, **how}))

    def figure(self, width: int = 0, height: int = 0) -> Figure:
        """The sheet as a figure, just large enough, and at least ``width`` × ``height`` pixels."""
        width = max([width] + [x + block.shape[1] for x, _, block in self.blocks])
        height = max([height] + [y + block.shape[0] for _, y, block in self.blocks])
        canvas = np.zeros((height, width, 4), dtype=np.uint8)
        for x, y, block in self.blocks:
            canvas[y : y + block.shape[0], x : x + block.shape[1]] = block
        with style():
            # A hair more than the pixels, so that rounding never cuts the last row.
            fig = figure((width + 0.01) / DPI, (height + 0.01) / DPI, constrained=False)
            fig.set_facecolor("none")
            fig.figimage(canvas, 0, 0, origin="upper")
            for x, y, text, how in self.words:
                fig.text(x / width, 1 - y / height, text, **how)
        fig.shows_images = True
        return fig


def image_pairs(
    upper: np.ndarray, lower: np.ndarray, names: tuple[str, str], vmin: float, vmax: float, rows: int = 3
) -> Figure:
    """Pairs of images one above the other, (N, H, W[, C]) each, in up to ``rows`` rows of pairs."""
    margin = 96
    a, b = to_rgb(upper, vmin, vmax), to_rgb(lower, vmin, vmax)
    columns = per_row(upper, margin)
    sheet, y = Sheet(), 0
    for start in range(0, min(len(a), rows * columns), columns):
        for name, images in zip(names, (a, b), strict=True):
            block = strip(images[start : start + columns])
            sheet.paste(margin, y, block)
            sheet.write(0, y + block.shape[0] / 2, name)
            y += block.shape[0] + _GUTTER
        y += 16
    return sheet.figure()


def image_samples(
    samples: np.ndarray, nearest: np.ndarray | None, distances: np.ndarray | None, vmin: float, vmax: float, rows: int
) -> Figure:
    """Samples (N, H, W[, C]), each above its nearest training example and the distance between them (N,)."""
    if nearest is None:
        return image_rows(samples, vmin, vmax, rows)
    margin = 120
    a, b = to_rgb(samples, vmin, vmax), to_rgb(nearest, vmin, vmax)
    columns = per_row(samples, margin)
    sheet, y, text = Sheet(), 0, 26
    finite = np.abs(distances[np.isfinite(distances)]) if distances is not None else np.zeros(0)
    places = int(np.clip(2 - np.floor(np.log10(finite.max())), 0, 4)) if finite.any() else 2
    for start in range(0, min(len(a), rows * columns), columns):
        stop = min(start + columns, len(a))
        for name, images in (("sample", a), ("nearest", b)):
            block = strip(images[start:stop])
            sheet.paste(margin, y, block)
            sheet.write(0, y + block.shape[0] / 2, name)
            y += block.shape[0] + _GUTTER
        if distances is not None:
            cell = (block.shape[1] + _GUTTER) / (stop - start)
            sheet.write(0, y + text / 2, "distance", fontsize=7)
            for i in range(start, stop):
                x = margin + (i - start + 0.5) * cell
                sheet.write(x, y + text / 2, f"{distances[i]:.{places}f}", ha="center", fontsize=6.5)
            y += text
        y += 16
    return sheet.figure(height=y - 16)


def image_rows(images: np.ndarray, vmin: float, vmax: float, rows: int) -> Figure:
    """Images (N, H, W[, C]) in up to ``rows`` full rows, without words."""
    columns = per_row(images)
    rgb, sheet, y = to_rgb(images, vmin, vmax), Sheet(), 0
    for start in range(0, min(len(rgb), rows * columns), columns):
        block = strip(rgb[start : start + columns])
        sheet.paste(0, y, block)
        y += block.shape[0] + _GUTTER
    return sheet.figure()


def image_strips(
    rows: Sequence[np.ndarray],
    vmin: float,
    vmax: float,
    names: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
) -> Figure:
    """Strips of images, R rows of (S, H, W[, C]): ``names`` stand left of the rows, ``heads`` above the columns."""
    margin = 11 * max(len(name) for name in names) + 24 if names else 0
    count = len(rows[0])
    room = max(8, (int(WIDTH * DPI) - margin) // count - _GUTTER)
    sheet, y = Sheet(), 34 if heads else 0
    for r, row in enumerate(rows):
        block = strip(to_rgb(row, vmin, vmax), room=min(room, _LARGEST))
        if heads and r == 0:
            cell = (block.shape[1] + _GUTTER) / count
            for i, head in enumerate(heads):
                sheet.write(margin + (i + 0.5) * cell, 14, head, ha="center", fontsize=7)
        sheet.paste(margin, y, block)
        if names:
            sheet.write(0, y + block.shape[0] / 2, names[r], fontsize=7.5)
        y += block.shape[0] + _GUTTER + 6
    return sheet.figure()
