"""The picture of two runs compared: how the differences lie, and, of images, the examples at both ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from taut.evaluation.pairs import Paired
from taut.evaluation.space import Space
from taut.report.images import to_rgb
from taut.report.style import ACCENT, FAINT, GREY, INK, PAPER, WIDTH, bare, figure, save, style

if TYPE_CHECKING:
    from taut.runs import Run

__all__ = ["draw_difference"]

SHOWN = 8  # examples at each end


def draw_difference(found: Paired, examples: Tensor, run: Run, names: tuple[str, str], path: Path) -> None:
    """Draw and save it.

    Args:
        found: the differences.
        examples: (N,), the test examples that they are of.
        run: one of the runs, whose data are shown.
        names: of the two runs.
        path: a PNG.
    """
    from taut.report.publish import Canvas

    differences = found.differences.numpy()
    data = run.dataset()
    canvas = Canvas.of(data)
    count = min(SHOWN, len(differences) // 2) if canvas.image else 0
    with style():
        fig = figure(WIDTH, 3.3 if count else 2.2)
        rows = fig.add_gridspec(2 if count else 1, 2, height_ratios=[2.2, 1] if count else [1])
        panel = fig.add_subplot(rows[0, :])
        low, high = np.quantile(np.append(differences, 0), [0.002, 0.998])
        step = max(high - low, 1e-6) / np.clip(np.sqrt(len(differences)), 8, 60)
        bins = step * np.arange(
            np.floor(low / step) - 1, np.ceil(high / step) + 2
        )  # so that none lies on both sides of 0
        bars = panel.hist(np.clip(differences, bins[0], bins[-1]), bins, lw=0)[2]
        for bar in bars:
            bar.set_facecolor(ACCENT if bar.get_x() + bar.get_width() / 2 > 0 else FAINT)
        panel.axvline(0, color=GREY, lw=0.6)
        top = panel.get_ylim()[1]
        panel.errorbar(
            [found.mean], [1.04 * top], xerr=[found.stderr], color=INK, marker="o", ms=3.5, lw=1, clip_on=False
        )
        panel.annotate(
            f"mean {_signed(found.mean)} ± {found.stderr:.2f} nats", (found.mean, 1.04 * top), (7, 5),
            textcoords="offset points", fontsize=8, color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},  # the line at 0 may pass behind
        )  # fmt: skip
        first, second = found.bounds
        other = "that" if first == second else second
        panel.set(xlabel=f"{first} of {names[0]} less {other} of {names[1]}, nats per example", yticks=[])
        panel.set_ylim(top=1.12 * top)
        panel.spines["left"].set_visible(False)
        if count:
            order = np.argsort(differences)
            raw = Space.of(data).still(
                data.test, examples.numpy()[np.concatenate([order[:count], order[::-1][:count]])]
            )
            shown = to_rgb(canvas.draw(raw), canvas.vmin, canvas.vmax)
            for i, (title, colour) in enumerate(
                [(f"most in favour of {names[1]}", GREY), (f"most in favour of {names[0]}", ACCENT)]
            ):
                ends = fig.add_subplot(rows[1, i])
                bare(ends)
                row = np.pad(shown[i * count : (i + 1) * count], ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
                ends.imshow(np.concatenate(list(row), 1), interpolation="nearest")
                ends.set_title(title, color=colour)
    save(fig, path)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
