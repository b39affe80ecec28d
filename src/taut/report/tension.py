"""Pictures of a sweep: models in the plane of rate and distortion, and their numbers along an option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from taut.evaluation.tension import Place, frontier, least
from taut.report.crowd import Crowd
from taut.report.style import ACCENT, FAINT, GREY, INK, PAPER, WIDTH, bare, figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Mark", "Track", "along", "rate_distortion"]

NEAR = 4.0  # points of type between marks that share a label


@dataclass(frozen=True)
class Mark:
    """A model in the plane.

    Attributes:
        place: its rate and distortion.
        label: what to call it, such as ``"0.1"``.
        main: whether to make it stand out.
    """

    place: Place
    label: str
    main: bool = False


def rate_distortion(series: Mapping[str, Sequence[Mark]], symbol: str = "β", discrete: bool = True) -> Figure:
    """Models by rate R and distortion D in nats, each with its label, and the line R + D = least: H lies on it or below.

    Marks on the lower left edge of the convex hull are filled and joined; the others are hollow, as a mixture of two on the
    edge does at least as well. Bars are the standard error of R + D, drawn along D.

    Args:
        series: marks by the name of what they have in common; a single one needs none.
        symbol: what the labels are values of.
        discrete: whether x has a probability, so that R and D are bits too and D ends at 0.
    """
    places = [mark.place for marks in series.values() for mark in marks]
    bound = places[least(places)]
    labelled = max(series, key=lambda name: _reach(series[name]))
    with style():
        fig = figure(WIDTH, 4.2, constrained=False)
        panel = fig.add_axes((0.095, 0.125, 0.825 if discrete else 0.885, 0.77 if discrete else 0.85))
        low, high = _limits(places, discrete)
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        panel.set(xlabel="rate R, nats: what the code says", ylabel="distortion D, nats: what the code leaves out")
        crowd = Crowd(panel)
        limits = _bound(panel, bound.total, discrete, crowd)
        shades = dict(zip(series, _shades(len(series)), strict=True))
        hollow = {name: _marks(panel, marks, shades[name], crowd) for name, marks in series.items()}
        for name, marks in series.items():
            _labels(marks if name == labelled else hollow[name], symbol, shades[name], crowd)
        for words, where in limits:
            crowd.label(words, where, GREY, 7.5)
        if discrete:
            _bits(panel)
        if len(series) > 1:
            _key(panel, shades)
    return fig


def _reach(marks: Sequence[Mark]) -> float:
    """How far marks lie apart."""
    return max(mark.place.rate for mark in marks) - min(mark.place.rate for mark in marks)


def _limits(places: Sequence[Place], discrete: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """(R, D) at the lower left and at the upper right: from 0 where that is not far off, else close around the marks."""
    rates = [place.rate for place in places]
    distortions = [place.distortion + side * place.stderr for place in places for side in (-1, 1)]
    least_span = 0.02 * max(map(abs, (*rates, *distortions))) or 1.0
    ends = []
    for values, ends_at_zero in ((rates, True), (distortions, discrete)):
        span = max(max(values) - min(values), least_span)
        low = 0.0 if ends_at_zero and min(values) <= 1.2 * span else min(values) - 0.25 * span
        ends.append((low, max(values) + 0.12 * span))
    (left, right), (bottom, top) = ends
    return (left, bottom), (right, top)


def _bound(panel: Axes, total: float, discrete: bool, crowd: Crowd) -> list[tuple[str, tuple[float, float]]]:
    """The line R + D = total as far as it is seen, and what lies below it; the words at its ends, still to be placed."""
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    start, end = max(left, total - top), min(right, total - bottom)
    rates = np.array([left, start, end])
    panel.fill_between(rates, bottom, np.minimum(top, total - rates), color=FAINT, alpha=0.28, lw=0, zorder=0)
    panel.plot([start, end], [total - start, total - end], color=GREY, lw=0.8, zorder=1)
    crowd.block_line(np.array([(start, total - start), (end, total - end)]))
    found = []
    for rate, limit, there in ((start, "autodecoding: R = 0, D = H", start == 0),
                               (end, "autoencoding: D = 0, R = H" if discrete else "autoencoding: R without an end",
                                discrete and end == total)):  # fmt: skip
        if there:
            panel.plot(rate, total - rate, "D", ms=4.5, mfc=PAPER, mec=GREY, mew=0.8, clip_on=False, zorder=3)
        arrow = limit if there else f"← {limit}" if rate == start else f"{limit} →"
        found.append((arrow, (rate, total - rate)))
    found.append(
        (f"R + D = {_figures(total)} ≥ H", (start + 0.45 * (end - start), total - start - 0.45 * (end - start)))
    )
    # the line is where the best model has it, and H may be less: what is shaded is out of reach only below H itself
    crowd.corner(f"H ≤ {_figures(total)} nats:", "R + D = H is here or lower,", "and below it no model", total=total)
    return found


def _figures(value: float) -> str:
    return (f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}").replace("-", "−")


def _shades(count: int) -> list[str]:
    """So many colours of the model, from light to dark; one is the accent."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    if count == 1:
        return [ACCENT]
    scale = LinearSegmentedColormap.from_list("model", ["#8ecdc8", ACCENT, INK])
    return [to_hex(scale(i / (count - 1))) for i in range(count)]


