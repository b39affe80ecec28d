"""The picture of a measurement: for each case, how long others take when this project takes one."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["draw"]

NAMES = {
    "lean": "lean loop",
    "taut, compiled": "taut, compiled",
    "plain": "DataLoader loop",
    "floor": "matrix products alone",
    "pythae": "pythae 0.1.2",
    "pythae, 1000": "pythae, batches of 1,000",
}
TITLES = {
    "mlp": "training, perceptron",
    "conv": "training, convolutions",
    "ladder": "training, 8-layer ladder",
    "iwae": "training, IWAE-50",
    "evaluate": "IW-1000",
    "command": "the whole command",
}


def draw(results: dict, targets: dict, path: Path) -> None:
    """Dots are medians, lines the range over rounds, ticks the targets.

    Args:
        results: case → {"seconds": {side: [seconds]}}.
        targets: (case, side) → (ratio, words).
        path: of the PNG.
    """
    cases = [case for case in results if "taut" in results[case]["seconds"]]
    rows = [(case, side) for case in cases for side in results[case]["seconds"] if side != "taut"]
    figure, axes = plt.subplots(figsize=(7.2, 0.32 * len(rows) + 1.1), layout="constrained")
    for y, (case, side) in enumerate(rows):
        seconds = results[case]["seconds"]
        for whose, colour, column in (("taut", "C0", 1.01), ("taut, compiled", "C1", 1.1)):
            if whose == side or whose not in seconds:
                continue
            ratios = [a / b for a, b in zip(seconds[side], seconds[whose], strict=True)]
            middle = statistics.median(ratios)
            axes.plot([min(ratios), max(ratios)], [y, y], color=colour, alpha=0.4, lw=1.2)
            axes.plot([middle], [y], "o", color=colour, ms=5)
            axes.annotate(
                f"{middle:.2f}", (column, y), xycoords=("axes fraction", "data"), va="center", size=8, color=colour
            )
        if (case, side) in targets:
            axes.plot([targets[case, side][0]], [y], "|", color="C3", ms=11, mew=1.8)
    axes.axvline(1, color="0.3", lw=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set_yticks(
        range(len(rows)), [f"{TITLES.get(case, case)}: {NAMES.get(side, side)}" for case, side in rows], size=8
    )
    axes.invert_yaxis()
    axes.set_xlabel("time, where a plain step of taut takes 1 (blue), or a compiled one (orange)\n"
                    "targets in red, reached from there to the right", size=9)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
