"""The pictures of a run. Each takes numpy arrays in the user's own layout and gives a figure for :func:`save`.

An array of images is (N, H, W) or (N, H, W, C) with values from ``vmin`` to ``vmax``; of vectors (N, D). The layout
says which picture is drawn: ``"image"`` or ``"vector"``. Needs matplotlib, which is imported when the first is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from taut.errors import InputError
from taut.report import charts, images
from taut.report.charts import curves, factor_matrix, kl_bars, latent_map, vector_marginals
from taut.report.images import image_grid
from taut.report.style import ACCENT, DPI, FAINT, GREY, INK, WIDTH, figure, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Side", "comparison", "curves", "factor_matrix", "image_grid", "interpolations", "kl_bars", "latent_map", "progress",
    "reconstructions", "samples", "save", "traversals", "vector_marginals",
]  # fmt: skip

Layout = Literal["image", "vector"]


def _vectors(a: np.ndarray, event: int = 1) -> np.ndarray:
    """Arrays as floating point, the last axes flattened to one."""
    a = np.asarray(a, dtype=np.float64)
    return a.reshape(*a.shape[:event], -1)


def _known(layout: str) -> bool:
    if layout not in ("image", "vector"):
        raise InputError("layout", f"is {layout!r}", "give image or vector")
    return layout == "image"


def reconstructions(
    x: np.ndarray,
    recon: np.ndarray,
    layout: Layout,
    *,
    vmin: float = 0.0,
    vmax: float = 1.0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Data (N, …) and what the model rebuilds of them (N, …).

    Images: each above its reconstruction. Vectors: rebuilt against given, a panel a column; of more than 32 columns,
    both as lines.
    """
    if _known(layout):
        return images.image_pairs(x, recon, ("data", "rebuilt"), vmin, vmax)
    x, recon = _vectors(x), _vectors(recon)
    if x.shape[1] > charts.SIGNAL:
        return charts.signal_rows(x, recon, ("data", "rebuilt"))
    return charts.recon_scatter(x, recon, names)


def progress(steps: Sequence[np.ndarray], names: Sequence[str], vmin: float = 0.0, vmax: float = 1.0) -> Figure:
    """The same images in rows, (S, H, W[, C]) each, as they come out step by step."""
    return images.image_strips(steps, vmin, vmax, names)


def samples(
    samples: np.ndarray,
    nearest: np.ndarray | None,
    distances: np.ndarray | None,
    layout: Layout,
    *,
    data: np.ndarray | None = None,
    vmin: float = 0.0,
    vmax: float = 1.0,
    names: Sequence[str] | None = None,
    rows: int = 3,
) -> Figure:
    """Samples (N, …) beside what they must resemble without repeating it.

    Images: each above its nearest training example (N, …) and the distance (N,). Vectors: histograms of up to twelve
    columns against the data (M, D), the nearest examples standing in where ``data`` is None; of more than 32 columns,
    each sample as a line with its nearest example.
    """
    if _known(layout):
        return images.image_samples(samples, nearest, distances, vmin, vmax, rows)
    drawn = _vectors(samples)
    if drawn.shape[1] > charts.SIGNAL:
        if nearest is None:
            return charts.signal_rows(drawn, None, ("sample", "sample"))
        return charts.signal_rows(_vectors(nearest), drawn, ("nearest training example", "sample"))
    reference = data if data is not None else nearest
    if reference is None:
        raise InputError("data", "is not given", "give the training data or the nearest examples to compare with")
    return charts.vector_marginals(_vectors(reference), drawn, names)