def _marks(panel: Axes, marks: Sequence[Mark], colour: str, crowd: Crowd) -> list[Mark]:
    """Draw the marks of one series and the edge of what mixtures of them can reach; those that are not on it."""
    edge = frontier([mark.place for mark in marks])
    line = np.array([(marks[i].place.rate, marks[i].place.distortion) for i in edge])
    panel.plot(*line.T, color=colour, lw=1.1, alpha=0.6, zorder=2, clip_on=False)
    crowd.block_line(line)
    for i, mark in enumerate(marks):
        place, size, on = mark.place, 8.0 if mark.main else 5.5, i in edge
        ends = [place.distortion - place.stderr, place.distortion + place.stderr]
        panel.plot([place.rate] * 2, ends, color=colour, lw=0.9, zorder=3, clip_on=False)
        panel.plot(place.rate, place.distortion, "o", ms=size, mfc=colour if on else PAPER, mec=colour, mew=1.1,
                   zorder=5 if on else 4, clip_on=False)  # fmt: skip
        crowd.block_line(np.array([(place.rate, end) for end in ends]))
        crowd.block(np.array([(place.rate, place.distortion)]), size / 2 + 1)
    return [mark for i, mark in enumerate(marks) if i not in edge]


def _labels(marks: Sequence[Mark], symbol: str, colour: str, crowd: Crowd) -> None:
    """A label at each mark; marks on top of one another share one."""
    groups: list[list[Mark]] = []
    for mark in marks:
        near = next((group for group in groups if crowd.distance(_spot(group[0]), _spot(mark)) < NEAR), None)
        groups.append([mark]) if near is None else near.append(mark)
    for group in sorted(groups, key=lambda group: not any(mark.main for mark in group)):
        text, main = f"{symbol} = {', '.join(mark.label for mark in group)}", any(mark.main for mark in group)
        crowd.label(text, _spot(group[0]), INK if main else colour, 8.5 if main else 7.5, main)


def _spot(mark: Mark) -> tuple[float, float]:
    return mark.place.rate, mark.place.distortion


@dataclass(frozen=True)
class Track:
    """One number of the models of a sweep.

    Attributes:
        title: what it is, with its unit.
        lines: by the name of what models have in common, the option's values, the number and its standard error, (N, 3).
        dashed: likewise, in the same panel.
        whole: whether it is a count: its scale begins at 0 and has whole numbers only.
    """

    title: str
    lines: Mapping[str, np.ndarray]
    dashed: Mapping[str, np.ndarray] | None = None
    whole: bool = False


def along(tracks: Sequence[Track], option: str) -> Figure:
    """Numbers of models against the option that is swept, a panel each; on a logarithmic scale if it spans a decade.

    Args:
        tracks: the numbers.
        option: what to write below the panels.
    """
    shades = dict(zip(tracks[0].lines, _shades(len(tracks[0].lines)), strict=True))
    across = min(2, len(tracks))
    down = -(-len(tracks) // across)
    with style():
        fig = figure(WIDTH, 2.1 * down + 0.2)
        panels = fig.subplots(down, across, squeeze=False).ravel().tolist()
        for spare in panels[len(tracks) :]:
            bare(spare)
        values = np.unique(np.concatenate([line[:, 0] for line in tracks[0].lines.values()]))
        for panel, track in zip(panels, tracks, strict=False):
            for name, colour in shades.items():
                for lines, look, face in ((track.lines, "o-", colour), (track.dashed, "o--", PAPER)):
                    if lines is not None:
                        x, y, error = lines[name].T
                        panel.errorbar(x, y, error, fmt=look, color=colour, mfc=face, ms=4, lw=1.1, elinewidth=0.9)
            _scale(panel, values)
            panel.set(title=track.title)
            panel.margins(0.06, 0.12)
            if track.whole:
                highest = max(1, *(line[:, 1].max() for line in track.lines.values()))
                panel.set_ylim(-0.04 * highest, 1.15 * highest)
                panel.yaxis.get_major_locator().set_params(integer=True, nbins=5)
        fig.supxlabel(option, fontsize=8.5, color=GREY)
        if len(shades) > 1:
            _key(panels[0], shades, "best")
    return fig


def _scale(panel: Axes, values: np.ndarray) -> None:
    """A scale for an option's values, with ticks at the values themselves where they have room."""
    from matplotlib.ticker import FixedLocator, NullLocator

    positive = values[values > 0]
    decades = len(positive) > 1 and values[0] >= 0 and positive[-1] >= 10 * positive[0]
    if decades and values[0] > 0:
        panel.set_xscale("log")
    elif decades:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
    if len(values) <= 9:
        panel.xaxis.set_major_locator(FixedLocator(values.tolist()))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))


def _bits(panel: Axes) -> None:
    """The same scales in bits, at the top and to the right."""
    pair = (lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
    for axis, side in (("xaxis", "top"), ("yaxis", "right")):
        scale = getattr(panel, f"secondary_{axis}")(side, functions=pair)
        scale.set(**{f"{axis[0]}label": "bits"})
        scale.spines[side].set_visible(False)


def _key(panel: Axes, shades: Mapping[str, str], where: str = "upper right") -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, marker="o", ms=4.5, lw=1.1, label=name) for name, colour in shades.items()]
    panel.legend(handles=handles, loc=where, handlelength=1.6, borderpad=0.2)
