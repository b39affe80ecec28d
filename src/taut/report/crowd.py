"""Words beside points of a chart, each where it covers least of what already stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taut.report.style import GREY, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Crowd"]

SIDES = np.array([(1, 0), (1, 1), (0, 1), (1, -1), (-1, 1), (0, -1), (-1, 0), (-1, -1)])  # in order of preference
REACHES = (6, 11, 18, 30, 45)  # points of type from the point to its word
LEADER = 11  # beyond which a hairline leads from the one to the other
LETTER = 5.0  # points of type, a side


class Crowd:
    """What stands in a panel: boxes in pixels, (x0, y0, x1, y1).

    Args:
        panel: its place in the figure and its limits must not change any more.
    """

    panel: Axes
    point: float
    boxes: np.ndarray

    def __init__(self, panel: Axes) -> None:
        self.panel, self.point = panel, panel.get_figure().dpi / 72
        self.boxes = np.zeros((0, 4))

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return self.panel.transData.transform(points)

    def distance(self, a: tuple[float, float], b: tuple[float, float]) -> float:
        """Between two points of the panel, in points of type."""
        return float(np.hypot(*np.diff(self._pixels(np.array([a, b])), axis=0)[0])) / self.point

    def block(self, points: np.ndarray, radius: float = 1.0) -> None:
        """Keep words off some points (N, 2) by a radius in points of type."""
        pixels, r = self._pixels(points), radius * self.point
        self.boxes = np.concatenate([self.boxes, np.hstack([pixels - r, pixels + r])])

    def block_line(self, points: np.ndarray) -> None:
        """Keep words off the lines from each of some points (N, 2) to the next."""
        t = np.linspace(0, 1, 40)[:, None]
        for a, b in zip(points[:-1], points[1:], strict=True):
            self.block(a + t * (b - a))

    def corner(self, *lines: str, total: float) -> None:
        """Write some lines into the lower left corner, if they stay below the line x + y = total."""
        note = self.panel.annotate(
            "\n".join(lines), (0, 0), (6, 6), "axes fraction", "offset points", fontsize=7.5, color=GREY, va="bottom", zorder=1
        )  # fmt: skip
        box = note.get_window_extent()
        if self.panel.transData.inverted().transform(box.max).sum() > total:
            note.remove()
        else:
            self.boxes = np.concatenate([self.boxes, [box.extents]])

    def label(self, text: str, where: tuple[float, float], colour: str, size: float, bold: bool = False) -> None:
        """Write a text beside a point, where it covers least."""
        from matplotlib.patheffects import withStroke

        note = self.panel.annotate(
            text, where, (0, 0), textcoords="offset points", fontsize=size, color=colour, zorder=6, annotation_clip=False,
            fontweight="bold" if bold else "normal", path_effects=[withStroke(linewidth=2, foreground=PAPER)],
        )  # fmt: skip
        extent = note.get_window_extent()
        sides = np.concatenate([SIDES] * len(REACHES))
        reaches = np.repeat(REACHES, len(SIDES))
        offsets = sides * (reaches * np.where(sides.all(1), 0.7, 1.0))[:, None]
        middles = self._pixels(np.array(where)) + offsets * self.point + sides * (extent.width, extent.height) / 2
        half = np.array([extent.width, extent.height]) / 2
        boxes = np.hstack([middles - half, middles + half])
        led = reaches > LEADER
        costs = self._costs(boxes) + led * self._crossed(where, offsets) + 0.02 * np.arange(len(boxes))
        best = int(np.argmin(costs))
        note.set_position(offsets[best])
        note.set(ha=("right", "center", "left")[sides[best, 0] + 1], va=("top", "center", "bottom")[sides[best, 1] + 1])
        if led[best]:
            line = {"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 1, "shrinkB": 4}
            self.panel.annotate(
                "", where, offsets[best], textcoords="offset points", annotation_clip=False, arrowprops=line
            )
        self.boxes = np.concatenate([self.boxes, boxes[best : best + 1]])

    def _costs(self, boxes: np.ndarray) -> np.ndarray:
        """How much each of some boxes (M, 4) would cover, in letters, and how far it would stand out of the panel."""
        frame = np.array(self.panel.get_window_extent().extents)
        out = np.maximum(frame[:2] - boxes[:, :2], 0).sum(1) + np.maximum(boxes[:, 2:] - frame[2:], 0).sum(1)
        low = np.maximum(boxes[:, None, :2], self.boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], self.boxes[None, :, 2:])
        both = (high > low).all(2)
        covered = np.where(both, 0.2 + (high - low).prod(2) / (LETTER * self.point) ** 2, 0.0)
        return covered.sum(1) + out / (2 * self.point)

    def _crossed(self, where: tuple[float, float], offsets: np.ndarray) -> np.ndarray:
        """How much leaders from a point along each of some offsets (M, 2) would cross, in letters."""
        t = np.linspace(0.2, 0.95, 20)[:, None, None]
        along = (self._pixels(np.array(where)) + t * offsets * self.point)[:, :, None]
        inside = ((along > self.boxes[:, :2]) & (along < self.boxes[:, 2:])).all(3)
        return 0.2 * inside.sum((0, 2))
