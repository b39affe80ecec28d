"""The picture of exact posteriors: p(z|x) in grey, q(z|x) in the accent, of single examples of a model with few latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from taut.evaluation import Progress
from taut.evaluation.evidence import grids
from taut.evaluation.space import Space
from taut.report.images import to_rgb
from taut.report.style import ACCENT, FAINT, GREY, INK, WIDTH, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from taut.evaluation import Subject
    from taut.evaluation.exact import Grid
    from taut.runs import Run

__all__ = ["SHARES", "exact_posteriors", "posteriors", "within"]

SHARES = (0.99, 0.9, 0.5)
"""What share of the mass lies inside each line."""

DARK, PALE = "#9b9b95", "#e4e4e0"


def exact_posteriors(
    run: Run, subject: Subject, limit: int | None, shown: int, progress: Progress = lambda done, total: None
) -> tuple[Figure, str]:
    """The picture of exact posteriors of a run with one or two latents, and what is to be said under it.

    Args:
        run: the run.
        subject: its model and examples.
        limit: how many random examples to look at.
        shown: how many of them to show, those with the most peaks first.
        progress: told the number of examples done and in all.
    """
    found = grids(subject, limit, shown, progress)
    pictures = None
    if run.reading.layout == "image":
        from taut.report.publish import Canvas

        data = run.dataset()
        canvas = Canvas.of(data)
        raw = Space.of(data).still(subject.split, np.array([example for example, _, _ in found]))
        pictures = to_rgb(canvas.draw(raw), canvas.vmin, canvas.vmax)
    titles = [f"example {example:,}" + (f", {peaks} peaks" if peaks > 1 else "") for example, peaks, _ in found]
    text = "Grey: p(z|x) of single test examples, exact, by quadrature; coloured: q(z|x)"
    text += "; lines hold 50, 90 and 99% of the mass." if len(found[0][2].axes) > 1 else "; dashed: p(z)."
    text += (
        " Where the two differ in shape, q's family cannot follow; where in place, the encoder does not know better."
    )
    if several := sum(peaks > 1 for _, peaks, _ in found):
        text += f" {several} of these posteriors ha{'s' if several == 1 else 've'} more than one peak."
    return posteriors([grid for _, _, grid in found], titles, pictures), text


def posteriors(grids: Sequence[Grid], titles: Sequence[str], pictures: np.ndarray | None = None) -> Figure:
    """Exact posteriors beside q, a panel each.

    Args:
        grids: the densities.
        titles: of the panels.
        pictures: (N, H, W, 3), the examples themselves, to stand in a corner; or none.
    """
    across = min(3, len(grids))
    down = -(-len(grids) // across)
    plane = len(grids[0].axes) > 1
    with style():
        fig = figure(WIDTH, (2.15 if plane else 1.75) * down + 0.25)
        panels = fig.subplots(down, across, squeeze=False).ravel()
        for panel in panels[len(grids) :]:
            panel.set_axis_off()
        for i, (panel, grid, title) in enumerate(zip(panels, grids, titles, strict=False)):
            (_draw_plane if plane else _draw_line)(panel, grid)
            panel.set_title(title)
            panel.locator_params(nbins=4)
            if pictures is not None:
                corner = panel.inset_axes((0.78, 0.78, 0.22, 0.22))
                corner.imshow(pictures[i], interpolation="nearest")
                corner.set(xticks=[], yticks=[])
        fig.supxlabel("z0" if plane else "z", fontsize=8.5, color=GREY)
        fig.supylabel("z1" if plane else "density", fontsize=8.5, color=GREY)
        _key(fig, grids[0].q is not None, plane)
    fig.shows_images = pictures is not None
    return fig


def within(log_density: np.ndarray, shares: Sequence[float] = SHARES) -> list[float]:
    """The densities, on an even grid, above which lie these shares of the mass; rising for falling shares.

    >>> within(np.log([0.1, 0.6, 0.3]), [0.9, 0.5])
    [0.3, 0.6]
    """
    density = np.exp(log_density).ravel()
    falling = np.sort(density)[::-1]
    held = np.cumsum(falling) / falling.sum()
    return [float(falling[min(np.searchsorted(held, share - 1e-9), len(falling) - 1)]) for share in shares]


def _draw_plane(panel: Axes, grid: Grid) -> None:
    x, y = grid.axes
    density = np.exp(grid.posterior)
    levels = [*_rising(within(grid.posterior)), density.max() * 1.01]
    panel.contourf(x, y, density.T, levels, colors=[PALE, FAINT, DARK])
    if grid.q is None:
        panel.plot(*grid.centre, "o", color=ACCENT, ms=4, mew=0)
    else:
        panel.contour(x, y, np.exp(grid.q).T, _rising(within(grid.q)), colors=[ACCENT], linewidths=[0.7, 0.9, 1.2])
    panel.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))


def _rising(levels: Sequence[float]) -> list[float]:
    """Levels that rise strictly, as contours want them, even where a density is all in one cell."""
    return [level * (1 + 1e-9 * i) + 1e-300 * i for i, level in enumerate(levels)]


def _draw_line(panel: Axes, grid: Grid) -> None:
    (z,) = grid.axes
    panel.fill_between(z, np.exp(grid.posterior), color=FAINT, lw=0)
    panel.plot(z, np.exp(grid.prior), color=GREY, lw=0.7, ls=(0, (4, 3)))
    if grid.q is None:
        panel.axvline(grid.centre[0], color=ACCENT)
    else:
        panel.plot(z, np.exp(grid.q), color=ACCENT)
    panel.set(xlim=(z[0], z[-1]), yticks=[])
    panel.set_ylim(bottom=0)
    panel.spines["left"].set_visible(False)


def _key(fig: Figure, density: bool, plane: bool) -> None:
    """What the colours are, under a figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=DARK, lw=5, label="p(z|x), exact"),
        Line2D([], [], color=ACCENT, lw=1.2, label="q(z|x)") if density
        else Line2D([], [], color=ACCENT, marker="o", ls="", ms=4, label="the code"),
    ]  # fmt: skip
    if not plane:
        handles.append(Line2D([], [], color=GREY, lw=0.7, ls=(0, (4, 3)), label="p(z)"))
    legend = fig.legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=1.4, borderpad=0)
    for text in legend.get_texts():
        text.set_color(INK)