def interpolations(
    rows: np.ndarray,
    layout: Layout,
    *,
    ends: np.ndarray | None = None,
    vmin: float = 0.0,
    vmax: float = 1.0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Decodings on the way between pairs of inputs, rows (R, S, …): R pairs in S steps.

    With ``ends`` (R, 2, …), images stand between the two inputs themselves.
    """
    if _known(layout):
        if ends is None:
            return images.image_strips(rows, vmin, vmax)
        rows = np.concatenate([ends[:, :1], rows, ends[:, 1:]], axis=1)
        heads = ["first", "rebuilt", *[""] * (rows.shape[1] - 4), "rebuilt", "second"]
        return images.image_strips(rows, vmin, vmax, heads=heads)
    rows = _vectors(rows, 2)
    if rows.shape[-1] > charts.SIGNAL:
        return charts.signal_rows(rows[:, 0], rows[:, rows.shape[1] // 2], ("first", "half-way"))
    return charts.paths_of_columns(rows, names)


def traversals(
    rows: np.ndarray,
    values: np.ndarray | Sequence[np.ndarray],
    latents: Sequence[str],
    layout: Layout,
    *,
    kl: Sequence[float] | None = None,
    vmin: float = 0.0,
    vmax: float = 1.0,
    names: Sequence[str] | None = None,
) -> Figure:
    """Decodings as single latents move: rows (R, S, …) for R ``latents`` by name at ``values`` (S,), or (R, S) where each has
    its own; ``kl`` (R,) in nats."""
    titles = [name + (f"  {kl[i]:.2f} nats" if kl is not None else "") for i, name in enumerate(latents)]
    courses = np.broadcast_to(np.asarray(values, dtype=np.float64), (len(latents), len(rows[0])))
    marks = [[f"{v:.2g}".replace("-", "−") for v in course] for course in courses]
    alike = all(some == marks[0] for some in marks)
    if not alike and (_known(layout) or np.shape(rows)[-1] > charts.SIGNAL):
        titles = [f"{title}  at {some[0]} … {some[-1]}" for title, some in zip(titles, marks, strict=True)]
    if _known(layout):
        return images.image_strips(rows, vmin, vmax, titles, marks[0] if alike else None)
    rows = _vectors(rows, 2)
    if rows.shape[-1] > charts.SIGNAL:
        heads = (f"at {marks[0][0]}", f"at {marks[0][-1]}") if alike else ("at the first", "at the last")
        return charts.signal_rows(rows[:, 0], rows[:, -1], heads, titles)
    return charts.vector_traversals(rows, courses, titles, names)


@dataclass(frozen=True)
class Side:
    """One of the models that :func:`comparison` sets side by side.

    Attributes:
        name: what to call it, such as ``"autoencoder"``.
        recon: (N, …), what it rebuilds of the data x (N, …).
        coords: (M, 2), codes in a plane.
        between: (B, …), decodings of points between codes.
        drawn: (P, …), decodings of draws from the prior.
        numbers: what was measured, in words and in figures: {"test reconstruction, mse": "0.012", …}; words without a
            figure are the heading of those that follow.
        axes: the names of the plane's axes.
        circles: whether N(0, I) is to be seen on the plane.
        history: (T, 3), step, training and validation distortion in nats; empty if it is not to be drawn.
    """

    name: str
    recon: np.ndarray
    coords: np.ndarray
    between: np.ndarray
    drawn: np.ndarray
    numbers: dict[str, str] = field(default_factory=dict)
    axes: tuple[str, str] = ("z0", "z1")
    circles: bool = True
    history: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))


def comparison(
    x: np.ndarray,
    sides: Sequence[Side],
    layout: Layout,
    *,
    labels: np.ndarray | None = None,
    label_names: Sequence[str] | None = None,
    vmin: float = 0.0,
    vmax: float = 1.0,
) -> Figure:
    """Models of the same data in columns: reconstructions, codes, decodings between codes and of the prior, the numbers.

    Args:
        x: (N, …), the data whose reconstructions the sides bring.
        labels: (M,), of the codes in the sides' ``coords``.
    """
    image = _known(layout)
    x = np.asarray(x) if image else _vectors(x)
    numbers = list(dict.fromkeys(key for side in sides for key in side.numbers))
    gap, between = 0.25, 0.36  # inches between columns and between rows
    column = (WIDTH - gap * (len(sides) - 1)) / len(sides)
    heads = {
        "name": ("", 0.26),
        "curves": ("distortion, nats: training grey, validation in colour", 1.25),
        "recon": ("data, and rebuilt below", _height(x, 4)) if image else ("rebuilt against data", column * 0.66),
        "codes": ("codes", column * 0.78),
        "between": ("decoded half-way between codes", _height(x, 3) if image else column * 0.66),
        "drawn": ("decoded draws from the prior", _height(x, 3) if image else column * 0.66),
        "numbers": ("measured", 0.21 * len(numbers) + 0.1),
    }
    if not numbers:
        del heads["numbers"]
    if not any(len(side.history) for side in sides):
        del heads["curves"]
    total = sum(height for _, height in heads.values()) + between * (len(heads) - 1)
    with style():
        fig = figure(WIDTH + 0.01 / DPI, total + 0.01 / DPI, constrained=False)
        clouds = None if image else _Clouds(x, sides)
        for c, side in enumerate(sides):
            left, top = c * (column + gap), total
            for kind, (head, height) in heads.items():
                head += "; dashed: N(0, I) at one and two sd" if kind == "codes" and side.circles else ""
                fig.text(left / WIDTH, (top + 0.06) / total, head, fontsize=8, color=GREY, va="bottom")
                inner = (left + 0.46, top - height + 0.36, column - 0.48, height - 0.4)  # leaves room for ticks
                place = [inner[0] / WIDTH, inner[1] / total, inner[2] / WIDTH, inner[3] / total]
                if kind == "name":
                    fig.text(left / WIDTH, (top - height) / total, side.name, fontsize=11, va="bottom")
                elif kind == "numbers":
                    _numbers(fig, side, numbers, left, top, column)
                elif kind == "curves":
                    _history(fig.add_axes(place), side, sides)
                elif kind == "codes":
                    panel = fig.add_axes(place)
                    last = side is sides[-1]
                    charts.draw_map(panel, side.coords, labels, label_names, side.axes, last, side.circles, room=10)
                    panel.set_anchor("W")
                elif clouds is None:
                    _pixels(fig, x, side, kind, left, top, column, vmin, vmax)
                else:
                    clouds.draw(fig.add_axes(place), side, kind)
                top -= height + between
        fig.shows_images = image
        fig.few_colours = image and (x.ndim == 3 or x.shape[-1] == 1)
    return fig


def _history(panel: Axes, side: Side, sides: Sequence[Side]) -> None:
    """How a side's distortion went with the steps, on the scale of all."""
    last = max(float(other.history[-1, 0]) for other in sides if len(other.history))
    # the first steps of an untrained model would flatten all that follows
    settled = [other.history[other.history[:, 0] >= 0.05 * last, 1:] for other in sides]
    panel.plot(side.history[:, 0], side.history[:, 1], color=GREY, lw=0.9)
    panel.plot(side.history[:, 0], side.history[:, 2], color=ACCENT, lw=1.3)
    panel.set(xlim=(0, last), ylim=charts.limits(*settled, pad=0.08), xlabel="step")
    panel.locator_params(nbins=4)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


_CELL = 64  # pixels a side, about, of the images in a comparison


def _height(x: np.ndarray, rows: int) -> float:
    """Inches that ``rows`` rows of images x (N, H, W[, C]) need."""
    return rows * (images.strip(images.to_rgb(x[:1]), side=_CELL).shape[0] + 2) / DPI


def _pixels(
    fig: Figure, x: np.ndarray, side: Side, kind: str, left: float, top: float, column: float, vmin: float, vmax: float
) -> None:
    """Rows of images pixel for pixel, from the upper left corner (left, top) in inches."""
    width = images.strip(images.to_rgb(x[:1]), side=_CELL).shape[1]
    across = max(1, (int(column * DPI) + 2) // (width + 2))
    if kind == "recon":
        parts = [part[s : s + across] for s in (0, across) for part in (x, side.recon)]
    else:
        parts = [getattr(side, kind)[s * across : (s + 1) * across] for s in range(3)]
    y = round(top * DPI)
    for part in parts:
        if len(part):
            block = images.strip(images.to_rgb(part, vmin, vmax), side=_CELL)
            y -= block.shape[0]
            fig.figimage(block, round(left * DPI), y, origin="upper")
            y -= 2


class _Clouds:
    """Vectors as points, standardised by the data, on scales that all sides share so that eyes may compare them."""

    def __init__(self, x: np.ndarray, sides: Sequence[Side]) -> None:
        self.mean, self.std = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        self.data = (x - self.mean) / self.std
        self.basis = np.linalg.svd(np.nan_to_num(self.data), full_matrices=False)[2][:2].T
        self.plane = self.data @ self.basis
        self.scale = {"recon": (charts.limits(self.data, *(self._standard(s.recon) for s in sides)),) * 2}
        for kind in ("between", "drawn"):
            seen = [self.plane, *(self._standard(getattr(s, kind)) @ self.basis for s in sides)]
            self.scale[kind] = tuple(charts.limits(*(points[:, i] for points in seen)) for i in (0, -1))

    def _standard(self, a: np.ndarray) -> np.ndarray:
        return (_vectors(a) - self.mean) / self.std

    def draw(self, panel: Axes, side: Side, kind: str) -> None:
        """Rebuilt against given, or the model's points over the data's in the data's principal plane."""
        xlim, ylim = self.scale[kind]
        panel.set(xlim=xlim, ylim=ylim)
        points = self._standard(getattr(side, kind))
        if kind == "recon":
            panel.plot(xlim, xlim, color=FAINT, lw=0.6)
            panel.plot(self.data.ravel(), points.ravel(), "o", color=ACCENT, ms=1.8, mew=0, alpha=0.35, rasterized=True)
            panel.set(xlabel="data, standardised", ylabel="rebuilt")
        else:
            points = points @ self.basis
            panel.plot(self.plane[:, 0], self.plane[:, -1], "o", color=FAINT, ms=2.4, mew=0, rasterized=True)
            panel.plot(points[:, 0], points[:, -1], "o", color=ACCENT, ms=2.4, mew=0, alpha=0.7, rasterized=True)
            panel.set(xlabel="first principal axis; data grey", ylabel="second")


def _numbers(fig: Figure, side: Side, names: Sequence[str], left: float, top: float, column: float) -> None:
    """The measured numbers of a side, a line each from (left, top) inches: words left, figures right."""
    width, height = fig.get_size_inches()
    for i, name in enumerate(names):
        y = (top - 0.21 * i - 0.12) / height
        fig.text(left / width, y, name, fontsize=8, color=INK, va="center")
        fig.text((left + column) / width, y, side.numbers.get(name, "–"), fontsize=8, va="center", ha="right")
